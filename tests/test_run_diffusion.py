"""Whole runs on the tiny diffusion model, as a user starts them: the folder, its numbers, the report, bad input, a full
disk, a kill and --resume."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from efface import config, run_diffusion, training
from efface.cli import app, main
from efface.errors import EffaceError
from efface.faces.datasets.drawn import Drawn
from efface.models import layout
from efface.models.diffusion import tiny
from efface.progress import Quiet
from efface.targets.diffusion import DiffusionTarget
from test_report_page import Page

BASE = {
    "kind": "diffusion",
    "model": "tiny",
    "faces": {"name": "drawn", "people": 12, "photos": 6},
    "judge": "shipped",
    "forget": ["person-003"],
    "anchor": {"choice": "closest"},
    "method": {"name": "piu", "steps": 3, "batch": 2, "retained": 4},
    "draws": 2,
    "people": 3,
}
ATTACKS = [{"name": "img2img", "strengths": [0.5]}]


def settings(out: Path, **changes) -> list[str]:
    """The command line of a small run."""
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(BASE | changes | {"out": str(out)}))
    return ["unlearn", str(path)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One finished run, with an attack."""
    out = tmp_path_factory.mktemp("runs") / "first"
    done = CliRunner().invoke(app, [*settings(out, attacks=ATTACKS)])
    assert done.exit_code == 0, done.output
    return out


def test_a_run_writes_one_folder(finished):
    names = ["audit.json", "config.yaml", "log.jsonl", "people.csv", "report.html", "weights"]
    assert sorted(p.name for p in finished.iterdir()) == names
    assert sorted(p.name for p in finished.parent.iterdir()) == ["first", "first.yaml"]
    events = [json.loads(line)["event"] for line in (finished / "log.jsonl").read_text().splitlines()]
    assert events == ["people", "target", "anchors", "method", "audit", "report"]


def test_audit_says_what_was_drawn(finished):
    audit = json.loads((finished / "audit.json").read_text())
    assert audit["config"]["kind"] == "diffusion" and audit["groups"]["forget"] == ["person-003"]
    for block in (audit, audit["judges"]["judge"]):
        entry = block["models"]["unlearned"]["forget"]["ism"]
        assert entry["n"] == 1 and entry["n_trials"] == 2 and -1 <= entry["value"] <= 1
    assert audit["anchoring"]["person-003"]["who"] == audit["anchors"]["person-003"] != "person-003"
    assert audit["cost"]["steps"] == 3 and audit["curves"][0]["step"] == [1, 2, 3]
    assert all(math.isfinite(v) for values in audit["curves"][0].values() for v in values)
    assert "img2img" in audit["attacks"]


