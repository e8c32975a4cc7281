"""`efface benchmark` of diffusion models: what a row holds, the choice of settings, ablations, tables and figures."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from efface.benchmark import configuration, running
from efface.benchmark.diffusion import figures, tables
from efface.benchmark.diffusion.choice import admissible, choose
from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.diffusion.measuring import Bench
from efface.benchmark.drawing import rows
from efface.benchmark.results import Results
from efface.cli import app
from efface.errors import EffaceError
from efface.report.drawn_verdict import FACES, KEPT_NET, LOST_ACC
from threads import start_beside

SHIPPED = Path(__file__).parents[1] / "configs" / "benchmark" / "diffusion.yaml"
PEOPLE = [f"person-{number:03}" for number in range(6)]
DRAWN: dict[str, Any] = {
    "model": "tiny",
    "faces": {"name": "drawn", "people": 12, "photos": 4},
    "judge": "judge",
    "anchor": {"choice": "closest"},
    "tune": PEOPLE[:1],
    "report": PEOPLE[1:3],
    "seeds": [0, 1],
    "draws": 2,
    "people": 2,
}
SMALL: dict[str, Any] = {
    "kind": "diffusion",
    "data": {"drawn": DRAWN},
    "methods": {
        "uce": {"erase_weight": [1, 20]},
        "piu": {"learning_rate": [0.001, 0.01], "steps": 2, "batch": 2, "draws": 1, "retained": 2},
        "rece": {"erase_weight": [1, 20]},
    },
    "fewer": {"methods": ["rece"], "people": 1},
    "ablations": {
        "method": "piu",
        "people": PEOPLE[3:4],
        "groups": {
            "eta": {"0": {"eta": 0}, "1": {"eta": 1}},
            "anchor": {"closest": {"anchor": {"choice": "closest"}}, "synthetic": {"anchor": {"choice": "synthetic"}}},
        },
    },
    "attacked": {"people": 1, "attacks": [{"name": "halo", "cosines": [1, 0.4]}]},
}
ROWS = 2 + 3 * 2 + 3 + 3 + 3
"""Original (drawn, attacked); three methods of two settings; reported; attacked; three ablations, as `1` and
`closest` are one row."""


def written(folder: Path, **changes: Any) -> Path:
    """SMALL with changes, as a file; results and page lie beside it."""
    given = SMALL | {"results": str(folder / "results"), "page": str(folder / "page.md")} | changes
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


@pytest.fixture(scope="module", autouse=True)
def one_process() -> Any:
    """What is about processes is tested with recognisers."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "start", start_beside)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished benchmark."""
    folder = tmp_path_factory.mktemp("benchmark")
    said = CliRunner().invoke(app, ["benchmark", str(written(folder)), "--processes", "1"])
    assert said.exit_code == 0, f"{said.output}{said.stderr}{said.exception}"
    (folder / "said.txt").write_text(said.output)
    return folder


def loaded(path: Path, *given: Any, **more: Any) -> DiffusionBenchmark:
    found = configuration.load(path, *given, **more)
    assert isinstance(found, DiffusionBenchmark)
    return found


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def copied(done: Path, folder: Path) -> Path:
    """The results of the finished benchmark, copied."""
    for path in (done / "results").rglob("*.*"):
        new = folder / path.relative_to(done)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    return folder / "results"


def test_every_row_has_its_file_and_a_file_says_what_it_is_of(done: Path):
    files = sorted((done / "results").rglob("*.json"))
    assert len(files) == ROWS == rows.count(loaded(done / "small.yaml"))
    assert all(file.stat().st_size < 30_000 for file in files)
    row = load(done / "results/drawn/report/piu.json")
    assert row["row"]["method"]["steps"] == 2 and row["row"]["method"]["eta"] == 1.0
    assert row["row"]["anchor"]["choice"] == "closest" and row["row"]["judge"]["name"] == "judge"
    runs = row["runs"]
    assert [(r["person"], r["seed"]) for r in runs] == [(p, s) for p in PEOPLE[1:3] for s in (0, 1)]
    assert row["numbers"]["forget"]["ism"]["n"] == 2
    mean = sum(r["forget ism"] for r in runs) / len(runs)
    assert row["numbers"]["forget"]["ism"]["value"] == pytest.approx(mean, abs=1e-5)
    assert row["cost"]["steps"] == 2 and row["judges"]["judge"]["forget"]["ism"]["n"] == 2
    few = load(done / "results/drawn/report/rece.json")["row"]
    assert (few["people"], few["seeds"]) == (PEOPLE[1:2], [0])
    assert (done / "results/drawn/attacks/rece.json").exists()


