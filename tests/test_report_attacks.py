"""What remains, in the report, on the terminal and in the verdict."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from efface import report
from efface.cli import app
from efface.report import Evidence
from efface.report.numbers import attack_numbers
from efface.report.tables import attempts
from efface.report.terminal import print_audit
from efface.report.verdict import HIDES, verdict
from report_evidence import measured


def number(value: float | None) -> dict:
    return {"value": value, "low": None, "high": None, "n": 4, "n_trials": 80}


def attacked(ending: str, after: float | None, **thresholds) -> dict:
    """The audit of a run that ends like this, and a probe that afterwards accepts so much."""
    _, evidence = measured(ending)
    marks = {"": 0.0, ",far=1e-2": 0.001}
    probe = {
        group: {
            f"tar@layer={layer}{mark}": {"original": number(1.0 - more), "unlearned": number(after and after - more)}
            for layer in ("penultimate", "middle")
            for mark, more in marks.items()
        }
        for group in ("forget", "control")
    }
    return dict(evidence.audit) | {"attacks": {"probe": probe}} | thresholds


def printed(audit: dict) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_audit(audit, console)
    return console.file.getvalue()


def test_nothing_tried_says_nothing(tmp_path):
    _, evidence = measured("forgotten")
    found = verdict(evidence.audit)
    assert found.remains == "" and found.headline == "Forgotten at acceptable harm"
    page = report.write(tmp_path, evidence).read_text()
    assert (
        'id="remains"' not in page and "was not both tried for this report" in page and "That was not measured" in page
    )
    assert attempts(evidence.audit) == [] and "What remains" not in printed(dict(evidence.audit))


@pytest.mark.parametrize(
    ("ending", "after", "headline"),
    [
        ("forgotten", 1.0, "Hidden, not erased, at acceptable harm"),
        ("forgotten", HIDES, "Hidden, not erased, at acceptable harm"),
        ("forgotten", 0.949, "Forgotten at acceptable harm"),
        ("forgotten", 0.0, "Forgotten at acceptable harm"),
        ("forgotten", None, "Forgotten at acceptable harm"),
        ("harmful", 1.0, "Hidden, not erased, but the harm is too high"),
        ("weakened", 1.0, "Harder to recognise, but not forgotten"),
        ("kept", 1.0, "Not forgotten"),
    ],
)
def test_hides_is_said_whatever_else_was_found(ending, after, headline):
    audit = attacked(ending, after)
    found = verdict(audit)
    assert found.headline == headline and found.kind == ending
    if after is None:
        assert found.remains == ""
    else:
        assert found.remains.startswith("Hides: ") == (after >= HIDES)
        assert "100\xa0% → " in found.remains
        assert found.remains in " ".join(printed(audit).replace("\n", " ").split(" ")).replace("  ", " ")


@pytest.mark.parametrize(("before", "after", "said"), [(0.8, 0.76, True), (0.8, 0.75, False), (0.4, 0.4, False)])
def test_where_the_ceiling_is_lower_a_layer_left_as_it_was_hides(before, after, said):
    audit = attacked("forgotten", after)
    audit["attacks"]["probe"]["forget"]["tar@layer=penultimate"]["original"]["value"] = before
    assert verdict(audit).remains.startswith("Hides: ") == said


def test_at_the_coarse_rate_the_coarse_number_decides():
    _, evidence = measured("forgotten")
    frozen = {k: dict(v) for k, v in evidence.audit["thresholds"]["original"].items()}
    frozen["far=1e-3"] = {"value": None, "n_trials": 900}
    thresholds = dict(evidence.audit["thresholds"]) | {"original": frozen}
    audit = attacked("forgotten", HIDES, thresholds=thresholds)
    assert attack_numbers(audit, "probe") == ["tar@layer=penultimate,far=1e-2", "tar@layer=middle,far=1e-2"]
    assert not verdict(audit).remains.startswith("Hides"), "the coarse number is .949 here"


def test_page_shows_every_number_and_escapes_names(tmp_path):
    audit = attacked("forgotten", 0.987)
    audit["attacks"]["<b>plugin</b>"] = audit["attacks"]["probe"]
    _, evidence = measured("forgotten")
    whole = Evidence(audit, evidence.crops, evidence.split, evidence.embeddings)
    page = report.write(tmp_path, whole).read_text()
    table = page[page.index('id="remains"') : page.index("<summary>All numbers")]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    wanted = [f"<code>tar@layer={layer}</code>" for layer in ("penultimate", "middle")]
    cells = ["1.00", "0.99"] * 2  # forgotten before and after, control before and after
    assert [row for row in rows if row] == [[name, *cells] for name in wanted] * 2
    assert "A linear probe on inner layers" in table and "&lt;b&gt;plugin" in table and "<b>plugin" not in page
    assert 'href="#remains"' in page and "Hides: a probe" in page


def test_a_run_from_the_command_line_to_the_report(tmp_path):
    faces = ["--set", "faces.people=12", "--set", "faces.photos=6"]
    out = tmp_path / "run"
    said = CliRunner().invoke(
        app, ["unlearn", "--tiny", "--method", "esc", "--attacks", "probe, streisand", *faces, "--out", str(out)]
    )
    assert said.exit_code == 0, said.output
    assert "What remains" in said.output and "auc@shift=2" in said.output
    audit = json.loads((out / "audit.json").read_text())
    assert set(audit["attacks"]) == {"probe", "streisand"}
    assert [one["name"] for one in audit["config"]["attacks"]] == ["probe", "streisand"]
    found = audit["attacks"]["streisand"]["forget"]["auc@shift=2"]
    assert set(found) == {"original", "unlearned"} and found["unlearned"]["n"] == 2
    with open(out / "people.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "attacks.streisand.auc@shift=2"]
    values = [float(r["value"]) for r in rows if (r["model"], r["group"]) == ("unlearned", "forget")]
    assert found["unlearned"]["value"] == pytest.approx(sum(values) / 2)
    page = (out / "report.html").read_text()
    assert "streisand</code> says how well that works here" in page and "<code>auc@shift=2</code>" in page


def test_attacks_are_listed_with_their_terms():
    listed = CliRunner().invoke(app, ["attacks"], env={"COLUMNS": "200"}).output
    assert "relearning" in listed and "commercial" not in listed
    one = CliRunner().invoke(app, ["attacks", "relearning"], env={"COLUMNS": "200"}).output
    assert "access: the weights" in one and "control: the same on pseudo-people" in one and "learning_rate" in one


def test_a_module_hides_whatever_was_tried(tmp_path):
    facts = {"module": "scatter", "module_statement": "hides rather than erases: remove the tensors"}
    _, evidence = measured("forgotten")
    for audit in (dict(evidence.audit) | facts, attacked("forgotten", 0.0) | facts):
        found = verdict(audit)
        assert found.headline == "Hidden, not erased, at acceptable harm"
        assert found.remains.startswith("Hides rather than erases: remove the tensors.")
        assert "Hides rather than erases" in printed(audit)
        page = report.write(tmp_path, replace(evidence, audit=audit)).read_text()
        assert "Hides rather than erases: remove the tensors." in page
        assert ('href="#remains"' in page) == ('id="remains"' in page), "a link leads nowhere"