def test_the_stored_weights_are_the_measured_ones(finished):
    before, after = (DiffusionTarget.load("tiny", folder) for folder in (tiny.WEIGHTS, finished / "weights"))
    changed = after.changes(before)
    assert changed and all(".attn2." in name for name in changed)
    arguments = ["evaluate", str(finished / "config.yaml"), "--unlearned", str(finished / "weights")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    loaded = config.load(finished / "config.yaml", ["attacks=[]"])
    again = run_diffusion.evaluate(loaded, finished / "weights", Quiet())
    assert again["models"] == json.loads((finished / "audit.json").read_text())["models"]


def test_the_changed_tensors_alone_are_enough(finished, tmp_path):
    """A run that writes nothing else, measured again."""
    out = tmp_path / "few"
    done = CliRunner().invoke(app, settings(out, changed_only=True))
    assert done.exit_code == 0, done.output
    (file,) = (out / "weights").iterdir()
    assert file.name == "changed.safetensors"
    audit = json.loads((out / "audit.json").read_text())
    assert audit["weights"] == [file.name]
    assert audit["models"] == json.loads((finished / "audit.json").read_text())["models"]
    loaded = config.load(out / "config.yaml", ["judge=null"])
    (out / "weights" / "README.md").write_text("lies beside it")
    assert run_diffusion.evaluate(loaded, file.parent, Quiet())["models"] == audit["models"]
    assert layout.changed_alone(file) and not layout.changed_alone(finished / "weights")
    with pytest.raises(EffaceError, match=r"few: found no model\.json"):
        run_diffusion.evaluate(loaded, out, Quiet())
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(EffaceError, match=r"changed\.safetensors"):
        run_diffusion.evaluate(loaded, file.parent, Quiet())


def test_the_report_shows_the_same_noise_before_and_after(finished):
    html = (finished / "report.html").read_text()
    page = Page(html)
    assert "Does the model still draw person-003?" in page.text and "://" not in html
    audit = json.loads((finished / "audit.json").read_text())
    shown = [str(img["alt"]) for img in page.all("img")]
    for name in ("person-003", audit["anchors"]["person-003"], audit["neighbours"]["person-003"][0]):
        for model in ("before", "after"):
            assert any(alt.startswith(f"{name}, {model}, noise 2") for alt in shown), name
    assert any(alt.startswith("Before: mean cosine") for alt in shown)
    assert any("Terms of the loss by optimiser step" in alt for alt in shown)
    assert {img.size for img in page.pictures("jpeg")} == {(112, 112)}
    assert "img2img" in page.text and "These people never existed" in page.text


def test_killed_then_resumed(finished, tmp_path):
    """kill -9 when the weights are there; --resume ends with the same weights and numbers."""
    out, partial = tmp_path / "first", tmp_path / "first.partial"
    arguments = settings(out, attacks=ATTACKS)
    code = "from efface.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (partial / "weights").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.is_dir() and not out.exists()
    done = CliRunner().invoke(app, [*arguments, "--resume"])
    assert done.exit_code == 0, done.output
    one, other = (load_file(f / "weights" / "unet.safetensors") for f in (out, finished))
    assert all(torch.equal(one[name], other[name]) for name in other)
    audits = [json.loads((f / "audit.json").read_text()) for f in (out, finished)]
    for key in ("models", "judges", "attacks", "curves", "anchoring"):
        assert audits[0][key] == audits[1][key]


def test_several_people_one_after_another(tmp_path):
    changes = {"forget": ["person-003", "person-004"], "one_after_another": True, "out": str(tmp_path / "out")}
    audit = run_diffusion.run(config.parse(BASE | changes, "test"), Quiet())
    assert len(audit["curves"]) == 2 and audit["cost"]["steps"] == 6
    assert audit["groups"]["forget"] == ["person-003", "person-004"]
    assert len(set(audit["anchors"].values())) == 2


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=450))
def test_a_curve_of_few_points_keeps_the_sum(values: list[float]):
    """Each point is the mean over the steps since the one before."""
    found = training.thinned({"forget": values})
    steps, means = found["step"], found["forget"]
    assert len(steps) == len(means) <= training.POINTS and steps[-1] == len(values)
    spans = [end - start for start, end in zip([0, *steps], steps, strict=False)]
    assert sum(m * s for m, s in zip(means, spans, strict=True)) == pytest.approx(sum(values))


def test_runs_are_compared_and_pooled(finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    audit = json.loads((other / "audit.json").read_text())
    (other / "audit.json").write_text(json.dumps(audit | {"config": audit["config"] | {"seed": 1}}))
    done = CliRunner().invoke(app, ["compare", str(finished), str(other)], env={"COLUMNS": "120"})
    assert done.exit_code == 0 and "2 runs pooled" in done.output and "likeness" in done.output
    del audit["config"]["kind"]
    (other / "audit.json").write_text(json.dumps(audit))
    done = CliRunner().invoke(app, ["compare", str(finished), str(other)])
    assert isinstance(done.exception, EffaceError) and "expected one kind" in str(done.exception)


def test_evaluation_alone_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings(tmp_path / "o", forget=[], method=None)
    done = CliRunner().invoke(app, ["evaluate", "o.yaml"], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    assert "held out (3)" in done.output and "→" not in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["o.yaml"]


def test_a_person_is_forgotten_and_the_others_are_not(tmp_path):
    """The tiny model draws everybody rightly before; PIU in a few large steps."""
    method = {"name": "piu", "steps": 40, "learning_rate": 3e-3, "eta": 1.5, "retain_weight": 5, "batch": 8}
    changes = {"faces": {"name": "drawn", "people": 24, "photos": 6}, "method": method, "judge": None, "draws": 4}
    audit = run_diffusion.run(config.parse(BASE | changes | {"out": str(tmp_path / "out")}, "test"), Quiet())
    before, after = (audit["models"][model] for model in ("original", "unlearned"))
    assert before["forget"]["acc"]["value"] == 1 and after["forget"]["acc"]["value"] == 0
    assert after["forget"]["ism"]["value"] < before["forget"]["ism"]["value"] - 0.3
    for group in ("anchor", "retain", "holdout"):
        assert after[group]["acc"]["value"] >= before[group]["acc"]["value"] - 0.1, group
        assert after[group]["ism_net"]["value"] >= 0.85 * before[group]["ism_net"]["value"], group


CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "diffusion").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_runs_tiny(path, tmp_path):
    loaded = config.load(path, overrides={"out": str(tmp_path / "out")}, tiny=True)
    audit = run_diffusion.run(loaded, Quiet())
    assert audit["models"]["unlearned"]["forget"]["ism"]["value"] is not None
    assert (tmp_path / "out" / "report.html").exists()


def test_the_demo_dry_and_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = CliRunner().invoke(app, ["demo", "diffusion", "--tiny"])
        assert done.exit_code == 0, done.output
    assert [p.name for p in tmp_path.iterdir()] == ["demo-diffusion"]
    assert json.loads((tmp_path / "demo-diffusion" / "audit.json").read_text())["config"]["method"]["name"] == "piu"


# What the user did wrong


@pytest.fixture
def refused(capsys):
    """Runs the command line here; expects exit code 2, one line that says these things, and nothing left behind."""

    def check(arguments: list[str], out: Path, *said: str) -> None:
        before = set(out.parent.iterdir())
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("efface: ")]
        assert ended.value.code == 2 and len(lines) == 1, lines
        for part in said:
            assert part in lines[0], lines[0]
        assert not out.exists() and set(out.parent.iterdir()) == before

    return check


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"forget": []}, ["forget: found nobody"]),
        ({"forget": ["person-3"]}, ["person-3", "the nearest name is"]),
        ({"retain": ["person-003", "person-001"]}, ["person-003", "forget", "retain"]),
        ({"method": None}, ["method: found nothing"]),
        ({"method": "esc"}, ["method.name: found 'esc'", "piu"]),
        ({"anchor": {"tau": 2.0}}, ["anchor", "tau: found 2"]),
        ({"anchor": {"tau": 0.99, "epsilon": 0.001}}, ["anchor of person-003", "nearest are person-"]),
        ({"draws": 0}, ["draws: found 0"]),
        ({"kind": "nerf"}, ["kind: found 'nerf', expected one of: recognition, diffusion, gan"]),
        ({"retrained": "shipped"}, ["retrained", "no such key here"]),
        ({"attacks": ["probe"]}, ["attacks.name: found 'probe'", "halo"]),
    ],
)
def test_one_clear_line(changes, said, tmp_path, refused):
    refused(settings(tmp_path / "o", **changes), tmp_path / "o", *said)