def test_controls_stand_beside_the_original(done: Path):
    row = load(done / "results/drawn/report/references.json")
    photos = row["controls"]["photos"]
    assert photos["retain"]["ism"]["value"] > row["numbers"]["retain"]["ism"]["value"], "real photos are the ceiling"
    assert set(row["controls"]) == {"photos", "stranger"} == set(row["judges_controls"]["judge"])
    assert row["row"]["method"] is None and row["cost"] == {}
    own = load(done / "results/drawn/report/uce.json")["original"]
    assert own["numbers"]["retain"]["ism"] == row["numbers"]["retain"]["ism"], "the same runs"


def test_numbers_are_those_of_a_run_of_the_same(done: Path, tmp_path: Path):
    """A row of one person and one seed is what `efface unlearn` measures."""
    row = load(done / "results/drawn/ablations/anchor-synthetic.json")
    run = {
        "kind": "diffusion", "model": "tiny", "judge": "judge", "faces": DRAWN["faces"], "forget": PEOPLE[3:4],
        "anchor": {"choice": "synthetic"}, "method": row["row"]["method"], "draws": 2, "people": 2,
        "out": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    said = CliRunner().invoke(app, ["unlearn", str(tmp_path / "run.yaml")])
    assert said.exit_code == 0, said.output
    audit = load(tmp_path / "run" / "audit.json")
    blocks = [(audit, row["numbers"]), (audit["judges"]["judge"], row["judges"]["judge"])]
    compared = 0
    for block, numbers in blocks:
        for group, own in numbers.items():
            for metric, number in own.items():
                other = block["models"]["unlearned"][group][metric]["value"]
                assert (number["value"] is None) == (other is None), (group, metric)
                if other is not None:
                    assert number["value"] == pytest.approx(other, abs=2e-3, rel=2e-2), (group, metric)
                    compared += 1
    assert compared > 30


def test_what_is_done_is_not_done_again(done: Path, tmp_path: Path):
    results = copied(done, tmp_path)
    path = written(tmp_path, page=None)
    before = {file: file.stat().st_mtime_ns for file in results.rglob("*.json")}
    missing = results / "drawn/report/uce.json"
    missing.unlink()
    said = CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"])
    assert said.exit_code == 0 and f"({ROWS} of {ROWS} rows" in said.stderr
    assert {f for f in results.rglob("*.json") if f.stat().st_mtime_ns != before[f]} == {missing}
    kept, new = (load(folder / "results/drawn/report/uce.json") for folder in (done, tmp_path))
    for row in (kept, new):
        del row["took"], row["cost"]
    assert kept["row"] == new["row"] and kept["runs"] == new["runs"]
    line = refused(str(written(tmp_path, data={"drawn": DRAWN | {"draws": 3}})))
    assert "a result of another configuration (draws is 2, now 3); remove it, or pass --again" in line


def refused(*arguments: str) -> str:
    with pytest.raises(EffaceError) as caught:
        CliRunner().invoke(app, ["benchmark", *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_ablations_change_the_chosen_setting(done: Path):
    config = loaded(done / "small.yaml")
    results = Results(config)
    found = rows.ablations(config, results, "drawn")
    chosen = rows.chosen(config, results, "drawn", "piu")
    assert chosen is not None and found["eta"]["1"] is found["anchor"]["closest"]
    for group, title, eta, choice in (("eta", "0", 0.0, "closest"), ("anchor", "synthetic", 1.0, "synthetic")):
        task = found[group][title]
        content = results.get(task)
        assert content is not None and task.method is not None
        assert task.method.value == replace(chosen[0].value, eta=eta)
        assert (content["row"]["anchor"]["choice"], content["runs"][0]["anchor"] == "nobody") == (
            choice,
            choice == "synthetic",
        )
    mine = [result.get("original") for t in found["eta"].values() if (result := results.get(t))]
    assert mine[0] == mine[1], "the same person, anchor and noise"


def test_the_original_is_drawn_once_and_the_same(done: Path):
    bench = Bench(loaded(done / "small.yaml").data["drawn"])
    anchor = bench.data.anchor
    run = bench.run(PEOPLE[1], anchor, 0)
    whole, parts = bench.draw(bench.target, run.subjects, 0), bench.original(run.subjects, 0)
    assert parts.people == whole.people and torch.equal(parts.found, whole.found)
    assert (parts.pixels.int() - whole.pixels.int()).abs().max() <= 2
    torch.testing.assert_close(parts.embeddings["judge"], whole.embeddings["judge"], atol=2e-2, rtol=0)
    known = dict(bench._drawn)
    bench.original(run.subjects, 0)
    assert bench._drawn == known
    bench.original(bench.run(PEOPLE[2], anchor, 0).subjects, 0)
    assert all(bench._drawn[key] is known[key] for key in known) and len(bench._drawn) > len(known)
    assert run.request.forget.people() == (PEOPLE[1],) and PEOPLE[1] not in run.request.retain.identities


def test_a_method_that_ruins_the_model_is_recorded(tmp_path: Path):
    """A rate at which the loss is no longer finite: that setting is not chosen, and the table tells it."""
    given = {"piu": SMALL["methods"]["piu"] | {"learning_rate": [1e30, 0.001], "steps": 3}}
    more = {"methods": given, "fewer": None, "ablations": None, "attacked": None}
    path = written(tmp_path, data={"drawn": DRAWN | {"report": PEOPLE[1:2], "seeds": [0]}}, **more)
    said = CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"])
    assert said.exit_code == 0, f"{said.output}{said.exception}"
    bad = load(tmp_path / "results/drawn/tune/piu-learning_rate=1e+30.json")
    assert bad["numbers"] is None and bad["admissible"] is False
    assert bad["failed"][0].startswith("person-000, seed 0: step 2 of 3: found the loss")
    assert load(tmp_path / "results/drawn/report/piu.json")["row"]["method"]["learning_rate"] == 0.001
    assert "failed: person-000, seed 0: step 2" in (tmp_path / "page.md").read_text()


def test_tables_hold_the_numbers(done: Path):
    text = (done / "page.md").read_text()
    for name in ("references", "uce", "piu", "rece"):
        row = load(done / f"results/drawn/report/{name}.json")
        title = "original model" if name == "references" else f"`{name}`"
        lines = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        people = "1 × 1" if name == "rece" else "2 × 2"
        assert any(f"| {people} |" in line for line in lines)
        for group, metric in (("forget", "acc"), ("forget", "ism"), ("retain", "ism_net")):
            number = f"{row['numbers'][group][metric]['value']:.2f}".replace("-", "−").replace("−0.00", "0.00")
            assert any(f" {number} " in line for line in lines), (name, group, metric)
    share = load(done / "results/drawn/report/uce.json")
    kept = share["numbers"]["retain"]["ism_net"]["value"] / share["original"]["numbers"]["retain"]["ism_net"]["value"]
    assert tables.kept(share) == pytest.approx(kept)
    for head in ("| real photos |", "| strangers' pictures |", "by the judge", "drawn: halo, ISM", "`piu`, eta"):
        assert head in text
    assert text.count("| chosen |\n") + text.count("| highest SRK |\n") == 3 + 1, "a method each, and the head"
    assert "drawn: the forgotten and the retained" in (done / "said.txt").read_text()


def test_figures(done: Path):
    text = (done / "page.md").read_text()
    for picture in ("drawn", "drawn-faces", "drawn-ablations"):
        path = done / f"page-{picture}.png"
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size < 600_000
        assert f"({path.name})" in text
    strip = Image.open(done / "results/drawn/report/uce.jpg")
    assert strip.size == (8 * 64, 64), "two pictures of two forgotten people and of their look-alikes"
    config = loaded(done / "small.yaml")
    first, again = (figures.draw(config, Results(config)) for _ in range(2))
    assert {name: p.png for name, p in first.items()} == {name: p.png for name, p in again.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "voice"}, r"kind: found 'voice', expected one of: recognition, diffusion, gan"),
        ({"methods": {"uce": {"erase_weight": [1]}, "piu": {}, "esd": {"steps": [1, 2]}}}, r"2 settings"),
        ({"methods": {"dispersion": {}}}, r"methods\.dispersion.*one of: concept_ablation"),
        ({"fewer": {"methods": ["esd"]}}, r"fewer\.methods: found 'esd', expected one of: uce, piu, rece"),
        ({"ablations": SMALL["ablations"] | {"method": "esd"}}, r"ablations\.method: found 'esd'"),
        ({"ablations": SMALL["ablations"] | {"people": PEOPLE[:1]}}, r"ablations\.people: found person-000, expected"),
        ({"ablations": SMALL["ablations"] | {"groups": {"e": {"x": {"etta": 1}}}}}, r"e\.x: etta: .*no such key"),
        ({"ablations": SMALL["ablations"] | {"groups": {"a": {"x": {"anchor": {"tau": 3}}}}}}, r"tau: found 3"),
        ({"data": {"drawn": DRAWN | {"tune": PEOPLE[:2]}}}, r"data\.drawn\.report: found person-001, expected nobody"),
        ({"data": {"drawn": DRAWN | {"draws": 0}}}, r"data\.drawn\.draws: found 0"),
        ({"atacked": {}}, r"atacked: .*no such key"),
    ],
)
def test_one_clear_line(tmp_path: Path, changes: dict[str, Any], message: str):
    path = written(tmp_path, **changes)
    with pytest.raises(EffaceError, match=message) as caught:
        configuration.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_people_that_are_not_there(tmp_path: Path):
    line = refused(str(written(tmp_path, data={"drawn": DRAWN | {"report": ["person-099"]}})))
    assert line.startswith("data.drawn: forget: found 'person-099'")


