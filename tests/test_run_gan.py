"""Whole runs on the tiny face generators, as a user starts them: the folder, its numbers, the report, scenarios, bad
input, a kill and --resume."""

import base64
import hashlib
import io
import json
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from efface import config, run_gan
from efface import scene as scenes
from efface.cli import app, main
from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE
from efface.faces.datasets.drawn import Drawn
from efface.faces.datasets.people import ShippedPeople
from efface.faces.detection import Detection, Detector
from efface.faces.framing import frame
from efface.methods.gan.legato import Legato
from efface.models.gan import tiny
from efface.progress import Quiet
from efface.report.tables import attempts
from efface.targets.gan import GanTarget
from efface.testing.tiny_gan import tiny_request, tiny_target
from test_report_page import Page

BASE = {
    "kind": "gan",
    "model": "tiny",
    "faces": {"name": "drawn", "people": 9, "photos": 4},
    "judge": "shipped",
    "forget": ["person-003"],
    "method": {"name": "average_target", "steps": 2},
    "people": 2,
    "samples": 3,
    "views": 5,
}


def parsed(out: Path, **changes) -> config.GanConfig:
    loaded = config.parse(BASE | changes | {"out": str(out)}, "test")
    assert isinstance(loaded, config.GanConfig)
    return loaded


