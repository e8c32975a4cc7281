"""The blocks of the pages in docs/: Python runs, JSON and YAML are what they say, commands exist."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from efface import config, registry
from efface.cli import app

DOCS = Path(__file__).parents[1] / "docs"
RUN_ELSEWHERE = {("datasets.md", "python"), ("rendering.md", "python"), ("methods.md", "python")}
"""In test_faces_*.py and test_models_scatter.py, on data of their own."""


def blocks(*languages: str) -> list:
    """(page, block) of every block of these languages, as parameters named by page and line."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```({'|'.join(languages)})\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if (page.name, match[1]) not in RUN_ELSEWHERE:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match[2], id=f"{page.name}:{line}"))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with `run`, what a small run wrote."""
    path = tmp_path_factory.mktemp("docs")
    done = CliRunner().invoke(app, ["unlearn", "--method", "dispersion", "--tiny", "--out", str(path / "run")])
    assert done.exit_code == 0, done.output
    return path


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs(block: str, folder: Path):
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("json"))
def test_json_is_json(block: str):
    assert json.loads(block)


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_a_part_of_a_configuration(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EFFACE_DATA", str(tmp_path))
    (tmp_path / "run.yaml").write_text(block)
    given = yaml.safe_load(block)
    if given.get("name") in registry.names("recipes"):
        config.load_recipe(tmp_path / "run.yaml")
    else:
        config.load(tmp_path / "run.yaml", (), {"model": "tiny"} if "model" not in given else {})


def commands(block: str) -> list[list[str]]:
    """The words of each `efface ...` line."""
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [line for line in words if line and line[0] == "efface"]


@pytest.mark.parametrize("block", blocks("sh", "console"))
def test_commands_have_their_verbs_and_options(block: str):
    for _, verb, *rest in commands(block):
        said = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"})
        assert said.exit_code == 0, f"efface {verb}: {said.output}"
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", said.output))
        used = {word.partition("=")[0] for word in rest if word.startswith("-")}
        assert used <= known, f"efface {verb}: no {sorted(used - known)}"


def test_the_blocks_are_found_and_a_wrong_command_would_be():
    assert {p.id.partition(":")[0] for p in blocks("python")} >= {"audit.md"}
    assert {p.id.partition(":")[0] for p in blocks("sh", "console")} >= {"alignment.md", "datasets.md"}
    assert commands("$ efface a --b \\\n  c  # d\nmake demo\n") == [["efface", "a", "--b", "c"]]
    with pytest.raises(AssertionError, match="no \\['--nothing'\\]"):
        test_commands_have_their_verbs_and_options("efface evaluate --nothing\n")
    with pytest.raises(AssertionError, match="efface nothing"):
        test_commands_have_their_verbs_and_options("efface nothing\n")
