"""The wheel: what ships is in it, and the demo runs from it with nothing beside."""

import hashlib
import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = ("safetensors", "json", "tar", "md", "html", "css", "js")
"""Endings of the files in the package that are no code."""


def sh(*command: str | Path, **keywords) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **keywords)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that nothing is left in the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "copy").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    shutil.copytree(ROOT / "src", folder / "copy" / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
    sh(sys.executable, "-m", "pip", "wheel", *options, "-w", folder, folder / "copy")
    (built,) = folder.glob("*.whl")
    return built


def test_pack_weights_and_cards_are_in_it(wheel: Path):
    source = ROOT / "src"
    with zipfile.ZipFile(wheel) as file:
        for path in (p for end in SHIPPED for p in source.rglob(f"*.{end}")):
            name = path.relative_to(source).as_posix()
            if ".egg-info" not in name:
                assert hashlib.sha256(file.read(name)).digest() == hashlib.sha256(path.read_bytes()).digest(), name
        names = set(file.namelist())
    models, pack = "efface/models/recognition", "efface/faces/pack"
    for name in (f"{models}/shipped", f"{models}/judge", "efface/testing/tiny"):
        assert {f"{name}.safetensors", f"{name}.md"} <= names, "weights and their card"
    assert {
        f"{models}/retrained.safetensors",
        f"{pack}/people.tar",
        f"{pack}/people.safetensors",
        f"{pack}/people.md",
    } <= names


def test_the_demo_runs_from_it_in_an_empty_environment(wheel: Path, tmp_path: Path):
    """An environment with nothing of its own but the wheel; the dependencies come from this one by a .pth file, which
    does not bring this checkout along."""
    sh(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    sh(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (own,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (own / "outer.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    environment = {k: v for k, v in os.environ.items() if k not in ("EFFACE_DATA", "PYTHONPATH", "VIRTUAL_ENV")}
    empty = tmp_path / "empty"
    empty.mkdir()
    where = sh(python, "-c", "import efface; print(efface.__file__)", cwd=empty, env=environment)
    assert Path(where.strip()).is_relative_to(own)
    efface = tmp_path / "env" / "bin" / "efface"
    said = sh(efface, "demo", "--tiny", cwd=empty, env=environment | {"OMP_NUM_THREADS": "1"})
    assert "To be forgotten" in said and "photos it never saw (2)" in said and "report: demo-run/report.html" in said
    report = (empty / "demo-run" / "report.html").read_text()
    assert "person-000" in report and "These people never existed" in report
    listed = sh(efface, "datasets", "people", cwd=empty, env=environment)
    assert hashlib.sha256((own / "efface/faces/pack/people.tar").read_bytes()).hexdigest() in listed
    code = (
        "from efface import config; from efface.cli.demo import given; from efface.targets.recognition import *\n"
        "chosen = config.parse(given(['person-100']), 'test')\n"
        "for one in (chosen.model, chosen.judge, chosen.retrained): RecognitionTarget.load(one.name, one.weights)\n"
        "print(sum(map(len, chosen.faces.value.read().photos.values())), chosen.model.weights)\n"
    )
    photos, weights = sh(python, "-c", code, cwd=empty, env=environment).split(maxsplit=1)
    assert photos == "1440" and Path(weights.strip()).is_relative_to(own)
