"""The README's own blocks, run as they stand."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch

from efface.cli import main
from efface.faces.alignment import align
from efface.faces.datasets.drawn import Drawn
from efface.faces.datasets.folder import Folder
from efface.faces.detection import Detector
from efface.models.recognition.mobilefacenet_insightface import MobileFaceNetInsightFaceRecogniser
from efface.targets.recognition import RecognitionTarget

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(command: str) -> None:
    """One `efface ...` line, in this process; exit code 0."""
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command, comments=True)[1:])
    assert not ended.value.code, command


def test_it_is_one_screen_and_names_the_two_commands():
    assert "make demo" in blocks("sh")[0] and "make test" in blocks("sh")[0]
    assert len(README.splitlines()) < 100


@pytest.mark.real
def test_the_commands_for_own_photos(tmp_path, monkeypatch, data):
    """Drawn people as photos, an untrained network as weights: every command runs in order."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mtcnn").symlink_to(data / "detector-mtcnn")
    named = {"person-000": "Jane Doe", "person-001": "John Roe"}
    for person, photos in Drawn(people=9, photos=6).read().photos.items():
        folder = tmp_path / "photos" / named.get(person, person)
        folder.mkdir(parents=True)
        for i, photo in enumerate(photos):
            (folder / f"{i}.png").write_bytes(photo.encoded())
    torch.save(MobileFaceNetInsightFaceRecogniser().build().state_dict(), "mbf.pth")
    commands = blocks("sh")[1].replace("\\\n", " ").splitlines()
    assert [c.split()[1] for c in commands] == ["align", "unlearn", "evaluate", "compare"]
    for command in commands:
        run(command)
    assert (tmp_path / "erased" / "weights" / "mbf.pth").exists()


@pytest.mark.real
def test_the_unlearned_model_is_used_from_outside(tmp_path, monkeypatch, data):
    """The five lines, on weights that a run wrote, against efface's own embedding of the same photos."""
    monkeypatch.setenv("EFFACE_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "recognition" / "orl.yaml"
    run(f"efface unlearn {config} --method esc --out demo-run")
    (block,) = blocks("python")
    assert sum(bool(line) for line in block.splitlines()) == 5
    people = Folder(path=data / "faces-orl" / "att_faces").read()
    two = {"s21": people.photos["s21"][:2]}
    pixels = align(type(people)(two), Detector.load(data / "detector-mtcnn"))[0].pixels
    x = pixels.float() / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(block, {"photo": x[:1], "other": x[1:]})
    weights = data / "recogniser-mobilefacenet" / "mobilefacenet.pt"
    before, after = (
        RecognitionTarget.load("mobilefacenet", w).embed(pixels)
        for w in (weights, tmp_path / "demo-run" / "weights" / "mobilefacenet.pt")
    )
    assert float(printed.getvalue()) == pytest.approx(float(after[0] @ after[1]), abs=1e-4)
    assert float(after[0] @ after[1]) < float(before[0] @ before[1]) - 0.2