def test_the_shipped_configuration_runs_dry(tmp_path: Path):
    arguments = ["--tiny", "--set", f"results={tmp_path / 'r'}"]
    said = CliRunner().invoke(app, ["benchmark", str(SHIPPED), *arguments, "--processes", "1"])
    assert said.exit_code == 0, f"{said.output}{said.exception}"
    made = len(list((tmp_path / "r-tiny").rglob("*.json")))
    assert made == rows.count(loaded(SHIPPED, arguments[2:], tiny=True)) > 10


def test_the_choice_against_a_slow_formula():
    drawing = random.Random(0)
    for _ in range(300):
        tried, unseen = [], drawing.random() < 0.5
        group, name = ("forget_others", "srk_others") if unseen else ("forget", "srk")
        for _ in range(drawing.randrange(1, 5)):
            acc, ism, srk = drawing.choice((0.0, 0.1, 0.2)), drawing.random(), drawing.random()
            failed = ["x"] if drawing.random() < 0.2 else []
            numbers = {"forget": {"acc": {"value": acc}, "ism": {"value": ism}}}
            if unseen:
                numbers = {"forget": {"acc": {"value": 0.0}, "ism": {"value": 0.0}}, "forget_others": numbers["forget"]}
            allowed = drawing.random() < 0.5 and not failed
            tried.append(
                {"numbers": numbers, "summary": {"srk": 0.0} | {name: srk}, "failed": failed, "admissible": allowed}
            )
        best, passed = choose(tried)
        order = [i for i in range(len(tried)) if tried[i]["admissible"]]
        assert passed == bool(order)
        whole = [i for i in range(len(tried)) if not tried[i]["failed"]]
        if order:
            key = [(t["numbers"][group]["acc"]["value"], t["numbers"][group]["ism"]["value"]) for t in tried]
            assert best == sorted(order, key=lambda i: key[i])[0]
        elif whole:
            assert all(tried[best]["summary"][name] >= tried[i]["summary"][name] for i in whole)


