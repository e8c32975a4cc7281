"""`efface demo` in an empty folder, with nothing from outside; and data sets that are named where a folder may be."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from efface import config
from efface.cli import app
from efface.cli.demo import KNOWN, MARK, PEOPLE, given
from efface.cli.options import photos
from efface.errors import EffaceError
from efface.faces.datasets.people import ShippedPeople
from efface.models.gan.eg3d import Eg3d


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k != "EFFACE_DATA"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from efface.cli import main; main()", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True)


def test_a_dry_run_in_an_empty_folder_stopped_and_repeated(tmp_path):
    """Killed once; the same command finishes; repeated it replaces its own folder, and leaves another's alone."""
    process = start(tmp_path, "demo", "--tiny")
    while not (tmp_path / "demo-run.partial" / "weights").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "demo-run.partial" / MARK).exists() and not (tmp_path / "demo-run").exists()
    process = start(tmp_path, "demo", "--tiny")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "To be forgotten" in out and "→" in out and "report: demo-run/report.html" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo-run"]
    report = (tmp_path / "demo-run" / "report.html").read_text()
    assert "These people never existed" in report and 'id="faces"' in report
    audit = json.loads((tmp_path / "demo-run" / "audit.json").read_text())
    assert audit["config"]["method"]["name"] == "rewire"
    first = (tmp_path / "demo-run" / "audit.json").stat().st_mtime_ns
    assert CliRunner().invoke(app, ["demo", "--tiny", "--out", str(tmp_path / "demo-run")]).exit_code == 0
    assert (tmp_path / "demo-run" / "audit.json").stat().st_mtime_ns > first
    (tmp_path / "demo-run" / MARK).unlink()
    refused = CliRunner().invoke(app, ["demo", "--tiny", "--out", str(tmp_path / "demo-run")])
    assert isinstance(refused.exception, EffaceError) and "exists already" in str(refused.exception)


def test_it_is_made_of_what_ships():
    chosen = config.parse(given(PEOPLE.split(",")), "test")
    assert chosen.model.name == "shipped" and chosen.judge.name == "judge" and chosen.method.name == "rewire"
    assert all(named.weights.is_file() for named in (chosen.model, chosen.judge))
    everybody = list(chosen.faces.value.read().photos)
    assert everybody[:2] == list(chosen.forget) and set(everybody) > KNOWN and len(everybody) == 120


@pytest.mark.parametrize(
    ("forget", "reference"),
    [(["person-100", "person-119"], True), (["person-100", "person-099"], False), (["person-017"], False), ([], False)],
)
def test_the_reference_is_for_people_who_were_in_the_training(forget: list[str], reference: bool):
    chosen = config.parse(given(forget), "test")
    assert (chosen.retrained is not None) == reference
    if chosen.retrained is not None:
        assert chosen.retrained.weights.is_file() and chosen.retrained.weights != chosen.model.weights


def test_the_face_generators_dry_and_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done = CliRunner().invoke(app, ["demo", "gan", "--tiny"])
        assert done.exit_code == 0, done.output
    assert [p.name for p in tmp_path.iterdir()] == ["demo-gan"]
    assert json.loads((tmp_path / "demo-gan" / "audit.json").read_text())["config"]["method"]["name"] == "guide"
    assert "frames from yaw −45°" in (tmp_path / "demo-gan" / "report.html").read_text()


def test_the_face_generator_came_not_along(tmp_path, monkeypatch):
    monkeypatch.setattr(Eg3d, "shipped", None)
    done = CliRunner().invoke(app, ["demo", "gan", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, EffaceError) and not list(tmp_path.iterdir())
    assert "found nothing, expected the folder of its weights, which this installation came without" in str(
        done.exception
    )


def test_somebody_who_is_not_there(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--forget", "person-17", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, EffaceError) and "'person-17'" in str(done.exception)
    assert "the nearest name is" in str(done.exception) and not list(tmp_path.iterdir())


def test_a_dry_run_takes_no_names(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--tiny", "--forget", "person-999", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, EffaceError) and "leave one of the two out" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_faces_may_name_a_data_set_that_needs_no_path():
    assert photos("people") == {"name": "people"} and photos("drawn") == {"name": "drawn"}
    for folder in ("./people", "some/people", "lfw", "crops"):  # lfw needs a path, so this is a folder of that name
        assert photos(folder) == {"name": "folder", "path": folder}
    loaded = config.load(None, (), {"model": "tiny", "faces": photos("people")})
    assert loaded.faces.value == ShippedPeople()


def test_evaluate_takes_a_data_set_by_name():
    done = CliRunner().invoke(app, ["evaluate", "--model", "tiny", "--faces", "drawn"], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert "retained (7)" in done.output and "held out (5)" in done.output and "→" not in done.output
