"""`efface benchmark`: resumable rows on several processes, the choice of settings, tables and figures."""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from efface.benchmark import configuration, running
from efface.benchmark.recognition import rows, tables
from efface.benchmark.recognition.choice import EQUAL, FAR, TAR, choose
from efface.benchmark.recognition.configuration import RecognitionBenchmark
from efface.benchmark.results import Results
from efface.cli import app
from efface.errors import EffaceError
from efface.faces.datasets.drawn import Drawn
from efface.progress import Quiet
from threads import start_beside

SHIPPED = Path(__file__).parents[1] / "configs" / "benchmark" / "recognition.yaml"
PEOPLE = [f"person-{number:03}" for number in range(12)]
DRAWN: dict[str, Any] = {
    "model": "tiny",
    "faces": {},
    "tune": [PEOPLE[:2]],
    "report": {"unknown": [PEOPLE[2:4], PEOPLE[4:6]], "known": [PEOPLE[6:8]]},
    "seeds": [0, 1],
    "fpir": 0.05,
    "retrained": {"known": "tiny"},
}
SMALL: dict[str, Any] = {
    "data": {"drawn": DRAWN},
    "methods": {"esc": {"directions": [1, 2]}, "random_label": {"learning_rate": [0.001, 0.01], "steps": 3}},
    "variants": {"esc-share": {"name": "esc", "directions": 0}},
    "controls": ["head_only"],
    "attacks": [{"name": "prototype", "photos": [1, 2]}],
    "scale": {
        "data": "drawn", "methods": ["esc"], "people": PEOPLE[8:12], "at_once": [1, 4], "one_after_another": 2,
    },
    "photos": {"data": "drawn", "methods": ["esc"], "seen": [1, 2]},
}  # fmt: skip
ROWS = 2 + 2 * 3 + 2 + 3 + 2
"""References and retrained, two methods of two settings, a variant and a control, three of scale, two of few photos."""


