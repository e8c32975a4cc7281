"""Whole runs, as a user starts them: the folder, the numbers, every kind of bad input, kill -9 and --resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from efface import config, run
from efface.cli import main
from efface.errors import EffaceError
from efface.faces.datasets.drawn import Drawn
from efface.progress import Quiet
from efface.testing import TINY

BASE = {
    "model": {"name": "tiny"},
    "faces": {"name": "drawn", "people": 14, "photos": 8},
    "forget": ["person-003", "person-004"],
    "method": {"name": "dispersion", "steps": 60},
}


def start(*arguments: str, **keywords) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from efface.cli import main; main()", *arguments]
    return subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True, **keywords)


def efface(*arguments: str, **keywords) -> tuple[int, str, str]:
    process = start(*arguments, **keywords)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def settings(out: Path, **changes) -> list[str]:
    """The command line of a small run."""
    given = config.parse(BASE | changes | {"out": str(out)}, "test")
    path = out.parent / f"{out.name}.yaml"
    path.write_text(config.dump(given))
    return ["unlearn", str(path)]


def numbers(folder: Path) -> dict:
    """What must be equal between two runs of one configuration."""
    audit = json.loads((folder / "audit.json").read_text())
    return {k: audit[k] for k in ("models", "thresholds", "groups", "floor")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One finished run."""
    out = tmp_path_factory.mktemp("runs") / "first"
    code, _, err = efface(*settings(out))
    assert code == 0, err
    return out


def test_a_run_writes_one_folder(finished):
    assert sorted(p.name for p in finished.iterdir()) == [
        "audit.json",
        "config.yaml",
        "log.jsonl",
        "people.csv",
        "report.html",
        "weights",
    ]
    assert [p.name for p in (finished / "weights").iterdir()] == ["tiny.safetensors"]
    assert not finished.with_name("first.partial").exists()
    events = [json.loads(line)["event"] for line in (finished / "log.jsonl").read_text().splitlines()]
    assert events == ["people", "target", "method", "audit", "report"]


def test_audit_has_what_the_schema_says(finished):
    audit = json.loads((finished / "audit.json").read_text())
    assert {"models", "cost", "config", "versions", "groups", "thresholds", "photos", "floor", "worst"} <= audit.keys()
    assert {"original", "unlearned"} == audit["models"].keys()
    entry = audit["models"]["unlearned"]["forget"]["rank1"]
    assert {"value", "low", "high", "n", "n_trials"} == entry.keys() and entry["n"] == 2
    assert audit["cost"].keys() >= {
        "seconds", "steps", "images_seen", "peak_memory_mb", "trainable_parameters", "device"
    }  # fmt: skip
    assert audit["cost"]["steps"] == 60 and audit["groups"]["forget"] == ["person-003", "person-004"]


def test_the_stored_weights_are_the_measured_ones(finished):
    from efface.targets.recognition import RecognitionTarget

    before = RecognitionTarget.load("tiny", TINY)
    after = RecognitionTarget.load("tiny", finished / "weights" / "tiny.safetensors")
    pairs = zip(before.network.parameters(), after.network.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    code, out, err = efface(
        "evaluate", str(finished / "config.yaml"), "--unlearned", str(finished / "weights" / "tiny.safetensors")
    )
    assert code == 0, err
    assert "random network" in out


@pytest.mark.parametrize("appears", ["config.yaml", "checkpoints/stage-0.pt", "weights/tiny.safetensors", "audit.json"])
def test_killed_at_any_moment_then_resumed(finished, tmp_path, appears):
    """kill -9 as soon as a file appears; --resume ends with the numbers and weights of the run that was left alone."""
    out = tmp_path / "killed"
    partial = tmp_path / "killed.partial"
    process = start(*settings(out))
    deadline = time.monotonic() + 120
    while not (partial / appears).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and partial.is_dir() and not out.exists()
    code, _, err = efface(*settings(out))
    assert code == 2 and "unfinished run; continue it with --resume" in err
    code, _, err = efface(*settings(out), "--resume")
    assert code == 0, err
    assert numbers(out) == numbers(finished)
    one, other = (load_file(f / "weights" / "tiny.safetensors") for f in (out, finished))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert not partial.exists()


@pytest.fixture
def refused(capsys):
    """Runs the command line here; expects exit code 2, one line that says these things, and nothing left behind."""

    def check(arguments: list[str], out: Path, *said: str) -> None:
        before = set(out.parent.iterdir()) if out.parent.is_dir() else set()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("efface: ")]
        assert ended.value.code == 2 and len(lines) == 1, lines
        for part in said:
            assert part in lines[0], lines[0]
        assert not out.exists() and (set(out.parent.iterdir()) if out.parent.is_dir() else set()) == before

    return check


