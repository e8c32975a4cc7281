"""`efface compare`: runs side by side, what cannot be compared, and what is no run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import EffaceError
from report_evidence import PEOPLE, about, measured, run_folder


def compared(*folders: Path) -> str:
    done = CliRunner().invoke(app, ["compare", *map(str, folders)], env={"COLUMNS": "100"})
    assert done.exception is None, done.exception
    assert max(map(len, done.output.splitlines())) <= 100
    return done.output


def refused(*folders: Path) -> str:
    done = CliRunner().invoke(app, ["compare", *map(str, folders)], env={"COLUMNS": "100"})
    assert isinstance(done.exception, EffaceError) and done.output == ""
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return run_folder(tmp_path / "first", *measured("weakened"))


def row(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(name))


def test_numbers_of_each_run_stand_in_its_row(first: Path, tmp_path: Path):
    harmful = run_folder(tmp_path / "harmful", *measured("harmful"), **about(PEOPLE[:4], method="noise"))
    output = compared(first, harmful)
    for folder, method in ((first, "dispersion"), (harmful, "noise")):
        audit = json.loads((folder / "audit.json").read_text())
        forget = audit["models"]["unlearned"]["forget"]
        drops = audit["drops"]["retain"]
        line = row(output, folder.name)
        for cell in (method, f"{forget['tar@far=1e-3']['value']:.2f}", f"{forget['rank1']['value']:.2f}", "10.2"):
            assert cell in line
        assert f"{drops['rank1']:.1f} / {drops['tar@far=1e-3']:.1f}".replace("-", "−") in line
    assert "warning" not in output and "pooled" not in output


def test_sets_and_seeds_of_one_method_are_pooled_person_by_person(first: Path, tmp_path: Path):
    second = run_folder(tmp_path / "second", *measured("forgotten", 4))
    output = compared(first, second, first)
    assert "warning" not in output
    line = row(output, "2 runs")
    values = [
        person["value"]
        for folder in (first, second)
        for person in people(folder)
        if (person["model"], person["group"], person["metric"]) == ("unlearned", "forget", "tar@far=1e-3")
    ]
    assert len(values) == 8 and f"{sum(values) / 8:.2f}" in line and "8 people" in line
    assert "[" in output.splitlines()[output.splitlines().index(line) + 1]  # eight people have an interval


def people(folder: Path) -> list[dict]:
    lines = [line.split(",") for line in (folder / "people.csv").read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    return [row | {"value": float(row["value"] or "nan")} for row in rows]


def test_without_people_csv_nothing_is_pooled(first: Path, tmp_path: Path):
    second = run_folder(tmp_path / "second", *measured("forgotten", 4))
    (second / "people.csv").unlink()
    assert "pooled" not in compared(first, second)


def test_other_data_is_warned_of(first: Path, tmp_path: Path):
    found, evidence = measured("weakened")
    groups = evidence.audit["groups"]
    others = run_folder(tmp_path / "others", found, evidence, groups=groups | {"holdout": [*groups["holdout"], "new"]})
    output = " ".join(compared(first, others).split())
    assert "warning: others and first are of different people (1 in one only); do not compare" in output
    photos = run_folder(tmp_path / "photos", found, evidence, photos={"photos": 7, "no_face": []})
    assert "photos and first are of different photos of the same people" in " ".join(compared(first, photos).split())
    moved = {"original": {"far=1e-3": {"value": 0.1, "n_trials": 12000}}}
    shifted = run_folder(tmp_path / "shifted", found, evidence, thresholds=moved)
    assert "shifted and first have different thresholds" in " ".join(compared(first, shifted).split())


def test_names_are_no_markup(tmp_path: Path):
    folder = run_folder(tmp_path / "[bold]run", *measured("weakened"))
    output = compared(folder)
    assert "[bold]run" in output and "[red]" in output


def test_what_is_no_run_is_one_clear_line(first: Path, tmp_path: Path):
    assert "missing: found no audit.json" in refused(first, tmp_path / "missing")
    unfinished = tmp_path / "run.partial"
    unfinished.mkdir()
    assert "found an unfinished run" in refused(unfinished)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "audit.json").write_text((first / "audit.json").read_text()[:1000])
    assert "audit.json: cannot be read as JSON" in refused(first, cut)
    (cut / "audit.json").write_text('{"models": {}}')
    assert "found no models.original" in refused(cut)
    (cut / "audit.json").write_text("[1]")
    assert "found no models.original" in refused(cut)
    (cut / "audit.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as JSON" in refused(cut)


def test_torch_is_not_imported_to_compare(first: Path):
    code = (
        f"import sys; sys.argv = ['efface', 'compare', {str(first)!r}]\n"
        "from efface.cli import app; app(standalone_mode=False)\n"
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "first" in done.stdout