LITTLE = 1e-6


@pytest.mark.parametrize(
    ("kept", "lost", "quality", "sharpness", "passes"),
    [
        (KEPT_NET, LOST_ACC, 1.0, 1.0, True),
        (KEPT_NET - 0.01, 0, 1.0, 1.0, False),
        (1, LOST_ACC + 0.01, 1.0, 1.0, False),
        (1, 0, FACES["quality"][0] + LITTLE, FACES["sharpness"][1] - LITTLE, True),
        (1, 0, FACES["quality"][0] - LITTLE, 1.0, False),
        (1, 0, 9.0, FACES["sharpness"][0] + LITTLE, True),
        (1, 0, 1.0, FACES["sharpness"][0] - LITTLE, False),
        (1, 0, 1.0, FACES["sharpness"][1] + LITTLE, False),
        (1, 0, None, 1.0, False),
    ],
)
def test_the_gate(kept: float, lost: float, quality: float | None, sharpness: float, passes: bool):
    def numbers(net: float, acc: float, quality: float | None, sharpness: float) -> dict[str, Any]:
        face = {"quality": {"value": quality}, "sharpness": {"value": sharpness}}
        return {"forget": face, "retain": {"ism_net": {"value": net}, "acc": {"value": acc}} | face}

    after = numbers(kept * 1.0, 0.75 - lost + 1e-9, quality, sharpness)
    assert admissible({"models": {"unlearned": after, "original": numbers(1.0, 0.75, 1.0, 1.0)}}) is passes
