"""`efface align`: crops, notes, resume after a kill, and everything that can be wrong."""

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from efface.cli import app
from efface.cli.align import align
from efface.errors import EffaceError
from efface.faces.datasets.folder import Folder
from efface.models.mtcnn import ONet, PNet, RNet

PAGE = (Path(__file__).parents[1] / "docs" / "alignment.md").read_text(encoding="utf-8")
COMMAND = [sys.executable, "-c", "from efface.cli import main; main()", "align"]


def command(*arguments: object, **keywords) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, **keywords)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def photos(tmp_path, data) -> Path:
    """A folder with the photos of six people of ORL (linked, not copied)."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(1, 7):
        (folder / f"s{i}").symlink_to(data / "faces-orl" / "att_faces" / f"s{i}")
    return folder


@pytest.fixture
def blind(tmp_path) -> Path:
    """The folder of a detector that never sees a face: all weights are zero."""
    folder = tmp_path / "blind"
    folder.mkdir()
    for name, network in (("pnet", PNet()), ("rnet", RNet()), ("onet", ONet())):
        torch.save({k: v * 0 for k, v in network.state_dict().items()}, folder / f"{name}.pt")
    return folder


@pytest.fixture
def noise(tmp_path) -> Path:
    """A folder with one person's one photo, of nothing."""
    path = tmp_path / "noise" / "a" / "1.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)).save(path)
    return tmp_path / "noise"


