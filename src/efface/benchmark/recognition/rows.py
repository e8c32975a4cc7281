"""The rows of a benchmark of recognisers: what has to be measured, and the file that each result is kept in."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from efface.benchmark.grids import People, label
from efface.benchmark.recognition.choice import choose
from efface.benchmark.recognition.configuration import DataSet, RecognitionBenchmark
from efface.benchmark.results import Results, Row
from efface.config import Named, plain

Kind = Literal["references", "retrained", "tune", "report", "at_once", "one_after_another", "photos"]
REFERENCES = "references"
"""The row of the original model and of the matchers without identity."""
RETRAINED = "retrained"
"""The row of the models that were trained without the forgotten people."""


@dataclass(frozen=True)
class Task(Row):
    """One row: a method at one setting on several sets of people with several seeds."""

    kind: Kind
    sets: Mapping[str, tuple[People, ...]]
    """Group -> sets of people to forget."""
    seeds: tuple[int, ...]
    method: Named | None = None
    """None for what is not unlearned."""
    attacks: tuple[Named, ...] = ()
    attacked_sets: int = 0
    seen: int | None = None
    """Photos of each person to forget that the method is given; None: all seen ones."""

    def identity(self, data: DataSet) -> dict[str, Any]:
        """All that the result depends on, as JSON; a result with another one is of another configuration."""
        tried = {} if not self.attacks else {"attacks": plain(self.attacks), "attacked_sets": self.attacked_sets}
        retrained = {"retrained": plain(data.retrained)} if self.kind == RETRAINED else {}
        found = {
            "data": self.data,
            "model": plain(data.model),
            "faces": plain(data.faces),
            "fpir": data.fpir,
            "kind": self.kind,
            "method": plain(self.method),
            "sets": plain(self.sets),
            "seeds": list(self.seeds),
            "seen": self.seen,
        }
        return json.loads(json.dumps(found | tried | retrained))


def tuning(config: RecognitionBenchmark, data: str, method: str) -> list[Task]:
    """The rows of a method's settings on a data set."""
    own, grid = config.data[data], config.methods[method]
    return [
        Task(
            file=f"{data}/tune/{'-'.join([method, *label(setting, grid).split(', ')])}.json",
            data=data,
            kind="tune",
            sets={"tune": own.tune},
            seeds=own.seeds[:1],
            method=setting,
        )
        for setting in grid.settings
    ]


def chosen(config: RecognitionBenchmark, results: Results, data: str, method: str) -> tuple[Named, bool] | None:
    """A method as it is reported on a data set, and whether that setting is admissible (variants and controls are not
    asked); None where its settings have not all been measured yet."""
    given = config.variants | {control.name: control for control in config.controls}
    if method in given:
        return given[method], True
    tasks = tuning(config, data, method)
    found = [results.get(task) for task in tasks]
    if any(content is None for content in found):
        return None
    best, admissible = choose([content["groups"]["tune"] for content in found if content])
    return config.methods[method].settings[best], admissible


def methods(config: RecognitionBenchmark) -> list[str]:
    """All methods of the tables by title, variants and controls last."""
    return [*config.methods, *config.variants, *(control.name for control in config.controls)]


def references(config: RecognitionBenchmark, data: str) -> list[Task]:
    """The rows of what is not unlearned: the original model with the floors, and retrained models where there are."""
    own = config.data[data]
    tried = {"attacks": config.attacks, "attacked_sets": config.attacked_sets if config.attacks else 0}
    tasks = [Task(f"{data}/report/{REFERENCES}.json", data, "references", own.report, own.seeds, **tried)]
    if own.retrained:
        sets = {group: own.report[group] for group in own.retrained}
        tasks.append(Task(f"{data}/report/{RETRAINED}.json", data, "retrained", sets, own.seeds[:1], **tried))
    return tasks


def reported(config: RecognitionBenchmark, results: Results, data: str, method: str) -> Task | None:
    """The row of a method at its chosen setting; None where that is not known yet."""
    setting, own = chosen(config, results, data, method), config.data[data]
    if setting is None:
        return None
    attacks = () if method in config.variants else config.attacks
    return Task(
        f"{data}/report/{method}.json", data, "report", own.report, own.seeds, setting[0],
        attacks, config.attacked_sets if attacks else 0,
    )  # fmt: skip


def scaled(config: RecognitionBenchmark, results: Results, method: str) -> list[Task]:
    """The rows of many people; none where the method's setting is not known yet."""
    scale = config.scale
    setting = chosen(config, results, scale.data, method) if scale else None
    if scale is None or setting is None:
        return []
    seeds = config.data[scale.data].seeds[:1]
    tasks = [
        Task(
            f"{scale.data}/scale/{method}-{count}-at-once.json", scale.data, "at_once",
            {"at once": (scale.people[:count],)}, seeds, setting[0],
        )
        for count in scale.at_once
    ]  # fmt: skip
    count = scale.one_after_another
    file = f"{scale.data}/scale/{method}-{count}-one-after-another.json"
    sets = {"one after another": (scale.people[:count],)}
    return [*tasks, Task(file, scale.data, "one_after_another", sets, seeds, setting[0])]


def few_photos(config: RecognitionBenchmark, results: Results, method: str) -> list[Task]:
    """The rows of few photos; none where the method's setting is not known yet."""
    photos = config.photos
    setting = chosen(config, results, photos.data, method) if photos else None
    if photos is None or setting is None:
        return []
    own = config.data[photos.data]
    group = next(iter(own.report))
    return [
        Task(
            f"{photos.data}/photos/{method}-{seen}.json", photos.data, "photos",
            {group: own.report[group]}, own.seeds[:1], setting[0], seen=seen,
        )
        for seen in photos.seen
    ]  # fmt: skip


def tasks(config: RecognitionBenchmark, results: Results) -> Iterator[Task]:
    """All rows that can be told now: what depends on the choice of a setting comes up when all settings have been
    measured, before those of the next method."""
    for data in config.data:
        yield from references(config, data)
        for method in methods(config):
            if method in config.methods:
                yield from tuning(config, data, method)
            if task := reported(config, results, data, method):
                yield task
    for method in config.scale.methods if config.scale else ():
        yield from scaled(config, results, method)
    for method in config.photos.methods if config.photos else ():
        yield from few_photos(config, results, method)


def count(config: RecognitionBenchmark) -> int:
    """How many rows there are in all."""
    tuned = sum(len(grid.settings) + 1 for grid in config.methods.values()) + len(methods(config)) - len(config.methods)
    found = sum(len(references(config, data)) + tuned for data in config.data)
    if config.scale:
        found += len(config.scale.methods) * (len(config.scale.at_once) + 1)
    if config.photos:
        found += len(config.photos.methods) * len(config.photos.seen)
    return found
