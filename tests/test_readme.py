"""The README's own blocks, run as they stand."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from efface.cli import main
from efface.faces.alignment import align
from efface.faces.datasets.drawn import Drawn
from efface.faces.datasets.people import ShippedPeople
from efface.faces.people import People
from efface.models.recognition.mobilefacenet_insightface import MobileFaceNetInsightFaceRecogniser
from efface.models.recognition.shipped import ShippedRecogniser
from efface.report.terminal import PEOPLE
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
    assert len(README.splitlines()) < 110


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


def test_the_unlearned_model_is_used_from_outside(tmp_path, monkeypatch):
    """The six lines, on weights that a run wrote, against efface's own embedding of the same photos."""
    monkeypatch.chdir(tmp_path)
    run("efface unlearn --model shipped --faces people --forget person-000,person-001 --method esc --out demo-run")
    (block,) = blocks("python")
    assert sum(bool(line) for line in block.splitlines()) == 6
    mine = ShippedPeople().read().photos["person-000"][6:8]  # the first that the method did not see
    pixels = align(People.of(mine))[0].pixels
    x = F.interpolate(pixels.float(), (64, 64), mode="bilinear", antialias=True, align_corners=False)
    x = (x - 127.5) / 127.5
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(block, {"photo": x[:1], "other": x[1:]})
    before, after = (
        RecognitionTarget.load("shipped", w).embed(pixels)
        for w in (ShippedRecogniser.shipped, tmp_path / "demo-run" / "weights" / "shipped.safetensors")
    )
    assert float(printed.getvalue()) == pytest.approx(float(after[0] @ after[1]), abs=1e-4)
    assert float(after[0] @ after[1]) < float(before[0] @ before[1]) - 0.1


def test_the_picture_is_there_and_the_table_is_the_demos():
    """The lines of the printed table, as the program names them; and nobody in the picture exists."""
    assert "](docs/demo.png)" in README and (ROOT / "docs" / "demo.png").stat().st_size < 1_000_000
    (table,) = blocks("text")
    assert max(map(len, table.splitlines())) <= 80
    for words in (*(words for groups in PEOPLE.values() for words in groups.values()), *PEOPLE):
        assert words in table
