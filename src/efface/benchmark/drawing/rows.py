"""The rows of a benchmark of models that draw: what has to be measured."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from efface.benchmark.diffusion.configuration import DiffusionBenchmark, Portraits
from efface.benchmark.drawing.configuration import changed
from efface.benchmark.gan.configuration import GanBenchmark, Generators
from efface.benchmark.grids import People, label
from efface.benchmark.results import Results, Row
from efface.config import Named, plain
from efface.methods.anchors import Anchors

Benchmark = DiffusionBenchmark | GanBenchmark
Kind = Literal["references", "tune", "report", "ablations", "attacks", "several"]
SEVERAL = {"together": False, "one_after_another": True}
"""How several people are forgotten in one run -> whether one after another."""
REFERENCES = "references"
"""The row of the original model, of real photos and of strangers."""


@dataclass(frozen=True)
class Task(Row):
    """One row: a method at one setting on several people, each in a run of their own but for `several`, with several
    seeds."""

    kind: Kind
    people: People
    """Who is forgotten."""
    seeds: tuple[int, ...]
    anchor: Anchors | None
    """None for a model without anchors."""
    method: Named | None = None
    """None for what is not unlearned."""
    attacks: tuple[Named, ...] = ()
    one_after_another: bool = False
    """Of `several`."""

    def runs(self) -> tuple[People, ...]:
        """Who is forgotten in each run."""
        return (self.people,) if self.kind == "several" else tuple((person,) for person in self.people)

    def identity(self, data: Portraits | Generators) -> dict[str, Any]:
        """All that the result depends on, as JSON."""
        found = {
            "data": self.data,
            "model": plain(data.model),
            "shipped": [digest(named.weights) for named in (data.model, data.judge) if named and _ships(named)],
            "faces": plain(data.faces),
            "judge": plain(data.judge),
            "drawn": data.people,
            "kind": self.kind,
            "method": plain(self.method),
            "people": list(self.people),
            "seeds": list(self.seeds),
            **data.more(),
        }
        if data.detector:
            found["detector"] = plain(data.detector)
        if self.anchor:
            found["anchor"] = plain(self.anchor)
        if self.attacks:
            found["attacks"] = plain(self.attacks)
        if self.one_after_another:
            found["one_after_another"] = True
        return json.loads(json.dumps(found))


def _ships(named: Named) -> bool:
    return named.weights is not None and named.weights == getattr(named.value, "shipped", None)


@cache
def digest(weights: Path) -> str:
    """The first digits of the SHA-256 of a file, or of all safetensors of a folder: a new version of what comes with
    efface gives other results."""
    found = sha256()
    for path in sorted(weights.glob("*.safetensors")) if weights.is_dir() else [weights]:
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def tuning(config: Benchmark, data: str, method: str) -> list[Task]:
    """The rows of a method's settings; none on a data set that takes over what is chosen on another."""
    own, grid = config.data[data], config.methods[method]
    if not own.tune:
        return []
    names = ["-".join([method, *label(setting, grid).split(", ")]) for setting in grid.settings]
    return [
        Task(f"{data}/tune/{name}.json", data, "tune", own.tune, own.seeds[:1], own.anchor, setting)
        for name, setting in zip(names, grid.settings, strict=True)
    ]


def chosen(config: Benchmark, results: Results, data: str, method: str) -> tuple[Named, bool] | None:
    """A method as it is reported, and whether that setting is admissible; None where its settings have not all been
    measured yet."""
    found = [results.get(task) for task in tuning(config, config.chosen_on(data), method)]
    if any(content is None for content in found):
        return None
    best, admissible = config.choose([content for content in found if content])
    return config.methods[method].settings[best], admissible


def references(config: Benchmark, data: str) -> list[Task]:
    """The rows of the original model: its pictures, and where there are any what attacks find in it."""
    own = config.data[data]
    found = [Task(f"{data}/report/{REFERENCES}.json", data, "references", own.report, own.seeds, own.anchor)]
    if config.attacked and own.tune:
        found.append(_attacked(config, data, REFERENCES, None))
    return found