def settings(out: Path, **changes) -> list[str]:
    """The command line of a small run."""
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(BASE | changes | {"out": str(out)}))
    return ["unlearn", str(path)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """One finished run."""
    out = tmp_path_factory.mktemp("runs") / "first"
    done = CliRunner().invoke(app, settings(out), env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    assert "by person-003/0.png" in done.output and "held out (2)" in done.output
    return out


def test_a_run_writes_one_folder(finished):
    names = ["audit.json", "config.yaml", "log.jsonl", "people.csv", "report.html", "weights"]
    assert sorted(p.name for p in finished.iterdir()) == names
    assert sorted(p.name for p in finished.parent.iterdir()) == ["first", "first.yaml"]
    events = [json.loads(line)["event"] for line in (finished / "log.jsonl").read_text().splitlines()]
    assert events == ["people", "target", "latents", "method", "audit", "report"]


def test_audit_says_what_was_drawn(finished):
    audit = json.loads((finished / "audit.json").read_text())
    assert audit["config"]["kind"] == "gan" and audit["groups"]["forget"] == ["person-003"]
    assert audit["given"] == {"person-003": "person-003/0.png"}
    for block in (audit, audit["judges"]["judge"]):
        found = block["models"]["unlearned"]["forget"]["id_photo"]
        assert found["n"] == 1 and found["n_trials"] == 7 and -1 <= found["value"] <= 1
    assert audit["models"]["unlearned"]["forget"]["id"]["value"] < 1
    assert audit["cost"]["steps"] == 2 and audit["curves"][0]["step"] == [1, 2]
    assert all(math.isfinite(v) for values in audit["curves"][0].values() for v in values)


def test_the_stored_weights_are_the_measured_ones(finished, tmp_path):
    """Whole, or the changed tensors laid over the original's."""
    before, after = (GanTarget.load("tiny", folder) for folder in (tiny.WEIGHTS, finished / "weights"))
    changed = after.changes(before)
    assert changed and set(load_file(finished / "weights" / "changed.safetensors")) == set(changed)
    loaded = config.load(finished / "config.yaml")
    assert isinstance(loaded, config.GanConfig)
    measured = json.loads((finished / "audit.json").read_text())["models"]
    for weights in (finished / "weights", finished / "weights" / "changed.safetensors"):
        assert run_gan.evaluate(loaded, weights, Quiet())["models"] == measured
    other = tmp_path / "changed.safetensors"
    other.write_bytes((finished / "weights" / "encoder.safetensors").read_bytes())
    with pytest.raises(EffaceError, match=r"changed\.safetensors.*laid over"):
        run_gan.evaluate(loaded, other, Quiet())


def test_added_flows_are_laid_over_the_original(finished, tmp_path):
    """LEGATO's tensors, which the original has none of, from the file alone as from the whole folder."""
    loaded = config.load(finished / "config.yaml")
    assert isinstance(loaded, config.GanConfig)
    target = GanTarget.load("tiny", tiny.WEIGHTS)
    method = Legato(steps=2, hidden=4, until=0.8, learning_rate=0.1)
    bent = method.unlearn(target, tiny_request(target), torch.Generator().manual_seed(0))
    bent.save(tmp_path / "whole", bent.changes(target))
    file = tmp_path / "changed.safetensors"
    (tmp_path / "whole" / "changed.safetensors").rename(file)
    alone, whole = (run_gan.evaluate(loaded, there, Quiet())["models"] for there in (file, tmp_path / "whole"))
    assert alone == whole and alone["unlearned"] != alone["original"]
    save_file(load_file(file), file)  # a header that tells of no flows
    with pytest.raises(EffaceError, match=r"changed\.safetensors: .*flow\..*laid over; name that model"):
        run_gan.evaluate(loaded, file, Quiet())
    save_file(load_file(file), file, {"flows": "{}{"})
    with pytest.raises(EffaceError, match=r"changed\.safetensors: its header describes no network"):
        run_gan.evaluate(loaded, file, Quiet())


def test_added_flows_are_told(finished, tmp_path):
    """By audit, report and terminal, of a run and of its weights measured again; and runs are compared as ever."""
    out = tmp_path / "bent"
    arguments = settings(out, method={"name": "legato", "steps": 2, "hidden": 4, "until": 0.8})
    said = "Hides rather than erases: turn the flows between the layers to t = 0, or remove the tensors *.flow.*"
    for command in (arguments, ["evaluate", arguments[1], "--unlearned", str(out / "weights" / "changed.safetensors")]):
        done = CliRunner().invoke(app, command, env={"COLUMNS": "100"})
        assert done.exit_code == 0 and said in " ".join(done.output.split()), done.output
    audit, other = (json.loads((folder / "audit.json").read_text()) for folder in (out, finished))
    assert audit["module"] == "flows" and audit["module_sizes"] == "4 channels, t = 0.8 in steps of 0.4"
    assert "module" not in other
    html = (out / "report.html").read_text()
    assert said in html and 'href="#remains"' not in html, "a link leads nowhere"
    done = CliRunner().invoke(app, ["compare", str(finished), str(out)], env={"COLUMNS": "120"})
    assert done.exit_code == 0 and "legato" in done.output, done.output


def test_the_report_shows_all_sides_and_turns_the_person(finished):
    html = (finished / "report.html").read_text()
    page = Page(html)
    assert "Does the generator still rebuild person-003?" in page.text and "://" not in html
    shown = [str(img["alt"]) for img in page.all("img")]
    audit = json.loads((finished / "audit.json").read_text())
    for name in ("person-003", "person-003 by photo 1", audit["neighbours"]["person-003"][0], "person-000"):
        for model in ("before", "after"):
            for yaw in ("−45°", "0°", "45°"):
                assert any(alt.startswith(f"{name}, {model}, yaw {yaw}") for alt in shown), (name, model, yaw)
    assert any(alt.startswith("id_photo from yaw −45° to 45°") for alt in shown)
    assert any("Terms of the loss by optimiser step" in alt for alt in shown)
    films = [str(img["src"]) for img in page.all("img") if "5 frames from yaw −45°" in str(img["alt"])]
    assert len(films) == 2 and films[0] != films[1]
    for film in films:
        picture = Image.open(io.BytesIO(base64.b64decode(film.partition(",")[2])))
        assert picture.size == (5 * 32, 32)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html, "the policy of the page does not let its script run"


def test_killed_then_resumed(finished, tmp_path):
    """kill -9 when the weights are there; --resume ends with the same weights and numbers."""
    out, partial = tmp_path / "first", tmp_path / "first.partial"
    arguments = settings(out)
    code = "from efface.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (partial / "weights").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.is_dir() and not out.exists()
    done = CliRunner().invoke(app, [*arguments, "--resume"])
    assert done.exit_code == 0, done.output
    one, other = (load_file(f / "weights" / "generator.safetensors") for f in (out, finished))
    assert all(torch.equal(one[name], other[name]) for name in other)
    audits = [json.loads((f / "audit.json").read_text()) for f in (out, finished)]
    for key in ("models", "judges", "curves", "given"):
        assert audits[0][key] == audits[1][key]


def test_several_people_one_after_another(tmp_path):
    """By another photo than the first; the second person's request knows of the first."""
    changes = {"forget": ["person-003", "person-004"], "one_after_another": True, "photo": 2}
    loaded = parsed(tmp_path / "out", **changes)
    scene = scenes.prepare(loaded, Quiet())
    assert scene.given() == {"person-003": "person-003/1.png", "person-004": "person-004/1.png"}
    second = scene.request(["person-004"], ["person-003"])
    own = scene.target.invert(scene.photos.crops.pixels[[scene.photos.crops.names.index("person-003/1.png")]])
    torch.testing.assert_close(second.earlier, own.cpu(), atol=1e-5, rtol=1e-4)
    assert len(second.retain) == 2 + len(set(scene.sources.subjects.names) & set(scene.photos.split.retain[2:]))
    audit = run_gan.run(loaded, Quiet())
    assert len(audit["curves"]) == 2 and audit["cost"]["steps"] == 4
    assert audit["models"]["unlearned"]["forget"]["replacement_similarity"]["value"] is not None


def test_random_latents(tmp_path):
    """People who never existed: the latent itself is forgotten, and other sides stand in for other photos."""
    loaded = parsed(tmp_path / "out", latents="random", forget=["nobody"])
    scene = scenes.prepare(loaded, Quiet())
    (drawn,) = scenes.invented(scene.target, loaded)[0]
    torch.testing.assert_close(scene.sources.of(["nobody"])[0], drawn)
    again = replace(loaded, forget=("somebody", "nobody"))
    torch.testing.assert_close(scenes.invented(scene.target, again)[0][1], drawn)
    assert scene.given() == {"nobody": "nobody/0.png"} and len(scene.sources.subjects.by_photo) == 4
    audit = run_gan.run(loaded, Quiet())
    assert audit["models"]["original"]["forget"]["id_photo"]["n_trials"] == 7
    assert "drawn at random" in Page((tmp_path / "out" / "report.html").read_text()).text


def test_without_an_encoder_photos_are_inverted_by_optimisation(tmp_path):
    """A generator of pictures, seen from the front only; its report turns nobody."""
    target = tiny_target("stylegan2")
    target.parts.encoder = None
    target.save(tmp_path / "weights")
    model = {"name": "stylegan2", "weights": str(tmp_path / "weights")}
    loaded = parsed(tmp_path / "out", model=model, inversion_steps=2, judge=None)
    audit = run_gan.run(loaded, Quiet())
    assert audit["yaws"] == [0.0] and audit["models"]["unlearned"]["forget"]["id_photo"]["n_trials"] == 1
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in html and "by optimisation" in (tmp_path / "out" / "log.jsonl").read_text()
    with pytest.raises(EffaceError, match="latents: found random for stylegan2"):
        scenes.prepare(parsed(tmp_path / "o", model=model, latents="random", forget=["nobody"]), Quiet())


def test_attacks_know_from_where_photos_were_taken(tmp_path):
    """On rendered people, whose landmarks are known; drawn ones have none, which is said."""
    attacks = [
        {"name": "radius_sweep", "radii": [0.0, 1.0], "draws": 1},
        {"name": "latent_optimisation", "steps": 1, "starts": 0},
    ]
    people = ShippedPeople().read()
    loaded = parsed(tmp_path / "out", attacks=attacks, judge=None)
    with pytest.raises(EffaceError, match="found neither its landmarks nor a detector"):
        scenes.prepare(loaded, Quiet())
    kept = replace(people, photos={name: people.photos[name][:4] for name in list(people.photos)[:9]})

    class Few:
        def read(self):
            return kept

    scene = scenes.prepare(replace(loaded, faces=config.Named("people", Few())), Quiet())
    turned = [i for i, camera in enumerate(scene.cameras) if camera.any()]
    assert {scene.photos.crops.identities[i] for i in turned} == {
        "person-003", *scene.sources.subjects.groups["control"]
    }  # fmt: skip
    found = run_gan.measured(loaded, scene, {"original": scene.target, "unlearned": scene.target}, Quiet())
    assert {"radius_sweep", "latent_optimisation"} == set(found.content["attacks"])
    shown = {number for attempt in attempts(found.content, "attacks.gan") for number, *_ in attempt.numbers}
    assert {"tar@radius=0,far=1e-2", "acc@start=own"} <= shown


def test_runs_are_compared_and_pooled(finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    audit = json.loads((other / "audit.json").read_text())
    (other / "audit.json").write_text(json.dumps(audit | {"config": audit["config"] | {"seed": 1}}))
    done = CliRunner().invoke(app, ["compare", str(finished), str(other)], env={"COLUMNS": "120"})
    assert done.exit_code == 0 and "2 runs pooled" in done.output and "fid_pre" in done.output
    likeness = f"{audit['models']['unlearned']['forget']['id_photo']['value']:.2f}"
    rows = [line for line in done.output.splitlines() if "average_target" in line]
    assert len(rows) == 3 and all(likeness.replace("-", "−") in row for row in rows)
    audit["config"]["kind"] = "diffusion"
    (other / "audit.json").write_text(json.dumps(audit))
    done = CliRunner().invoke(app, ["compare", str(finished), str(other)])
    assert isinstance(done.exception, EffaceError) and "expected one kind" in str(done.exception)


def test_evaluation_alone_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings(tmp_path / "o", forget=[], method=None, judge=None)
    done = CliRunner().invoke(app, ["evaluate", "o.yaml"], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    assert "held out (2)" in done.output and "→" not in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["o.yaml"]


@pytest.mark.parametrize("changes", [{"method": "guide"}, {"latents": "random", "forget": ["nobody"]}], ids=str)
def test_a_dry_run_of_any_config(changes, tmp_path):
    """Of a model that is not at hand."""
    arguments = settings(tmp_path / "out", **{"model": {"name": "eg3d", "weights": "far"}, "samples": 5000} | changes)
    loaded = config.load(Path(arguments[1]), tiny=True)
    assert isinstance(loaded, config.GanConfig)
    audit = run_gan.run(loaded, Quiet())
    assert audit["models"]["unlearned"]["forget"]["id"]["value"] is not None
    assert (tmp_path / "out" / "report.html").exists()


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
        ({"method": "piu"}, ["method.name: found 'piu'", "guide"]),
        ({"photo": 3}, ["photo: found 3, expected 1 to 2", "person-003"]),
        ({"photo": 0}, ["photo: found 0"]),
        ({"views": 1}, ["views: found 1"]),
        ({"latents": "w"}, ["latents: found 'w'", "photo", "random"]),
        ({"latents": "random"}, ["forget: found person-003, who is in the data set"]),
        ({"anchor": {}}, ["anchor", "no such key here"]),
        ({"attacks": ["probe"]}, ["attacks.name: found 'probe'", "radius_sweep"]),
        ({"model": {"name": "tiny", "weights": "nowhere"}}, ["found no nowhere there", "generator's folder"]),
        ({"model": {"name": "stylegan2", "weights": str(tiny.WEIGHTS)}}, ["found eg3d in its header"]),
    ],
)
def test_one_clear_line(changes, said, tmp_path, refused):
    refused(settings(tmp_path / "o", **changes), tmp_path / "o", *said)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Drawn people as a folder per person."""
    folder = tmp_path / "photos"
    for name, pictures in Drawn(people=9, photos=4).read().photos.items():
        (folder / name).mkdir(parents=True)
        for i, photo in enumerate(pictures):
            (folder / name / f"{i}.png").write_bytes(photo.encoded())
    return folder


def test_photos_of_a_wrong_size_or_without_a_detector(photos, tmp_path, refused):
    arguments = [*settings(tmp_path / "o"), "--faces", str(photos)]
    refused(arguments, tmp_path / "o", "detector: found none", "not aligned crops")
    Image.new("RGB", (112, 90)).save(photos / "person-003" / "0.png")
    refused(
        [*arguments, "--set", "faces.aligned=true"], tmp_path / "o", "found 112×90 pixels, expected an aligned crop"
    )


def test_grey_photos_are_told(photos, tmp_path):
    path = photos / "person-003" / "0.png"
    Image.open(path).convert("L").save(path)
    said: list[str] = []

    class Heard(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    faces = {"name": "folder", "path": str(photos), "aligned": True}
    scene = scenes.prepare(parsed(tmp_path / "o", faces=faces), Heard())
    assert scene.grey == ("person-003/0.png",)
    assert [line for line in said if "1 of 36 photos have no colour (person-003/0.png" in line]


class Seer(Detector):
    """Finds the face of an aligned crop, none in a picture that begins black, two in one that begins white."""

    def __init__(self) -> None:
        pass

    def find(self, pixels: np.ndarray) -> list[Detection]:
        count = {0: 0, 255 * 3: 2}.get(int(pixels[0, 0].sum()), 1)
        return [Detection(np.zeros(4), 1.0, TEMPLATE)] * count


@pytest.fixture
def prepared(photos, tmp_path, monkeypatch):
    """prepared(marks, **changes) -> (the scene, what was said), where photos of person-003 begin with another pixel."""
    monkeypatch.setattr("efface.given.load_detector", lambda _: Seer())
    monkeypatch.setattr(scenes, "load_detector", lambda _: Seer())
    said: list[str] = []

    class Heard(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    def prepare(marks: dict[int, str], **changes):
        for number, colour in marks.items():
            path = photos / "person-003" / f"{number}.png"
            with Image.open(path) as picture:
                picture.paste(colour, (0, 0, 1, 1))
                picture.save(path)
        faces = {"name": "folder", "path": str(photos)}
        return scenes.prepare(parsed(tmp_path / "o", faces=faces, judge=None, **changes), Heard()), said

    return prepare


def test_the_given_photo_has_a_face_or_another_is_to_be_picked(prepared):
    """The next one is not taken silently; numbers count the photo without a face, so that the advice leads on."""
    line = (
        "photo: found no face in person-003/0.png, photo 1 of person-003, expected one; pick another of the 2 by "
        "photo: NUMBER, or take this one away"
    )
    with pytest.raises(EffaceError) as raised:
        prepared({0: "black"})
    assert str(raised.value) == line
    scene, said = prepared({}, photo=2)
    assert scene.given() == {"person-003": "person-003/1.png"} and not said
    with pytest.raises(EffaceError, match="photo: found 3, expected 1 to 2: person-003 has 2 photos that a method may"):
        prepared({}, photo=3)


def test_a_photo_without_a_face_that_is_not_the_given_one_does_not_matter(prepared):
    scene, said = prepared({1: "black"})
    assert scene.given() == {"person-003": "person-003/0.png"} and not said
    assert scene.photos.notes.no_face == ("person-003/1.png",)


def test_of_a_given_photo_with_several_faces_it_is_said_who_is_forgotten(prepared):
    scene, said = prepared({0: "white", 2: "white"})
    assert scene.given() == {"person-003": "person-003/0.png"}
    assert said == [
        "person-003/0.png shows several faces: the largest is taken for person-003 and is what is forgotten"
    ]


@pytest.mark.real
def test_no_face_of_the_person_to_forget(photos, tmp_path, data, refused):
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for path in (photos / "person-003").iterdir():
        Image.fromarray(noise).save(path)
    arguments = [*settings(tmp_path / "o"), "--faces", str(photos), "--detector", str(data / "detector-mtcnn")]
    refused(arguments, tmp_path / "o", "no face in any of the 4 photos of person-003")


@pytest.mark.real
def test_of_several_faces_the_largest_is_inverted_and_the_photo_is_named(tmp_path, data):
    """A photo of the person to forget that shows somebody else too."""
    folder, orl = tmp_path / "photos", data / "faces-orl" / "att_faces"
    for person in range(1, 10):
        (folder / f"s{person}").mkdir(parents=True)
        for i in range(1, 5):
            shutil.copy(orl / f"s{person}" / f"{i}.pgm", folder / f"s{person}" / f"{i}.pgm")
    one, other = (Image.open(orl / f"s{person}" / "1.pgm") for person in (9, 3))
    together = Image.new("L", (92 + 138, 168))
    together.paste(one, (0, 0))
    together.paste(other.resize((138, 168)), (92, 0))
    together.save(folder / "s3" / "1.pgm")
    said: list[str] = []

    class Heard(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    faces = {"name": "folder", "path": str(folder)}
    told = parsed(tmp_path / "o", faces=faces, forget=["s3"], detector=str(data / "detector-mtcnn"), judge=None)
    scene = scenes.prepare(told, Heard())
    assert scene.photos.notes.several_faces == ("s3/1.pgm",) and scene.given() == {"s3": "s3/1.pgm"}
    assert "0 without a face, 1 with several" in scene.photos.summary()
    assert "s3/1.pgm shows several faces: the largest is taken for s3 and is what is forgotten" in said
    alone = Image.open(orl / "s3" / "1.pgm")
    alone.resize((138, 168)).save(folder / "s3" / "1.pgm")
    again = scenes.prepare(told, Quiet())
    assert not again.photos.notes.several_faces
    cosines = [s.sources.subjects.photos.embeddings["recogniser"] for s in (scene, again)]
    row = scene.photos.crops.names.index("s3/1.pgm")
    assert float(cosines[0][row] @ cosines[1][row]) > 0.9, "the larger face, not the other"


def test_a_full_disk_is_one_line_and_the_result_does_not_appear(tmp_path):
    """Checkpoint and weights are larger than any file may become; with room --resume goes on."""

    def small_files():  # as on a full disk, a write fails half-way
        resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000))

    code = "from efface.cli import main; main()"
    arguments = settings(tmp_path / "o", judge=None)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=small_files,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("efface: ")]
    assert done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written (" in lines[0] and "free the disk" in lines[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.partial", "o.yaml"]
    assert not (tmp_path / "o.partial" / "weights").exists()
    again = CliRunner().invoke(app, [*arguments, "--resume"])
    assert again.exit_code == 0 and (tmp_path / "o" / "weights" / "generator.safetensors").exists(), again.output


def test_a_known_alignment_counts_in_an_aligned_data_set():
    """A picture of who never existed, beside crops that are aligned."""
    people = Drawn(people=1, photos=2).read()
    (plain, moved) = people.photos["person-000"]
    moved = replace(moved, alignment=(1.0, 0.0, 10.0, 0.0, 1.0, 0.0))
    crops, _ = frame(replace(people, photos={"person-000": (plain, moved)}), 112, 0, 0, 112)
    expected = torch.from_numpy(moved.pixels().copy()).permute(2, 0, 1)
    assert (crops.pixels[1, :, :, 10:].int() - expected[:, :, :-10].int()).abs().max() <= 1