def test_output_folder_of_another_run(finished, tmp_path, refused):
    code, _, err = efface(*settings(finished)[:1], str(finished / "config.yaml"))
    assert code == 2 and "exists already; choose another --out or remove it" in err
    out = tmp_path / "mine"
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "config.yaml").write_text("seed: 3\nmodel: {name: tiny}\n")
    refused([*settings(out), "--resume"], out, "unfinished run of another configuration", "seed")
    assert (tmp_path / "mine.partial" / "config.yaml").exists()


def test_a_folder_that_another_process_writes(tmp_path, refused):
    """While one run is at work, --resume of the same is refused; afterwards the first one's result is there."""
    out = tmp_path / "shared"
    arguments = settings(out, method={"name": "dispersion", "steps": 100000})
    process = start(*arguments)
    while not (tmp_path / "shared.partial" / "checkpoints").exists() and process.poll() is None:
        time.sleep(0.05)
    refused(
        [*settings(out, method={"name": "dispersion", "steps": 100000}), "--resume"], out, "another run is writing it"
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130 and "interrupted; the same command with --resume continues" in err


def test_a_damaged_checkpoint_is_done_again(finished, tmp_path):
    out, partial = tmp_path / "damaged", tmp_path / "damaged.partial"
    arguments = settings(out)
    (partial / "checkpoints").mkdir(parents=True)
    (partial / "config.yaml").write_text(Path(arguments[1]).read_text())
    (partial / "checkpoints" / "stage-0.pt").write_bytes(b"PK" + bytes(100))
    code, _, err = efface(*arguments, "--resume")
    assert code == 0 and "damaged" in err and "this stage begins again" in err
    assert numbers(out) == numbers(finished)


def test_the_cost_of_an_interrupted_run_is_that_of_all_its_processes(tmp_path):
    from efface import training

    def fit(folder, stop):
        module, generator = torch.nn.Linear(2, 2), torch.Generator().manual_seed(0)

        def loss(x):
            time.sleep(0.01)
            if stop():
                raise KeyboardInterrupt
            return {"loss": module(x).square().mean()}

        with training.session(folder, every=10) as session:
            training.fit(
                module,
                lambda g: (torch.randn(4, 2, generator=g),),
                loss,
                optimiser=torch.optim.SGD(module.parameters(), lr=0.1),
                steps=40,
                generator=generator,
            )
        return session

    calls = iter(range(1000))
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, lambda: next(calls) == 35)
    session = fit(tmp_path, lambda: False)
    assert session.steps == 40 and session.images_seen == 160
    assert session.seconds > 0.4


def test_a_marked_folder_is_replaced_and_no_other(tmp_path):
    """What the demo does with demo-run/: its own is replaced, even one of other settings; a stranger's is not."""
    out = tmp_path / "marked"

    def once(**changes):
        return run.run(config.parse(BASE | changes | {"out": str(out)}, "test"), Quiet(), resume=True, mark=".mine")

    once(method={"name": "esc"})
    (tmp_path / "marked.partial").mkdir()
    (tmp_path / "marked.partial" / ".mine").touch()
    (tmp_path / "marked.old").mkdir()
    once(method={"name": "esc", "directions": 1})
    assert "directions: 1" in (out / "config.yaml").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["marked"]
    (out / ".mine").unlink()
    with pytest.raises(EffaceError, match="exists already"):
        once(method={"name": "esc"})
    assert (out / "report.html").exists()