@pytest.mark.real
def test_killed_and_resumed_gives_the_same_folder(photos, tmp_path, data):
    whole, killed, detector = (tmp_path / name for name in ("crops", "killed", "detector-mtcnn"))
    detector.symlink_to(data / "detector-mtcnn")
    written = "efface align photos crops --detector detector-mtcnn"  # the page's command, word for word
    assert written in PAGE
    done = command(*written.split()[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "60" in done.stdout and "several faces" in done.stdout

    process = subprocess.Popen([*COMMAND, str(photos), str(killed), "--detector", str(detector)])
    while len(list(killed.rglob("*.png"))) < 5 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    before = {p: p.stat().st_mtime_ns for p in killed.rglob("*.png")}
    assert 5 <= len(before) < 60 and not (killed / "align.json").exists()
    for path in before:
        assert np.asarray(Image.open(path)).shape == (112, 112, 3)

    assert command(photos, killed, "--detector", detector).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before  # not done again
    assert files(killed) == files(whole)
    read = Folder(path=whole, aligned=True).read()
    assert [len(own) for own in read.photos.values()] == [10] * 6
    assert json.loads((whole / "align.json").read_text()) == {
        "read": 60,
        "aligned": 60,
        "no_face": [],
        "several_faces": [],
        "unreadable": [],
    }


@pytest.mark.real
def test_corrupt_and_faceless_photos_are_named_and_the_rest_is_done(tmp_path, noise, data, capsys):
    person = tmp_path / "photos" / "s1"
    person.mkdir(parents=True)
    original = data / "faces-orl" / "att_faces" / "s1"
    (person / "1.pgm").symlink_to(original / "1.pgm")
    (person / "2.jpg").write_bytes(b"no picture")
    (person / "3.png").symlink_to(noise / "a" / "1.png")
    (person / "4.pgm").symlink_to(original / "4.pgm")
    (person / "4.png").symlink_to(original / "5.pgm")  # the same stem
    one, other = (np.asarray(Image.open(data / "faces-orl" / "att_faces" / s / "1.pgm")) for s in ("s1", "s2"))
    Image.fromarray(np.hstack([one, other])).save(person / "6.png")
    out = tmp_path / "out"
    for _ in range(2):  # the second time everything is there already
        with pytest.raises(typer.Exit) as stop:
            align(tmp_path / "photos", out, data / "detector-mtcnn")
        assert stop.value.exit_code == 1
        assert json.loads((out / "align.json").read_text()) == {
            "read": 6,
            "aligned": 4,
            "no_face": ["s1/3.png"],
            "several_faces": ["s1/6.png"],
            "unreadable": ["s1/2.jpg"],
        }
        printed = capsys.readouterr()
        assert printed.err.count("efface: ") == 1 and "2.jpg: not a readable picture" in printed.err
        assert "s1/3.png" in printed.out and "s1/6.png" in printed.out
        assert sorted(files(out)) == [
            "align.json",
            "s1/1.pgm.png",
            "s1/4.pgm.png",
            "s1/4.png.png",
            "s1/6.png.png",
        ]


@pytest.mark.real
def test_a_photo_that_changed_is_done_again(tmp_path, noise, data):
    link = tmp_path / "photos" / "s1" / "1.png"
    link.parent.mkdir(parents=True)
    (link.parent / "2.pgm").symlink_to(data / "faces-orl" / "att_faces" / "s1" / "2.pgm")
    crops = []
    for photo in (data / "faces-orl" / "att_faces" / "s1" / "1.pgm", data / "faces-orl" / "att_faces" / "s2" / "1.pgm"):
        link.unlink(missing_ok=True)
        link.symlink_to(photo)
        align(tmp_path / "photos", tmp_path / "out", data / "detector-mtcnn")
        crops.append((tmp_path / "out" / "s1" / "1.png").read_bytes())
    assert crops[0] != crops[1]
    link.unlink()
    link.symlink_to(noise / "a" / "1.png")
    align(tmp_path / "photos", tmp_path / "out", data / "detector-mtcnn")
    assert not (tmp_path / "out" / "s1" / "1.png").exists()  # no crop of what the photo was before


@pytest.mark.real
def test_full_disk_is_one_line_and_leaves_nothing_half_written(photos, tmp_path, data):
    def small_files():  # as on a full disk, a write fails half-way
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    out = tmp_path / "out"
    done = command(photos, out, "--detector", data / "detector-mtcnn", preexec_fn=small_files)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert "cannot be written (File too large); free the disk or choose another DST" in lines[-1]
    assert "Traceback" not in done.stderr and files(out) == {}


def test_no_face_anywhere_leaves_nothing(noise, blind, tmp_path):
    done = command(noise, tmp_path / "out", "--detector", blind)
    assert done.returncode == 2
    assert "efface: " in done.stderr and "found no face in any of 1 photos" in done.stderr
    assert not (tmp_path / "out").exists()


def test_wrong_folders(noise, blind, tmp_path):
    with pytest.raises(EffaceError, match="missing: found nothing, expected a folder"):
        align(tmp_path / "missing", tmp_path / "out", blind)
    for inside in (noise / "out", noise, tmp_path):
        with pytest.raises(EffaceError, match="one inside the other"):
            align(noise, inside, blind)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EffaceError, match="cannot be written"):
        align(noise, tmp_path / "file" / "out", blind)
    with pytest.raises(EffaceError, match=r"pnet\.pt: found no file"):
        align(noise, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_not_overwritten(noise, blind, tmp_path):
    theirs = tmp_path / "out" / "a" / "1.png"
    theirs.parent.mkdir(parents=True)
    Image.new("RGB", (5, 5)).save(theirs)
    before = theirs.read_bytes()
    with pytest.raises(EffaceError, match=r"1\.png: found a file that efface align did not write"):
        align(noise, tmp_path / "out", blind)
    assert theirs.read_bytes() == before


def test_the_cache_is_cleared_from_the_command_line(tmp_path):
    entry = tmp_path / "crops" / "ab" / ("ab" * 32)
    entry.parent.mkdir(parents=True)
    entry.write_bytes(b"a face")
    assert "efface align --clear-cache" in PAGE
    done = CliRunner().invoke(app, ["align", "--clear-cache"], env={"EFFACE_CACHE": str(tmp_path)})
    assert done.exit_code == 0, done.output
    assert "1 cached crops deleted" in done.output
    assert not (tmp_path / "crops").exists()
