"""`efface train`: what is written, that an interrupted training ends in the same weights, and that it learns."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from efface import config, recipes, registry
from efface.cli import app
from efface.errors import EffaceError
from efface.faces import stored
from efface.faces.alignment import align
from efface.faces.datasets.drawn import Drawn
from efface.faces.datasets.people import ShippedPeople
from efface.folder import CHECKPOINTS
from efface.models.recognition.judge import JudgeRecogniser
from efface.models.recognition.shipped import ShippedRecogniser
from efface.models.weights import read, read_header
from efface.progress import Quiet
from efface.recipes import recogniser
from efface.targets.recognition import RecognitionTarget

CONFIGS = [Path(__file__).parents[1] / "configs" / "train" / f"{name}.yaml" for name in ("judge", "recogniser")]
SMALL = {
    "name": "recogniser",
    "model": "tiny",
    "faces": {"name": "drawn", "people": 12, "photos": 4},
    "held_out": 4,
    "epochs": 8,
    "batch": 16,
    "precision": "fp32",
    "rate": 0.003,
}


def small(out: Path, **fields):
    return config.load_recipe(None, (), SMALL | {"out": str(out)} | fields)


def log(folder: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_runs_tiny_and_writes_everything(path, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["train", str(path), "--tiny", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert {p.name for p in out.iterdir()} == {"card.md", "config.yaml", "curve.png", "log.jsonl", "weights"}
    weights = out / "weights" / "tiny.safetensors"
    assert RecognitionTarget.load("tiny", weights).spec.name == "tiny"
    assert "12 people, 48 photos" in read_header(weights)["origin"]
    assert not [name for name in read(weights) if "head" in name]
    losses, validations = log(out, "training"), log(out, "validation")
    assert losses[-1]["step"] == validations[-1]["step"] == 6 and losses[-1]["loss"] > 0
    assert {"rank1", "tar@far=1e-3", "genuine_auc"} == validations[-1]["figures"]["mean"].keys()
    assert "12 people, 48 photos, 4 others (16 photos) for measuring" in (out / "card.md").read_text()
    assert (
        config.load_recipe(out / "config.yaml").plain() == config.load_recipe(path, (), {"out": str(out)}, True).plain()
    )


def test_people_held_out_beside_a_validation_set_are_refused(tmp_path):
    both = small(tmp_path / "out", validation={"name": "drawn", "people": 6})
    with pytest.raises(EffaceError, match="held_out: found it beside validation"):
        recipes.train(both, Quiet())


@pytest.mark.real
def test_a_training_of_photos_without_faces_is_refused(data, tmp_path):
    """Of each of four people one photo shows a face, three show nothing."""
    for person, photos in list(ShippedPeople().read().photos.items())[:4]:
        folder = tmp_path / "people" / person
        folder.mkdir(parents=True)
        (folder / "0.jpg").write_bytes(photos[0].encoded())
        for empty in range(1, 4):
            Image.new("RGB", (128, 128), (90, 60 * empty, 90)).save(folder / f"{empty}.png")
    faces = {"name": "folder", "path": str(tmp_path / "people")}
    asked = small(tmp_path / "out", faces=faces, detector=str(data / "detector-mtcnn"), held_out=0, batch=8)
    with pytest.raises(EffaceError, match="found 4 photos with a face, of 4 people, expected a batch \\(8\\)"):
        recipes.train(asked, Quiet())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fields", [{}, {"sampled": 0.5, "head": "arcface"}], ids=["all", "sampled"])
def test_an_interrupted_training_ends_in_the_very_same_weights(fields, tmp_path, monkeypatch):
    recipes.train(small(tmp_path / "whole", **fields), Quiet())
    monkeypatch.setattr(recogniser, "PAUSE", 0.0)
    halved = small(tmp_path / "halved", **fields)
    each = recogniser._Loop._each

    def stopped(loop, done, loss):
        each(loop, done, loss)
        if done == 15:  # the last checkpoint is of step 10: epoch 8 of 8 has begun
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recogniser._Loop, "_each", stopped)
        recipes.train(halved, Quiet())
    with pytest.raises(EffaceError, match="--resume"):
        recipes.train(halved, Quiet())
    monkeypatch.setattr(stored, "align", lambda *rest: pytest.fail("aligned again"))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):  # all steps are done, nothing is written
        patch.setattr(recogniser._Loop, "best", lambda loop: 1 / 0)
        recipes.train(halved, Quiet(), resume=True)
    assert not (tmp_path / "halved").exists()
    recipes.train(halved, Quiet(), resume=True)
    whole, resumed = (tmp_path / n / "weights" / "tiny.safetensors" for n in ("whole", "halved"))
    assert whole.read_bytes() == resumed.read_bytes()
    assert not (tmp_path / "halved" / CHECKPOINTS).exists()


def test_it_learns_people_it_has_not_seen(tmp_path):
    learning = small(tmp_path / "out", faces={"name": "drawn", "people": 110, "photos": 6, "seed": 5}, held_out=30)
    fields = {"epochs": 12, "batch": 32, "scale": 16.0, "margin": 0.2}
    recipes.train(config.load_recipe(None, (), learning.plain() | fields), Quiet())
    curve = [line["figures"]["mean"] for line in log(tmp_path / "out", "validation")]
    assert curve[-1]["genuine_auc"] > 0.85 and curve[-1]["rank1"] > 1.5 * curve[0]["rank1"]
    losses = [line["loss"] for line in log(tmp_path / "out", "training")]
    assert losses[-1] < 0.8 * losses[0]


def test_people_are_left_out_and_held_out_by_name(tmp_path):
    recipes.train(small(tmp_path / "a", epochs=1, without=["person-000", "person-00[12]"]), Quiet())
    (line,) = log(tmp_path / "a", "people")
    assert line["people"] == 12 - 4 - 3 and line["photos"] == 4 * line["people"]
    people = recogniser._left_out(Drawn(people=14, photos=1).read(), ("person-00?", "person-010"))
    assert list(people.photos) == ["person-011", "person-012", "person-013"]
    kept, others = recogniser._held_out(people, 1)
    assert list(kept.photos) == ["person-011", "person-012"] and list(others.photos) == ["person-013"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"without": ["nobody"]}, "without: found nobody called 'nobody' among 12 people"),
        ({"without": ["person-*"]}, "found 0 of 12 people to train on, expected at least 2"),
        ({"held_out": 11}, "held_out: found 11, expected at most 10 of 12 people"),
        ({"batch": 33}, "batch: found 33, expected at most the 32 photos"),
        ({"rate": 1e9}, "expected it finite; lower the learning rate"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(fields, said, tmp_path):
    with pytest.raises(EffaceError) as raised:
        recipes.train(small(tmp_path / "out", **fields), Quiet())
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert "rate" in fields or not list(tmp_path.iterdir())


def test_wrong_keys_say_what_is_expected(tmp_path):
    for given, said in (
        ({"name": "nothing"}, "name: found 'nothing', expected one of: "),
        ({"epochs": 0}, "epochs: found 0"),
        ({"sampled": 0}, "sampled: found 0"),
        ({"model": {"name": "tiny", "weights": "a.pt"}}, "model.weights"),
        ({"colour": 1}, "colour: found 1, expected no such key here"),
    ):
        with pytest.raises(EffaceError, match=r"^command line: ") as raised:
            config.load_recipe(None, (), SMALL | given)
        assert said in str(raised.value)


def test_two_processes_train_one_network(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "c.yaml").write_text(json.dumps(SMALL))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    efface = [str(Path(sys.executable).with_name("efface")), "train", str(tmp_path / "c.yaml"), "--out", str(out)]
    done = subprocess.run([*torchrun, *efface], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in log(out, "training")] == [16]
    assert "in 2 process(es) on " in (out / "card.md").read_text()
    assert RecognitionTarget.load("tiny", out / "weights" / "tiny.safetensors")


def test_stored_crops_are_those_of_align_and_of_no_other_photos(tmp_path):
    people = Drawn(people=3, photos=2).read()
    crops, notes = stored.stored_crops(tmp_path, people)
    expected, expected_notes = align(people)
    for found in (crops, stored.stored_crops(tmp_path, people)[0]):
        assert torch.equal(found.pixels, expected.pixels)
        assert (found.identities, found.names) == (expected.identities, expected.names)
    assert notes == expected_notes
    with pytest.raises(EffaceError, match="the crops of 6 other photos, expected those of these 8"):
        stored.stored_crops(tmp_path, Drawn(people=4, photos=2).read())


@pytest.mark.parametrize("spec", [ShippedRecogniser(), JudgeRecogniser()], ids=lambda s: s.name)
def test_the_shipped_networks_are_small(spec):
    state = spec.build().state_dict()
    assert sum(t.numel() * t.element_size() for t in state.values()) <= 4_490_000


def test_the_page_lists_every_field_with_its_default():
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", page, re.MULTILINE)
    fields = registry.describe("recipes", "recogniser").fields
    assert rows == [(field.name, field.default) for field in fields]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def refuse(*rest):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(EffaceError, match=r"cannot be written \(No space left on device\)"):
        recipes.train(small(tmp_path / "out"), Quiet())
