"""`efface benchmark` of face generators: what a row holds, who takes over settings, several people, attacks, the
choice, tables and figures."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from efface import config
from efface.benchmark import configuration, running
from efface.benchmark.drawing import rows
from efface.benchmark.drawing.rows import Task
from efface.benchmark.gan import figures, tables
from efface.benchmark.gan.choice import admissible, choose
from efface.benchmark.gan.configuration import GanBenchmark
from efface.benchmark.gan.measuring import Bench, measure
from efface.benchmark.results import Results
from efface.cli import app
from efface.config import Named
from efface.errors import EffaceError
from efface.faces.crops import Crops
from efface.faces.datasets.folder import Folder
from efface.faces.datasets.people import ShippedPeople
from efface.metrics.rebuilding import measure as drawn_by
from efface.report.drawn_verdict import FACES, MOST_UNDETECTED
from efface.report.rebuilt_verdict import KEPT_ID, LOST_ACC
from threads import start_beside

SHIPPED = Path(__file__).parents[1] / "configs" / "benchmark" / "gan.yaml"
PEOPLE = [f"person-{number:03}" for number in range(6)]
BASE: dict[str, Any] = {
    "model": "tiny",
    "faces": {"name": "drawn", "people": 12, "photos": 4},
    "judge": "judge",
    "people": 2,
    "samples": 3,
}
DRAWN = BASE | {
    "tune": PEOPLE[:1],
    "report": PEOPLE[1:3],
    "seeds": [0, 1],
    "fewer": {"methods": ["average_target"], "people": 1},
}
RANDOM = BASE | {"latents": "random", "report": ["nobody"], "methods": ["guide"]}
SMALL: dict[str, Any] = {
    "kind": "gan",
    "data": {"drawn": DRAWN, "random": RANDOM},
    "methods": {
        "guide": {"learning_rate": [0.001, 0.01], "lengths": "mean", "distance": 1, "reach": 0.5, "steps": 3},
        "average_target": {"learning_rate": [0.001, 0.01], "steps": 2},
    },
    "ablations": {
        "method": "guide",
        "people": PEOPLE[3:4],
        "groups": {
            "terms": {"local": {"adjacent": 0, "preserved": 0}, "global": {}},
            "distance": {"0.5": {"distance": 0.5}, "1": {"distance": 1}},
        },
    },
    "several": {"methods": ["guide"], "people": PEOPLE[4:]},
}
ROWS = 1 + 2 * 2 + 2 + 3 + 2 + 2
"""Original; two methods of two settings; reported; three ablations, as `global` and `1` are one row; several people
together and in turn; of people who never existed the original and one method."""


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


def loaded(path: Path, *given: Any, **more: Any) -> GanBenchmark:
    found = configuration.load(path, *given, **more)
    assert isinstance(found, GanBenchmark)
    return found


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def test_every_row_has_its_file_and_a_file_says_what_it_is_of(done: Path):
    files = sorted((done / "results").rglob("*.json"))
    assert len(files) == ROWS == rows.count(loaded(done / "small.yaml"))
    assert all(file.stat().st_size < 40_000 for file in files)
    row = load(done / "results/drawn/report/guide.json")
    assert row["row"]["method"]["steps"] == 3 and row["row"]["latents"] == "photo"
    runs = row["runs"]
    assert [(r["person"], r["seed"]) for r in runs] == [(p, s) for p in PEOPLE[1:3] for s in (0, 1)]
    mean = sum(r["forget id"] for r in runs) / len(runs)
    assert row["numbers"]["forget"]["id"]["value"] == pytest.approx(mean, abs=1e-5)
    assert row["cost"]["steps"] == 3 and row["judges"]["judge"]["forget"]["id"]["n"] == 2
    assert row["numbers"]["samples"]["fid_pre"]["value"] > 0
    few = load(done / "results/drawn/report/average_target.json")["row"]
    assert (few["people"], few["seeds"]) == (PEOPLE[1:2], [0])


def test_numbers_are_those_of_a_run_of_the_same(done: Path, tmp_path: Path):
    """A row of one person and one seed is what `efface unlearn` measures."""
    row = load(done / "results/drawn/ablations/terms-local.json")
    run = {
        "kind": "gan", **BASE, "forget": PEOPLE[3:4], "method": row["row"]["method"], "out": str(tmp_path / "run"),
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


def test_settings_are_taken_over_from_the_first(done: Path):
    """People who never existed are forgotten at the setting that was chosen on photos."""
    config = loaded(done / "small.yaml")
    results = Results(config)
    chosen = rows.chosen(config, results, "drawn", "guide")
    row = load(done / "results/random/report/guide.json")["row"]
    assert chosen is not None and row["method"]["learning_rate"] == chosen[0].value.learning_rate
    assert row["latents"] == "random" and row["people"] == ["nobody"]
    assert (
        not (done / "results/random/tune").exists()
        and not (done / "results/random/report/average_target.json").exists()
    )
    assert load(done / "results/random/report/references.json")["numbers"]["forget"]["id_photo"]["n_trials"] == 7


def test_several_people_in_one_run(done: Path):
    both = [load(done / f"results/drawn/several/guide-{how}.json") for how in ("together", "one_after_another")]
    for row, steps in zip(both, (6, 6), strict=True):
        assert row["cost"]["steps"] == steps and [r["person"] for r in row["runs"]] == [", ".join(PEOPLE[4:])]
        assert row["numbers"]["forget"]["replacement_similarity"]["n"] == 2
    alike = [row["numbers"]["forget"]["replacement_similarity"]["value"] for row in both]
    assert alike[0] != alike[1] and both[0]["original"]["numbers"] == both[1]["original"]["numbers"]


def test_what_is_done_is_not_done_again_and_rows_are_selected(done: Path, tmp_path: Path):
    path = written(tmp_path, page=None)
    arguments = ["benchmark", str(path), "--processes", "1", "--rows", "drawn/tune/guide-*1"]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0 and f"(2 of {ROWS} rows" in said.stderr, said.stderr
    made = sorted(file.name for file in (tmp_path / "results").rglob("*.json"))
    assert made == ["guide-learning_rate=0.001.json", "guide-learning_rate=0.01.json"]
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "results").rglob("*.json")}
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0 and all(file.stat().st_mtime_ns == time for file, time in before.items())
    for name in made:
        kept, new = (load(folder / "results/drawn/tune" / name) for folder in (done, tmp_path))
        assert kept["row"] == new["row"] and kept["runs"] == new["runs"]
    line = refused(str(path), "--rows", "drawn/tune/piu")
    assert line.startswith("--rows: found 'drawn/tune/piu', expected some of drawn/report/references")


def test_a_result_is_of_the_detector_that_found_the_faces(tmp_path: Path):
    """Where the data set has one; other results say nothing of detectors."""
    config = loaded(SHIPPED)
    found = {name: task.identity(config.data[name]) for name in config.data for task in rows.references(config, name)}
    told = {name: own["detector"] for name, own in found.items() if "detector" in own}
    assert told == {"photos": "$EFFACE_DATA/detector-mtcnn"}
    one, other = (loaded(written(tmp_path, data={"drawn": DRAWN | {"detector": name}}, several=None)) for name in "ab")
    (task,) = rows.references(one, "drawn")
    Results(one).keep(task, {"took": 0.0})
    assert Results(one).get(task)
    with pytest.raises(EffaceError, match='detector is "a", now "b"'):
        Results(other).get(task)


def refused(*arguments: str) -> str:
    with pytest.raises(EffaceError) as caught:
        CliRunner().invoke(app, ["benchmark", *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_original_is_drawn_once_and_the_same(done: Path):
    bench = Bench(loaded(done / "small.yaml").data["drawn"])
    sources = bench.scene((PEOPLE[1],), 0).sources
    whole, parts = drawn_by(bench.target, bench.judges, sources), bench.original(sources, 0)
    for one, other in ((parts.pictures, whole.pictures), (parts.samples, whole.samples)):
        assert len(one) == len(other) and (one.pixels.int() - other.pixels.int()).abs().max() <= 2
    assert parts.pictures.people == whole.pictures.people and np.array_equal(parts.yaws, whole.yaws)
    torch.testing.assert_close(
        parts.pictures.embeddings["judge"], whole.pictures.embeddings["judge"], atol=2e-2, rtol=0
    )
    known = dict(bench._views)
    bench.original(sources, 0)
    bench.original(bench.scene((PEOPLE[1],), 1).sources, 1)
    assert bench._views == known and set(bench._samples) == {0, 1}
    assert not torch.equal(bench._samples[0].pixels, bench._samples[1].pixels)
    bench.original(bench.scene((PEOPLE[2],), 0).sources, 0)
    assert all(bench._views[key] is known[key] for key in known) and len(bench._views) > len(known)


def test_the_given_photo_has_a_face(done: Path):
    """The first one, as of `efface unlearn`: the next is not taken silently."""
    bench = Bench(loaded(done / "small.yaml").data["drawn"])
    name = next(name for name in bench.crops.names if name.startswith(PEOPLE[1]))
    left = [row for row, other in enumerate(bench.crops.names) if other != name]
    people, names = (tuple(own[row] for row in left) for own in (bench.crops.identities, bench.crops.names))
    bench.crops = Crops(bench.crops.pixels[left], people, names)
    bench.notes = replace(bench.notes, no_face=(name,))
    with pytest.raises(EffaceError, match=f"photo: found no face in {name}, photo 1 of {PEOPLE[1]}"):
        bench.scene((PEOPLE[1],), 0)
    assert bench.scene((PEOPLE[2],), 0).given()[PEOPLE[2]].startswith(PEOPLE[2])


def test_pictures_are_kept_of_people_who_never_existed_alone(done: Path):
    config = loaded(done / "small.yaml")
    bench = Bench(config.data["drawn"])
    task = replace(rows.references(config, "drawn")[0], seeds=(0,))
    assert measure(bench, task)["picture"][:2] == b"\xff\xd8"
    bench.data = replace(bench.data, faces=Named("folder", Folder(path=done)))
    assert "picture" not in measure(bench, task)


def test_attacks_have_their_control(done: Path):
    """On rendered people, whose landmarks tell from where a photo was taken."""
    people = ShippedPeople().read()
    kept = replace(people, photos={name: people.photos[name][:4] for name in list(people.photos)[:9]})

    class Few:
        def read(self):
            return kept

    data = replace(loaded(done / "small.yaml").data["drawn"], faces=config.Named("people", Few()))
    sweep = {"name": "radius_sweep", "radii": [0, 1], "draws": 1}
    attacks = tuple(
        config.named("attacks.gan", one) for one in (sweep, {"name": "latent_optimisation", "steps": 1, "starts": 0})
    )
    task = Task("x.json", "drawn", "attacks", ("person-003",), (0,), None, None, attacks)
    found = measure(Bench(data), task)
    assert not found["failed"] and "runs" not in found
    for attack in ("radius_sweep", "latent_optimisation"):
        groups = found["attacks"][attack]
        assert groups["forget"].keys() == groups["control"].keys()
    assert found["attacks"]["radius_sweep"]["forget"]["id_photo@radius=0"] is not None


def test_a_method_that_ruins_the_model_is_recorded(tmp_path: Path):
    """A rate at which the loss is no longer finite: that setting is not chosen, and the table tells it."""
    given = {"average_target": {"learning_rate": [1e30, 0.001], "steps": 3}}
    data = {"drawn": DRAWN | {"report": PEOPLE[1:2], "seeds": [0], "fewer": None}}
    path = written(tmp_path, data=data, methods=given, ablations=None, several=None)
    said = CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"])
    assert said.exit_code == 0, f"{said.output}{said.exception}"
    bad = load(tmp_path / "results/drawn/tune/average_target-learning_rate=1e+30.json")
    assert bad["numbers"] is None and bad["admissible"] is False
    assert bad["failed"][0].startswith("person-000, seed 0: step")
    assert load(tmp_path / "results/drawn/report/average_target.json")["row"]["method"]["learning_rate"] == 0.001
    assert "failed: person-000, seed 0: step" in (tmp_path / "page.md").read_text()


def test_tables_hold_the_numbers(done: Path):
    text = (done / "page.md").read_text()
    for name in ("references", "guide", "average_target"):
        row = load(done / f"results/drawn/report/{name}.json")
        title = "original model" if name == "references" else f"`{name}`"
        lines = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        people = "1 × 1" if name == "average_target" else "2 × 2"
        assert any(f"| {people} |" in line for line in lines)
        for group, metric in (("forget", "id"), ("forget_others", "id_photo"), ("retain", "acc")):
            found = row["numbers"][group][metric]["value"]
            number = "–" if found is None else f"{found:.2f}".replace("-", "−").replace("−0.00", "0.00")
            assert any(f" {number} " in line for line in lines), (name, group, metric)
    row = load(done / "results/drawn/report/guide.json")
    before, after = (n["neighbours"]["acc"]["value"] for n in (row["original"]["numbers"], row["numbers"]))
    assert tables.lost(row["numbers"], row["original"]["numbers"], "neighbours") == pytest.approx(
        100 * (before - after)
    )
    for head in ("| real photos |", "| strangers' pictures |", "by the judge", "several people in one run (2 people)",
                 "`guide`, terms (1 person)", "random: the forgotten"):  # fmt: skip
        assert head in text
    assert text.count("| chosen |\n") + text.count("| best balance |\n") == 2 + 1, "a method each, and the head"
    assert "drawn: the forgotten" in (done / "said.txt").read_text()


def test_figures(done: Path):
    text = (done / "page.md").read_text()
    for picture in ("drawn", "drawn-faces", "drawn-ablations", "random-faces"):
        path = done / f"page-{picture}.png"
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size < 600_000
        assert f"({path.name})" in text
    strip = Image.open(done / "results/drawn/report/guide.jpg")
    assert strip.size == (12 * 32, 32), "two forgotten people and their look-alikes from three sides"
    config = loaded(done / "small.yaml")
    first, again = (figures.draw(config, Results(config)) for _ in range(2))
    assert {name: p.png for name, p in first.items()} == {name: p.png for name, p in again.items()}


def test_the_curve_over_views():
    """Of numbers as a result holds them; where the threshold is not known there is none."""
    numbers = {"forget": {f"tar@far=1e-2,yaw={yaw}": {"value": 0.5} for yaw in (30, -30, 0)} | {"acc": {"value": 1.0}}}
    assert figures._curve(numbers, "forget") == {-30.0: 0.5, 0.0: 0.5, 30.0: 0.5}
    assert figures._curve({"forget": {"tar@far=1e-2,yaw=0": {"value": None}}}, "forget") == {}
    content = {"numbers": numbers | {"forget_others": {}}}
    assert figures.views({"original": content, "guide": content})[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"random": RANDOM}}, r"data\.random\.tune: found nobody, expected people on whom settings"),
        (
            {"data": {"drawn": DRAWN | {"methods": ["guide"]}}},
            r"data\.drawn\.methods: found guide, expected none beside",
        ),
        ({"data": {"drawn": DRAWN, "random": RANDOM | {"methods": ["lora"]}}}, r"random\.methods: found 'lora'"),
        ({"data": {"drawn": DRAWN | {"fewer": {"methods": ["lora"]}}}}, r"drawn\.fewer\.methods: found 'lora'"),
        ({"data": {"drawn": DRAWN | {"latents": "w"}}}, r"data\.drawn\.latents: found 'w'"),
        ({"data": {"drawn": DRAWN | {"samples": 1}}}, r"data\.drawn\.samples: found 1"),
        ({"several": {"methods": ["guide"], "people": PEOPLE[4:5]}}, r"several\.people: found "),
        ({"several": {"methods": ["lora"], "people": PEOPLE[4:]}}, r"several\.methods: found 'lora'"),
        ({"several": {"methods": ["guide"], "people": PEOPLE[:2]}}, r"several\.people: found person-000, expected"),
        ({"ablations": SMALL["ablations"] | {"groups": {"a": {"x": {"anchor": {}}}}}}, r"a\.x: found anchor, expected"),
        ({"ablations": SMALL["ablations"] | {"groups": {"a": {"x": {"distanc": 1}}}}}, r"distanc: .*no such key"),
        ({"attacked": {"attacks": ["halo"]}}, r"attacked\.attacks\.name: found 'halo'"),
    ],
)
def test_one_clear_line(tmp_path: Path, changes: dict[str, Any], message: str):
    path = written(tmp_path, **changes)
    with pytest.raises(EffaceError, match=message) as caught:
        configuration.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_data_set_without_the_one_that_its_settings_are_chosen_on(tmp_path: Path):
    with pytest.raises(EffaceError, match=r"--data: found random without drawn, expected both"):
        configuration.load(written(tmp_path), only=["random"])
    assert list(configuration.load(written(tmp_path), only=["drawn"]).data) == ["drawn"]


def test_the_shipped_configuration_runs_dry(tmp_path: Path):
    arguments = ["--tiny", "--set", f"results={tmp_path / 'r'}"]
    said = CliRunner().invoke(app, ["benchmark", str(SHIPPED), *arguments, "--processes", "1"])
    assert said.exit_code == 0, f"{said.output}{said.exception}"
    made = len(list((tmp_path / "r-tiny").rglob("*.json")))
    assert made == rows.count(loaded(SHIPPED, arguments[2:], tiny=True)) > 10


def test_the_choice_against_a_slow_formula():
    drawing = random.Random(0)
    for _ in range(300):
        tried = []
        group = drawing.choice(("forget", "forget_others"))
        for _ in range(drawing.randrange(1, 5)):
            tar, like, acc = drawing.choice((0.0, 0.1, 0.2)), drawing.random(), drawing.random()
            worse = drawing.choice((-0.05, 0.0, 0.05))
            failed = ["x"] if drawing.random() < 0.2 else []
            own = {"tar@far=1e-2": {"value": tar}, "id_photo": {"value": like}}
            zero = {metric: {"value": 0.0} for metric in own}
            numbers = {"forget": zero} | {group: own, "retain": {"acc": {"value": acc}}}
            allowed = drawing.random() < 0.5 and not failed
            judged = {"tar@far=1e-2": {"value": tar + worse}, "id_photo": {"value": like + worse}}
            judge = {"forget": zero} | {group: judged, "retain": {"acc": {"value": acc - worse}}}
            row = {"numbers": numbers, "judges": {"judge": judge}, "failed": failed, "admissible": allowed}
            more = max(worse, 0.0)
            tried.append(row | {"key": (tar + more, like + more, acc - more)})
        best, passed = choose(tried)
        order = [i for i in range(len(tried)) if tried[i]["admissible"]]
        assert passed == bool(order)
        whole = [i for i in range(len(tried)) if not tried[i]["failed"]]
        if order:
            assert best == sorted(order, key=lambda i: tried[i]["key"][:2])[0]
        elif whole:
            balance = [tried[i]["key"][2] - tried[i]["key"][0] for i in range(len(tried))]
            assert balance[best] == max(balance[i] for i in whole)


def test_admissible_is_what_the_verdict_allows():
    def found(acc: float, kept: float | None, undetected: float, sharp: float = 1.0, judge: float = 0.9) -> Any:
        def block(acc: float) -> dict[str, Any]:
            face = {"quality": {"value": 1.0}, "sharpness": {"value": 1.0}}
            before = {"retain": {"acc": {"value": 0.9}, "id": {"value": None}} | face, "forget": face}
            shown = {"undetected": {"value": undetected}, "quality": {"value": 1.0}, "sharpness": {"value": sharp}}
            after = {"retain": {"acc": {"value": acc}, "id": {"value": kept}}, "forget": shown}
            return {"models": {"original": before, "unlearned": after}}

        return block(acc) | {"judges": {"judge": block(judge)}}

    most = LOST_ACC["retain"]
    assert admissible(found(0.9 - most + 1e-6, KEPT_ID, MOST_UNDETECTED))
    assert not admissible(found(0.9 - most - 1e-6, KEPT_ID, 0.0))
    assert not admissible(found(0.9, KEPT_ID, 0.0, judge=0.9 - most - 1e-6)), "the judge sees the harm"
    assert not admissible(found(0.9, KEPT_ID - 1e-6, 0.0))
    assert not admissible(found(0.9, 1.0, MOST_UNDETECTED + 1e-6))
    assert not admissible(found(0.9, 1.0, 0.0, sharp=FACES["sharpness"][1] + 1e-6)), "noise"
    assert not admissible(found(0.9, None, 0.0)), "no face was found"