def test_photos_of_another_size_of_embedding_or_broken():
    target = DiffusionTarget.load("tiny", tiny.WEIGHTS)
    with pytest.raises(EffaceError, match=r"embedding: found the shape \[1, 512\], expected \[n, 64\].*tiny"):
        target.condition(torch.zeros(1, 512))
    with pytest.raises(EffaceError, match="embedding: found NaN"):
        target.condition(torch.full((1, 64), torch.nan))


@pytest.fixture
def photos(tmp_path) -> Path:
    """Drawn people as a folder per person."""
    folder = tmp_path / "photos"
    for name, pictures in Drawn(people=8, photos=4).read().photos.items():
        (folder / name).mkdir(parents=True)
        for i, photo in enumerate(pictures):
            (folder / name / f"{i}.png").write_bytes(photo.encoded())
    return folder


def test_photos_that_need_a_detector(photos, tmp_path, refused):
    arguments = [*settings(tmp_path / "o"), "--faces", str(photos)]
    refused(arguments, tmp_path / "o", "detector: found none", "not aligned crops")


@pytest.mark.real
def test_no_face_of_the_person_to_forget(photos, tmp_path, data, refused):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for path in (photos / "person-003").iterdir():
        Image.fromarray(noise).save(path)
    arguments = [*settings(tmp_path / "o"), "--faces", str(photos), "--detector", str(data / "detector-mtcnn")]
    refused(arguments, tmp_path / "o", "no face in any of the 4 photos of person-003")


def test_a_full_disk(tmp_path, refused):
    """A log on a device that is always full: one line; --resume finishes once there is space."""
    out, partial = tmp_path / "full", tmp_path / "full.partial"
    arguments = settings(out)
    loaded = config.load(Path(arguments[1]))
    partial.mkdir()
    (partial / "config.yaml").write_text(config.dump(loaded))
    (partial / "log.jsonl").symlink_to("/dev/full")
    refused([*arguments, "--resume"], out, "No space left on device", "--resume")
    (partial / "log.jsonl").unlink()
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert (out / "report.html").exists()


def test_without_diffusers_one_clear_line(tmp_path):
    """In a process in which diffusers cannot be imported; recognition works there."""
    hide = "import sys; sys.modules['diffusers'] = None; from efface.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", hide, *settings(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stderr.splitlines() if line.startswith("efface: ")]
    assert done.returncode == 2 and len(lines) == 1 and "pip install 'efface[diffusion]'" in lines[0], done.stderr
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.partial").exists()
    command[3:] = ["models"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0 and re.search(r"^recognition:", listed.stdout, re.MULTILINE)
