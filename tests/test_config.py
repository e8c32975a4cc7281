"""One validator for YAML, --set and options: one clear line with source, key, found and expected."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from efface import config, registry
from efface.benchmark import configuration
from efface.errors import EffaceError
from efface.models.diffusion.shipped import ShippedDiffusion

GOOD = {
    "model": {"name": "tiny"},
    "faces": {"name": "drawn", "people": 12},
    "forget": ["person-000"],
    "method": {"name": "dispersion", "steps": 3},
}


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    return path


def test_reads_back_what_it_dumps(good, tmp_path):
    loaded = config.load(good, ["seed=7"])
    again = tmp_path / "again.yaml"
    again.write_text(config.dump(loaded))
    assert config.load(again) == loaded
    assert loaded.seed == 7 and loaded.method.value.steps == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sede=1"], r"sede: found 1, expected no such key here; the keys are: model, faces, .*seed"),
        (["seed=one"], r"seed: found 'one', expected a valid integer"),
        (["method.stepz=3"], r"method\.stepz: found 3, expected no such key here; the keys are: .*steps"),
        (["method.steps=many"], r"method\.steps: found 'many', expected a valid integer"),
        (["method.steps=-1"], r"method\.steps: found -1, expected greater than"),
        (["method=dispersal"], r"method\.name: found 'dispersal', expected one of: .*dispersion"),
        (["model=iresnet"], r"model\.weights: found nothing, expected the path of a checkpoint"),
        (["model=[1]"], r"model: found \[1\], expected a mapping with `name`"),
        (["forget=person-000"], r"forget: found 'person-000', expected a list"),
        (["forget=[2880]"], r"forget\.0: found 2880, expected a text; put it in quotes"),
        (["out="], r"out: found nothing, expected a path"),
        (["seed=-1"], r"seed: found -1, expected greater than or equal to 0"),
        (["method.name=[1]"], r"method\.name: found \[1\], expected one of: "),
        (["device=tpu"], r"device: found 'tpu', expected 'auto', 'cpu', 'cuda' or 'mps'"),
        (["faces.path=$NOT_SET_HERE/x"], r"found '\$NOT_SET_HERE/x' but NOT_SET_HERE is not set"),
    ],
)
def test_one_clear_line(good, settings, message):
    with pytest.raises(EffaceError, match=message) as caught:
        config.load(good, settings)
    assert str(caught.value).startswith(f"{good}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "- a\n- b", "", "\xff\xfe"])
def test_broken_yaml(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EffaceError, match=r"broken\.yaml: ") as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["steps", "=3", "a..b=3", "a=["])
def test_broken_setting(good, setting):
    with pytest.raises(EffaceError, match=r"--set"):
        config.load(good, [setting])


def test_the_same_error_from_yaml_and_setting(good, tmp_path):
    bad = tmp_path / "good2.yaml"
    bad.write_text(yaml.safe_dump(GOOD | {"method": {"name": "dispersion", "steps": "many"}}))
    said = []
    for path, settings in ((good, ["method.steps=many"]), (bad, [])):
        with pytest.raises(EffaceError) as caught:
            config.load(path, settings)
        said.append(str(caught.value).removeprefix(f"{path}"))
    assert said[0] == said[1]


def test_a_dollar_is_a_variable_only_where_a_path_begins(good, monkeypatch):
    monkeypatch.setenv("HERE", "/somewhere")
    faces = {"name": "folder", "path": "${HERE}/p$HERE"}
    loaded = config.load(good, ["forget=[A$AP Rocky]", "out=~/x"], {"faces": faces})
    assert loaded.forget == ("A$AP Rocky",)
    assert str(loaded.faces.value.path) == "/somewhere/p$HERE"
    assert loaded.out == Path("~/x").expanduser()


def test_lpips_files_are_paths_too(monkeypatch):
    monkeypatch.setenv("HERE", "/somewhere")
    files = {"vgg": "$HERE/vgg.pth", "vgg_sha256": "$HERE", "linear": "~/lin.pth", "linear_sha256": "0"}
    given = {"model": "tiny", "faces": "drawn", "method": {"name": "sugar", "lpips": files}}
    loaded = config.parse({"kind": "gan"} | given, "test")
    assert loaded.method is not None
    found = loaded.method.value.lpips
    assert (found.vgg, found.linear) == (Path("/somewhere/vgg.pth"), Path("~/lin.pth").expanduser())
    assert found.vgg_sha256 == "$HERE"


def test_every_path_has_a_key_of_paths():
    """Of the entries' fields, and of what they hold."""
    entries = [registry.get(kind, name) for kind in registry.KINDS for name in registry.names(kind)]
    found = {*_paths([*entries, *config.CONFIGS.values()])}
    assert {"path", "vgg", "detector"} <= found <= {*config.PATHS}


def _paths(classes: list[Any]) -> Iterator[str]:
    """Names of the fields of dataclasses that are paths."""
    for cls in classes:
        for key, hint in get_type_hints(cls).items():
            parts = {hint, *get_args(hint)}
            yield from [key] if Path in parts and key in {f.name for f in dataclasses.fields(cls)} else []
            yield from _paths([part for part in parts if dataclasses.is_dataclass(part)])


def test_another_name_drops_the_old_fields(good):
    assert config.load(good, ["method=esc"]).method.name == "esc"


CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_valid_and_says_what_it_takes(path, monkeypatch, tmp_path):
    monkeypatch.setenv("EFFACE_DATA", str(tmp_path))
    {"train": config.load_recipe, "benchmark": _load_benchmark}.get(path.parent.name, _load_run)(path)
    head = path.read_text().split("\n\n")[0]
    assert head.startswith("# ") and "takes" in head.lower() and "expect" in head.lower()


WEIGHTS = ShippedDiffusion.shipped or Path(__file__).parent
"""Also where the shipped models that draw did not come along."""


COME_ALONG = ("shipped", "eg3d", "stylegan2")
"""Models that draw whose weights come with efface, if they came along; configurations name them alone."""


def _load_run(path: Path) -> None:
    named = yaml.safe_load(path.read_text()).get("model")
    config.load(path, [f"model.weights={WEIGHTS}"] if named in COME_ALONG else [])


def _load_benchmark(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    alone = [name for name, data in given["data"].items() if data["model"] in COME_ALONG]
    draws = given.get("kind") in ("diffusion", "gan")
    configuration.load(path, [f"data.{name}.model.weights={WEIGHTS}" for name in alone] if draws else [])