def test_a_name_that_is_not_utf8(copied, tmp_path, refused):
    os.rename(copied / "person-002", os.fsencode(copied) + b"/J\xfcrgen")
    refused(own(copied, tmp_path / "o"), tmp_path / "o", "expected one in UTF-8")


def test_output_is_no_folder_of_its_own(refused, tmp_path):
    for out in (".", "/"):
        refused([*settings(tmp_path / "o"), "--out", out], tmp_path / "o", "exists already")


def test_an_accelerator_that_is_not_there(tmp_path, refused):
    if not torch.accelerator.is_available():
        refused([*settings(tmp_path / "o"), "--set", "device=cuda"], tmp_path / "o", "no such accelerator")


def test_the_weights_do_not_name_the_forgotten(finished):
    assert b"person-00" not in (finished / "weights" / "tiny.safetensors").read_bytes()


def test_output_path_below_a_file(tmp_path, refused):
    (tmp_path / "file").write_text("x")
    out = tmp_path / "file" / "out"
    arguments = settings(tmp_path / "elsewhere")
    refused([*arguments, "--out", str(out)], out, "cannot be written", "Not a directory")
    assert (tmp_path / "file").read_text() == "x"


def test_full_disk(tmp_path, refused):
    """A log on a device that is always full: one line, and --resume finishes once there is space."""
    out, partial = tmp_path / "full", tmp_path / "full.partial"
    arguments = settings(out)
    partial.mkdir()
    (partial / "config.yaml").write_text(Path(arguments[1]).read_text())
    (partial / "log.jsonl").symlink_to("/dev/full")
    refused([*arguments, "--resume"], out, "No space left on device", "--resume")
    (partial / "log.jsonl").unlink()
    code, _, err = efface(*arguments, "--resume")
    assert code == 0, err


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Drawn people as a folder per person."""
    folder = tmp_path_factory.mktemp("photos")
    for name, pictures in Drawn(people=10, photos=6).read().photos.items():
        (folder / name).mkdir()
        for i, photo in enumerate(pictures):
            (folder / name / f"{i}.png").write_bytes(photo.encoded())
    return folder


def own(photos: Path, out: Path, forget: str = "person-001", **changes) -> list[str]:
    """The command of a user with a folder of aligned photos and weights."""
    arguments = settings(out, **changes)
    return [*arguments, "--faces", str(photos), "--set", "faces.aligned=true", "--forget", forget]


def test_unknown_person(photos, tmp_path, refused):
    refused(own(photos, tmp_path / "o", "person-01"), tmp_path / "o", "person-01", "person-001")


def test_person_in_both_sets(photos, tmp_path, refused):
    arguments = [*own(photos, tmp_path / "o"), "--set", "retain=[person-001, person-002]"]
    refused(arguments, tmp_path / "o", "person-001", "forget", "retain")


def test_nobody_and_twice(photos, tmp_path, refused):
    refused(own(photos, tmp_path / "o", ""), tmp_path / "o", "forget: found nobody")
    refused(own(photos, tmp_path / "p", "person-001,person-001"), tmp_path / "p", "person-001", "more than once")


@pytest.fixture
def copied(photos, tmp_path) -> Path:
    """A copy of the photos that a test may spoil."""
    folder = tmp_path / "photos"
    for path in photos.rglob("*.png"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    return folder


def test_one_photo_only(copied, tmp_path, refused):
    for path in sorted((copied / "person-001").iterdir())[1:]:
        path.unlink()
    refused(own(copied, tmp_path / "o"), tmp_path / "o", "person-001", "1 photo")


def test_corrupt_image(copied, tmp_path, refused):
    (copied / "person-002" / "3.png").write_bytes((copied / "person-002" / "3.png").read_bytes()[:200])
    refused(own(copied, tmp_path / "o"), tmp_path / "o", "3.png", "not a readable picture")


def test_photos_that_need_a_detector(photos, tmp_path, refused):
    arguments = [*settings(tmp_path / "o"), "--faces", str(photos), "--forget", "person-001"]
    refused(arguments, tmp_path / "o", "detector")


@pytest.mark.real
def test_no_face_of_the_person_to_forget(copied, tmp_path, data, refused):
    """Drawn faces are found by the detector; a person whose photos show none is said to be so."""
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for path in (copied / "person-001").iterdir():
        Image.fromarray(noise).save(path)
    arguments = [*settings(tmp_path / "o"), "--faces", str(copied), "--forget", "person-001"]
    detector = ["--detector", str(data / "detector-mtcnn")]
    refused([*arguments, *detector], tmp_path / "o", "no face in any of the 6 photos of person-001")


@pytest.mark.real
def test_no_face_found(copied, tmp_path, data, refused):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for path in copied.rglob("*.png"):
        Image.fromarray(noise).save(path)
    arguments = [*settings(tmp_path / "o"), "--faces", str(copied), "--forget", "person-001"]
    refused([*arguments, "--detector", str(data / "detector-mtcnn")], tmp_path / "o", "no face")


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch executed",))


def spoil(kind: str, path: Path) -> Path:
    """Weights that must be refused."""
    tensors = load_file(TINY)
    name = next(n for n in tensors if n.endswith("weight"))
    if kind == "missing":
        del tensors[name]
    elif kind == "wrong size":
        tensors[name] = tensors[name][:-1]
    elif kind == "nan":
        tensors[name] = tensors[name] * float("nan")
    elif kind == "hostile":
        torch.save({"state_dict": Hostile()}, path)
        return path
    torch.save(tensors, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:5000])
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "missing"),
        ("wrong size", "shape"),
        ("nan", "NaN"),
        ("truncated", "w.pt"),
        ("hostile", "system"),
        ("nowhere", "No such file"),
    ],
)
def test_bad_weights(photos, tmp_path, kind, said, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "w.pt"
    if kind != "nowhere":
        spoil(kind, weights)
    refused([*own(photos, tmp_path / "o"), "--model", "tiny", "--weights", str(weights)], tmp_path / "o", "w.pt", said)
    assert not (tmp_path / "executed").exists()


def test_weights_of_another_network(photos, tmp_path, refused):
    from efface.models.recognition.iresnet import IResNetRecogniser

    path = tmp_path / "r18.pt"
    torch.save(IResNetRecogniser(depth=18).build().state_dict(), path)
    refused([*own(photos, tmp_path / "o"), "--weights", str(path)], tmp_path / "o", "r18.pt", "iresnet")


CONFIGS = sorted((Path(__file__).parents[1] / "configs" / "recognition").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_runs_tiny(path, tmp_path):
    loaded = config.load(path, overrides={"out": str(tmp_path / "out")}, tiny=True)
    audit = run.run(loaded, Quiet())
    assert audit["models"]["unlearned"]["retain"]["rank1"]["value"] > 0.5
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("method", ["dispersion", "random_label"])  # pairs and Adam; a mean over photos and SGD
def test_two_processes_unlearn_what_one_does(method, tmp_path):
    fields = {"method": {"name": method, "steps": 15, "blocks": 2}}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    code, _, err = efface(*settings(tmp_path / "one", **fields))
    assert code == 0, err
    command = [str(Path(sys.executable).with_name("efface")), *settings(tmp_path / "two", **fields)]
    done = subprocess.run([sys.executable, *torchrun, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("unlearning took") == 1
    one, two = (load_file(tmp_path / name / "weights" / "tiny.safetensors") for name in ("one", "two"))
    before = load_file(TINY)
    assert any((one[name] - before[name]).abs().max() > 1e-3 for name in one)
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)
    logs = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").open()] for n in ("one", "two")]
    assert [line["event"] for line in logs[0]] == [line["event"] for line in logs[1]]
    costs = [json.loads((tmp_path / n / "audit.json").read_text())["cost"] for n in ("one", "two")]
    assert costs[0]["images_seen"] == costs[1]["images_seen"] > 0
    assert not (tmp_path / "two.partial").exists()