@pytest.fixture(scope="module", autouse=True)
def photos(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The drawn people as files, which are read faster than drawn."""
    folder = tmp_path_factory.mktemp("photos")
    for person, album in Drawn(people=40).read().photos.items():
        (folder / person).mkdir()
        for photo in album:
            (folder / photo.name).write_bytes(photo.encoded())
    DRAWN["faces"].update(name="folder", path=str(folder), aligned=True)


def written(folder: Path, **changes: Any) -> Path:
    """SMALL with changes, as a file; results and page lie beside it."""
    given = SMALL | {"results": str(folder / "results"), "page": str(folder / "page.md")} | changes
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished benchmark, measured by two processes."""
    folder = tmp_path_factory.mktemp("benchmark")
    said = CliRunner().invoke(app, ["benchmark", str(written(folder)), "--processes", "2"])
    assert said.exit_code == 0, f"{said.output}{said.stderr}{said.exception}"
    (folder / "said.txt").write_text(said.output)
    return folder


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what is not about processes: the same worker in a thread, since a process takes seconds to begin. `done` and
    the test that kills one start real ones."""

    monkeypatch.setattr(running, "start", start_beside)


def copied(done: Path, folder: Path) -> tuple[Path, Path]:
    """(configuration, results) of the finished benchmark, copied; no page."""
    for path in (done / "results").rglob("*.json"):
        new = folder / path.relative_to(done)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(path.read_bytes())
    return written(folder, page=None), folder / "results"


def loaded(*given: Any, **more: Any) -> RecognitionBenchmark:
    found = configuration.load(*given, **more)
    assert isinstance(found, RecognitionBenchmark)
    return found


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def refused(*arguments: str) -> str:
    with pytest.raises(EffaceError) as caught:
        CliRunner().invoke(app, ["benchmark", *arguments], catch_exceptions=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_row_has_its_file_and_a_file_says_what_it_is_of(done: Path):
    files = sorted((done / "results").rglob("*.json"))
    assert len(files) == ROWS == rows.count(loaded(done / "small.yaml"))
    assert all(file.stat().st_size < 10_000 for file in files)
    row = load(done / "results/drawn/report/random_label.json")
    assert row["row"]["method"]["steps"] == 3 and row["row"]["method"]["retain_weight"] == 100.0
    assert row["row"]["sets"]["unknown"] == [PEOPLE[2:4], PEOPLE[4:6]] and row["row"]["seeds"] == [0, 1]
    group = row["groups"]["unknown"]
    assert [one["people"] for one in group["sets"]] == [PEOPLE[2:4], PEOPLE[4:6]]
    assert group["numbers"]["forget"][TAR]["n"] == 4 and group["cost"]["steps"] == 3
    each = [one[TAR] for one in group["sets"]]
    assert group["numbers"]["forget"][TAR]["value"] == pytest.approx(sum(each) / 2, abs=1e-5)
    assert group["far_of_worst_set"] == max(one[FAR] for one in group["sets"])
    assert set(group["attacks"]["prototype"]) == {"forget", "control"}


@pytest.mark.usefixtures("one_process")
def test_numbers_are_those_of_a_run_of_the_same(done: Path):
    """A row of one set and one seed is what `efface unlearn` measures."""
    folder = done / "one"
    folder.mkdir(exist_ok=True)
    one = {"drawn": DRAWN | {"report": {"unknown": [PEOPLE[2:4]]}, "seeds": [0], "retrained": {}}}
    path = written(folder, data=one, controls=[], variants={}, scale=None, photos=None, page=None)
    assert CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"]).exit_code == 0
    row = load(folder / "results/drawn/report/esc.json")
    run = {
        "model": "tiny", "faces": one["drawn"]["faces"], "forget": PEOPLE[2:4], "method": row["row"]["method"],
        "out": str(folder / "run"),
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    assert CliRunner().invoke(app, ["unlearn", str(folder / "run.yaml")]).exit_code == 0
    audit = load(folder / "run" / "audit.json")
    numbers = row["groups"]["unknown"]["numbers"]
    for group in ("forget", "retain", "holdout", "neighbours", "impostors", "forget_seen"):
        for metric, number in numbers[group].items():
            if not metric.startswith("misidentified"):
                assert number["value"] == pytest.approx(audit["models"]["unlearned"][group][metric]["value"], abs=1e-5)
    assert row["groups"]["unknown"]["drops"]["retain"]["rank1"] == pytest.approx(
        audit["drops"]["retain"]["rank1"], abs=1e-4
    )


@pytest.mark.usefixtures("one_process")
def test_what_is_done_is_not_done_again(done: Path, tmp_path: Path):
    path, results = copied(done, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in results.rglob("*.json")}
    missing = results / "drawn/report/esc.json"
    missing.unlink()
    said = CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"])
    assert said.exit_code == 0 and f"({ROWS} of {ROWS} rows" in said.stderr
    after = {file: file.stat().st_mtime_ns for file in results.rglob("*.json")}
    assert {file for file in after if after[file] != before[file]} == {missing}
    kept, new = (load(folder / "results/drawn/report/esc.json") for folder in (done, tmp_path))
    for row in (kept, new):
        del row["took"]
        for group in row["groups"].values():
            del group["cost"]
    assert kept == new


@pytest.mark.usefixtures("one_process")
def test_a_result_of_another_configuration_is_named_and_again_measures_it(done: Path, tmp_path: Path):
    _, results = copied(done, tmp_path)
    path = written(tmp_path, controls=[{"name": "noise", "distance": 0.1}], page=None)
    assert CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"]).exit_code == 0
    path = written(tmp_path, controls=[{"name": "noise", "distance": 0.2}], page=None)
    line = refused(str(path))
    assert "noise.json: found a result of another configuration (method.distance is 0.1, now 0.2)" in line
    assert "--again" in line
    before = (results / "drawn/report/esc.json").stat().st_mtime_ns
    assert CliRunner().invoke(app, ["benchmark", str(path), "--again", "--processes", "1"]).exit_code == 0
    assert load(results / "drawn/report/noise.json")["row"]["method"]["distance"] == 0.2
    assert (results / "drawn/report/esc.json").stat().st_mtime_ns == before
    other = DRAWN | {"seeds": [0, 7]}
    line = refused(str(written(tmp_path, data={"drawn": other})))
    assert "references.json: found a result of another configuration (seeds is [0, 1], now [0, 7])" in line


@pytest.mark.usefixtures("one_process")
def test_a_damaged_result_is_one_line(done: Path, tmp_path: Path):
    path, results = copied(done, tmp_path)
    file = results / "drawn/tune/esc-directions=2.json"
    for content in ("", "[1]", '{"row": {}}', file.read_text()[:-100]):
        file.write_text(content)
        line = refused(str(path))
        assert line.startswith(f"{file}: ") and "--again" in line
        assert refused(str(path), "--tables") == line
    assert CliRunner().invoke(app, ["benchmark", str(path), "--again", "--processes", "1"]).exit_code == 0
    assert load(file)["row"]["method"]["directions"] == 2


class Listening(Quiet):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_killed_process_costs_its_row_alone(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, results = copied(done, tmp_path)
    for file in (results / "drawn/tune").glob("*.json"):
        file.unlink()
    (results / "drawn/report/esc.json").unlink()
    slow = SMALL["methods"] | {"random_label": {"learning_rate": [0.001, 0.01], "steps": 1500}}
    (results / "drawn/report/random_label.json").unlink()
    path = written(tmp_path, methods=slow)
    config = loaded(path)
    started: list[int] = []
    begin = running.start

    def start(*given: Any) -> Any:
        """A real process, whose number is kept: the test kills it."""
        worker = begin(*given)
        started.append(worker.process.pid or 0)
        return worker

    monkeypatch.setattr(running, "start", start)

    def kill() -> None:
        """As soon as both settings of `esc` are there, the process is at the first one of `random_label`."""
        limit = time.monotonic() + 120
        while len(list((results / "drawn/tune").glob("esc*"))) < 2 or not (results / "drawn/report/esc.json").exists():
            if time.monotonic() > limit:
                return
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(started[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    watcher = Listening()
    said = running.run(config, Results(config), 1, watcher)
    killer.join()
    lost = "drawn/tune/random_label-learning_rate=0.001.json"
    assert len(started) == 2, "another process went on"
    assert any("was killed by signal 9" in line and lost.removesuffix(".json") in line for line in watcher.lines)
    assert said == f"2 of {ROWS} rows are missing ({lost}); the same command tries them again"
    assert not (results / lost).exists() and (results / lost.replace("0.001", "0.01")).exists()
    assert not list(results.rglob("*.tmp"))


@pytest.mark.usefixtures("one_process")
def test_a_method_that_refuses_is_recorded(tmp_path: Path):
    """A rate at which the loss is no longer finite: that setting is not chosen, and of a control it is told."""
    given = {"random_label": {"learning_rate": [1e30, 0.001], "steps": 3}}
    controls = [{"name": "finetune", "learning_rate": 1e30, "steps": 3}]
    path = written(tmp_path, methods=given, controls=controls, variants={}, scale=None, photos=None, attacks=[])
    said = CliRunner().invoke(app, ["benchmark", str(path), "--processes", "1"])
    assert said.exit_code == 0, said.output
    group = load(tmp_path / "results/drawn/tune/random_label-learning_rate=1e+30.json")["groups"]["tune"]
    assert group["numbers"] is None and group["admissible"] is False
    assert group["failed"][0].startswith("person-000, person-001, seed 0: step 2 of 3: found the loss")
    assert load(tmp_path / "results/drawn/report/random_label.json")["row"]["method"]["learning_rate"] == 0.001
    text = (tmp_path / "page.md").read_text()
    assert "`finetune` failed 4 times: person-002, person-003, seed 0: step 2" in text
    assert "failed: person-000, person-001, seed 0" in text


def test_tables_hold_the_numbers(done: Path):
    text = (done / "page.md").read_text()
    results = done / "results/drawn/report"
    for group, heading in (("unknown", "2 sets, 4 people, 2 seeds"), ("known", "1 sets, 2 people, 2 seeds")):
        assert f"**drawn, {group} people: the forgotten ({heading})**" in text
        for name in ("references", "esc", "random_label", "head_only", "retrained"):
            content = load(results / f"{name}.json")["groups"]
            if group in content:
                number = content[group]["numbers"]["forget"][TAR]["value"]
                title = {"references": "original model", "retrained": "Retrain"}.get(name, f"`{name}`")
                lines = [line for line in text.splitlines() if line.startswith(f"| {title}")]
                assert any(f" {number:.2f} " in line for line in lines), (name, number)
    floor = next(line for line in text.splitlines() if line.startswith("| floor: raw pixels |")).split(" | ")
    head = next(line for line in text.splitlines() if "TAR, given photos" in line).split(" | ")
    assert floor[head.index("TAR, given photos")] == "–" != floor[head.index("TAR")], "floors are of unseen photos"
    assert "| floor: random network |" in text
    assert "one person" not in text and "no admissible setting" in text
    for picture in ("drawn-unknown", "drawn-known", "scale", "photos"):
        path = done / f"page-{picture}.png"
        assert path.read_bytes()[:4] == b"\x89PNG" and path.stat().st_size < 150_000
        assert f"({path.name})" in text


def test_the_terminal_shows_the_same(done: Path):
    said = (done / "said.txt").read_text()
    assert "drawn, known people: everybody else, and the cost" in said and "directions=1" in said
    assert "…" not in said


def test_text_outside_the_markers_stays(done: Path, tmp_path: Path):
    copied(done, tmp_path)
    path = written(tmp_path)
    (tmp_path / "page.md").write_text("# Mine\n\nabove\n\n<!-- scale -->\nold\n<!-- end of scale -->\n\nbelow\n")
    assert CliRunner().invoke(app, ["benchmark", str(path), "--tables"]).exit_code == 0
    text = (tmp_path / "page.md").read_text()
    assert (
        text.startswith("# Mine\n\nabove\n\n<!-- scale -->\n\n![Many people](page-scale.png)") and "\nold\n" not in text
    )
    assert "<!-- end of scale -->\n\nbelow\n" in text and "<!-- end of drawn settings -->" in text
    assert CliRunner().invoke(app, ["benchmark", str(path), "--tables"]).exit_code == 0
    assert (tmp_path / "page.md").read_text() == text


GRID = {"directions": [1, 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"esc": GRID, "jit": {}}}, r"methods\.jit: found '1 settings', expected 2, as esc has"),
        ({"methods": {"esk": {}}}, r"methods\.esk: found \{\}, expected .* one of: .*esc"),
        (
            {"methods": {"esc": {"directions": [1, "many"]}}},
            r"methods\.esc\.directions: found 'many', expected a valid",
        ),
        ({"methods": {"esc": {"direction": [1]}}}, r"methods\.esc\.direction: found 1, expected no such key here"),
        ({"methods": {"esc": [1]}}, r"methods\.esc: found \[1\], expected the method's fields"),
        ({"controls": ["nois"]}, r"controls\.name: found 'nois', expected one of"),
        ({"controls": ["esc"]}, r"found 'esc' twice among methods, variants and controls"),
        ({"atacks": []}, r"atacks: found \[\], expected no such key here; the keys are: data, methods"),
        ({"scale": SMALL["scale"] | {"data": "orl"}}, r"scale\.data: found 'orl', expected one of: drawn"),
        ({"scale": SMALL["scale"] | {"at_once": [40]}}, r"scale\.people: found 4 people, expected at least 40"),
        ({"photos": SMALL["photos"] | {"methods": ["jit"]}}, r"photos\.methods: found 'jit', expected one of: esc"),
        ({"data": {"drawn": DRAWN | {"tune": [PEOPLE[:3]]}}}, r"report: found person-002, expected nobody"),
        ({"data": {"drawn": DRAWN | {"seed": 3}}}, r"data\.drawn\.seed: found 3, expected no such key"),
        ({"data": {"drawn": DRAWN | {"report": {}}}}, r"data\.drawn\.report: found \{\}, expected"),
        ({"data": {"drawn": DRAWN | {"retrained": {"unkown": "tiny"}}}}, r"retrained: found 'unkown', expected one of"),
        ({"data": {"a/b": DRAWN}}, r"found 'a/b', expected a name"),
        ({"results": None}, r"results: found nothing, expected a path"),
    ],
)
def test_one_clear_line(tmp_path: Path, changes: dict[str, Any], message: str):
    path = written(tmp_path, **changes)
    with pytest.raises(EffaceError, match=message) as caught:
        loaded(path, tiny=changes == {"results": None})
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_data_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = ["--set", f"results={tmp_path / 'results'}", "--set", "page=null"]
    monkeypatch.delenv("EFFACE_DATA", raising=False)
    assert "EFFACE_DATA is not set" in refused(str(SHIPPED), *settings)
    monkeypatch.setenv("EFFACE_DATA", str(tmp_path / "nowhere"))
    assert "data.orl.model.weights: " in (line := refused(str(SHIPPED), *settings)) and "--data" in line
    assert refused(str(SHIPPED), "--data", "lfw", *settings) == "--data: found 'lfw', expected one of: orl, people"
    kept = loaded(SHIPPED, (), ["people"])
    assert kept.scale is not None
    running._readable("people", kept.data["people"], kept.named("people"))  # everybody who is named is there
    with pytest.raises(EffaceError, match=r"data\.drawn: forget: found 'person-099'.*nearest name"):
        changed = DRAWN | {"tune": [["person-099"]]}
        small = loaded(written(tmp_path, data={"drawn": changed}))
        running.run(small, Results(small), 1, Quiet())
    with pytest.raises(EffaceError, match=r"data\.drawn: forget: found 'person-098'"):
        more = SMALL["scale"] | {"people": [*PEOPLE[8:11], "person-098"]}
        small = loaded(written(tmp_path, scale=more))
        running.run(small, Results(small), 1, Quiet())


@pytest.mark.usefixtures("one_process")
def test_the_shipped_configuration_runs_dry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EFFACE_DATA", raising=False)
    arguments = ["--tiny", "--set", f"results={tmp_path / 'r'}", "--set", "attacks=[prototype]"]
    said = CliRunner().invoke(app, ["benchmark", str(SHIPPED), *arguments])
    assert said.exit_code == 0, said.output
    assert len(list((tmp_path / "r-tiny").rglob("*.json"))) == rows.count(loaded(SHIPPED, arguments[2::2], tiny=True))
    assert not list(Path.cwd().glob("*-tiny")) and "drawn: the forgotten" in said.output


def test_the_choice_against_a_slow_formula():
    drawing = random.Random(0)

    def row(tar: float, far: float, admissible: bool, failed: bool) -> dict[str, Any]:
        numbers = {"forget": {TAR: {"value": tar}}, "impostors": {FAR: {"value": far}}}
        return {"numbers": numbers, "admissible": admissible and not failed, "failed": ["x"] if failed else []}

    for _ in range(300):
        tried = [
            row(
                drawing.randrange(20) / 20,
                drawing.choice((1e-5, 4e-5, 3e-4, 2e-3)),
                drawing.random() < 0.5,
                drawing.random() < 0.2,
            )
            for _ in range(drawing.randrange(1, 6))
        ]
        best, admissible = choose(tried)
        numbers = [(r["numbers"]["forget"][TAR]["value"], r["numbers"]["impostors"][FAR]["value"]) for r in tried]
        if admissible:
            allowed = [i for i in range(len(tried)) if tried[i]["admissible"]]
            assert best in allowed
            assert all(numbers[best][0] <= numbers[i][0] + EQUAL for i in allowed)
            rivals = [i for i in allowed if all(numbers[i][0] <= numbers[j][0] + EQUAL for j in allowed)]
            assert best == sorted(rivals, key=lambda i: (round(numbers[i][1], 4), numbers[i][0], i))[0]
        else:
            assert not any(one["admissible"] for one in tried)
            whole = [i for i in range(len(tried)) if not tried[i]["failed"]]
            assert best == (sorted(whole, key=lambda i: (numbers[i][1], i))[0] if whole else 0)


def test_the_last_block_alone_gives_the_whole_networks_embeddings(done: Path):
    import torch

    from efface import registry
    from efface.benchmark.recognition.measuring import Bench
    from efface.targets.recognition import RecognitionTarget

    bench = Bench(loaded(done / "small.yaml").data["drawn"])
    torch.testing.assert_close(bench.embed(bench.target), bench.target.embed(bench.crops.pixels))
    generator = torch.Generator().manual_seed(0)
    request = bench.request(bench.searches(tuple(PEOPLE[:2])).split, PEOPLE[:2])
    for name in ("esc", "noise"):  # one changes the last block, the other everything
        unlearned: RecognitionTarget = registry.get("methods.recognition", name)().unlearn(
            bench.target, request, generator
        )
        torch.testing.assert_close(bench.embed(unlearned), unlearned.embed(bench.crops.pixels), atol=1e-5, rtol=0)


def test_an_attack_that_fails_does_not_cost_the_row(done: Path, tmp_path: Path):
    from efface.benchmark.recognition.measuring import Bench, measure

    attacks = [{"name": "relearning", "learning_rate": 1e30, "steps": [0, 3], "people": 1}]
    path = written(tmp_path, attacks=["prototype", *attacks], results=str(done / "results"))
    config = loaded(path)
    task = rows.reported(config, Results(config), "drawn", "esc")
    assert task is not None
    group = measure(Bench(config.data["drawn"]), task)["groups"]["known"]
    (told,) = group["failed"]
    assert told.startswith("attacks on person-006, person-007, seed 0: step 2 of 3: found the loss")
    assert group["numbers"]["forget"][TAR]["n"] == 2 and set(group["attacks"]) == {"prototype"}


def test_the_page_of_nothing_is_empty(tmp_path: Path):
    config = loaded(written(tmp_path))
    assert tables.sections(config, Results(config)) == {}