def reported(config: Benchmark, results: Results, data: str, method: str) -> Task | None:
    """The row of a method at its chosen setting; None where that is not known yet."""
    setting, own = chosen(config, results, data, method), config.data[data]
    if setting is None:
        return None
    people, seeds, fewer = own.report, own.seeds, config.fewer_on(data)
    if fewer and method in fewer.methods:
        people, seeds = people[: fewer.people], seeds[:1]
    return Task(f"{data}/report/{method}.json", data, "report", people, seeds, own.anchor, setting[0])


def attacked(config: Benchmark, results: Results, data: str, method: str) -> Task | None:
    """The row of a method that is attacked; None where none is, and where its setting is not known yet."""
    if config.attacked is None or not config.data[data].tune:
        return None
    setting = chosen(config, results, data, method)
    return _attacked(config, data, method, setting[0]) if setting else None


def _attacked(config: Benchmark, data: str, name: str, method: Named | None) -> Task:
    assert config.attacked is not None
    own = config.data[data]
    people, attacks = own.report[: config.attacked.people], config.attacked.attacks
    return Task(f"{data}/attacks/{name}.json", data, "attacks", people, own.seeds[:1], own.anchor, method, attacks)


def ablations(config: Benchmark, results: Results, data: str) -> dict[str, dict[str, Task]]:
    """Group -> title -> row; what is the same method and anchor under several titles is one row. Empty where the
    method's setting is not known yet."""
    if config.ablations is None or not config.data[data].tune:
        return {}
    setting = chosen(config, results, data, config.ablations.method)
    return _ablations(config, data, setting[0]) if setting else {}


def _ablations(config: Benchmark, data: str, setting: Named) -> dict[str, dict[str, Task]]:
    assert config.ablations is not None
    own, people = config.data[data], config.ablations.people
    first: dict[str, Task] = {}
    found: dict[str, dict[str, Task]] = {}
    for group, changes in config.ablations.groups.items():
        for title, change in changes.items():
            method, anchor = changed(setting, change), change.anchor or own.anchor
            file = f"{data}/ablations/{group}-{title}.json"
            task = Task(file, data, "ablations", people, own.seeds[:1], anchor, method)
            found.setdefault(group, {})[title] = first.setdefault(json.dumps(plain((method, anchor))), task)
    return found


def several(config: Benchmark, results: Results, data: str) -> dict[str, dict[str, Task]]:
    """Method -> how -> row of several people in one run; those of methods whose setting is known."""
    asked, own = config.several, config.data[data]
    if asked is None or not own.tune:
        return {}
    found: dict[str, dict[str, Task]] = {}
    for method in asked.methods:
        setting = chosen(config, results, data, method)
        if setting is None:
            continue
        for how, in_turn in SEVERAL.items():
            file = f"{data}/several/{method}-{how}.json"
            found.setdefault(method, {})[how] = Task(
                file, data, "several", asked.people, own.seeds[:1], own.anchor, setting[0], one_after_another=in_turn
            )
    return found


def tasks(config: Benchmark, results: Results) -> Iterator[Task]:
    """All rows that can be told now: what depends on the choice of a setting comes up when all settings have been
    measured, before those of the next method."""
    for data in config.data:
        yield from references(config, data)
        for method in config.methods_on(data):
            yield from tuning(config, data, method)
            for task in (reported(config, results, data, method), attacked(config, results, data, method)):
                if task:
                    yield task
        yield from _once(ablations(config, results, data))
        for rows in several(config, results, data).values():
            yield from rows.values()


def _once(groups: Mapping[str, Mapping[str, Task]]) -> Collection[Task]:
    return {task.file: task for group in groups.values() for task in group.values()}.values()


def count(config: Benchmark) -> int:
    """How many rows there are in all, as far as can be told before the ablated method's setting is chosen."""
    found = 0
    for data, own in config.data.items():
        methods = config.methods_on(data)
        found += 1 + len(methods)
        if own.tune:
            found += sum(len(config.methods[method].settings) for method in methods)
            found += len(methods) + 1 if config.attacked else 0
            found += len(SEVERAL) * len(config.several.methods) if config.several else 0
            if config.ablations:
                first = config.methods[config.ablations.method].settings[0]
                found += len(_once(_ablations(config, data, first)))
    return found
