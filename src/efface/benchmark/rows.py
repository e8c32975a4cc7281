"""The rows of a benchmark: what has to be measured, and the file that each result is kept in."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import efface
from efface.benchmark.choice import choose
from efface.benchmark.configuration import BenchmarkConfig, DataSet, Grid, People
from efface.config import Named, plain
from efface.errors import EffaceError
from efface.folder import write_text

Kind = Literal["references", "retrained", "tune", "report", "at_once", "one_after_another", "photos"]
Content = dict[str, Any]
"""What a result's file holds."""
REFERENCES = "references"
"""The row of the original model and of the matchers without identity."""
RETRAINED = "retrained"
"""The row of the models that were trained without the forgotten people."""


@dataclass(frozen=True)
class Task:
    """One row: a method at one setting on several sets of people with several seeds."""

    file: str
    """Where its result is, below the folder of results."""
    data: str
    """The data set's name."""
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

    @property
    def title(self) -> str:
        """For people: the file without its ending."""
        return self.file.removesuffix(".json")

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


class Results:
    """The folder of results, as far as they are of this configuration.

    again: results of another configuration, and damaged ones, count as not there.
    """

    def __init__(self, config: BenchmarkConfig, again: bool = False) -> None:
        self.config, self.again = config, again
        self._read: dict[str, Content | None] = {}

    def path(self, task: Task) -> Path:
        """The file of a row."""
        return self.config.results / task.file

    def get(self, task: Task) -> Content | None:
        """The result of a row; None where there is none. Raises EffaceError where it is of another configuration or
        damaged."""
        if self._read.get(task.file) is None or self._read[task.file]["row"] != self._identity(task):  # pyright: ignore
            self._read[task.file] = self._checked(task)
        return self._read[task.file]

    def keep(self, task: Task, found: Content) -> Content:
        """Write a result, whole or not at all."""
        content = {"row": self._identity(task), "efface": efface.__version__} | _short(found)
        path = self.path(task)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, _written(content))
        except OSError as error:
            raise EffaceError(f"{path}: cannot be written ({error.strerror}); free the disk or set results") from error
        self._read[task.file] = content
        return content

    def _identity(self, task: Task) -> dict[str, Any]:
        return task.identity(self.config.data[task.data])

    def _checked(self, task: Task) -> Content | None:
        path = self.path(task)
        if not path.exists():
            return None
        hint = "remove it, or pass --again, which measures it anew"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = isinstance(content, dict) and isinstance(content.get("row"), dict) and "groups" in content
        except (OSError, ValueError) as error:
            if self.again:
                return None
            raise EffaceError(f"{path}: cannot be read as a result ({error}); {hint}") from error
        wanted = self._identity(task)
        different = _differences(content["row"], wanted) if known else ["it is no result of a benchmark"]
        if not different:
            return content
        if self.again:
            return None
        raise EffaceError(f"{path}: found a result of another configuration ({'; '.join(different)}); {hint}")


def _differences(found: Any, wanted: Any, key: str = "") -> list[str]:
    """What differs, by dotted key."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        nested = (_differences(found.get(k), wanted.get(k), f"{key}.{k}" if key else k) for k in keys)
        return [line for lines in nested for line in lines]
    if found == wanted:
        return []
    told = [json.dumps(value, ensure_ascii=False) for value in (found, wanted)]
    if max(map(len, told)) > 40:
        return [f"{key} differs"]
    return [f"{key} is {told[0]}, now {told[1]}"]


def _written(content: Content) -> str:
    """JSON with a line for each innermost mapping or list."""
    lines = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[{\[][^{}\[\]]*[}\]]", lambda inner: re.sub(r"\n\s*", " ", inner[0]), lines) + "\n"


def _short(value: Any) -> Any:
    """Numbers with six digits that count."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value


def label(method: Named, grid: Grid) -> str:
    """What tells a setting from the others of its grid: `learning_rate=0.001, retain_weight=20.0`."""
    return ", ".join(f"{field}={getattr(method.value, field)}" for field in grid.varied) or "as it ships"


def tuning(config: BenchmarkConfig, data: str, method: str) -> list[Task]:
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


def chosen(config: BenchmarkConfig, results: Results, data: str, method: str) -> tuple[Named, bool] | None:
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


def methods(config: BenchmarkConfig) -> list[str]:
    """All methods of the tables by title, variants and controls last."""
    return [*config.methods, *config.variants, *(control.name for control in config.controls)]


def references(config: BenchmarkConfig, data: str) -> list[Task]:
    """The rows of what is not unlearned: the original model with the floors, and retrained models where there are."""
    own = config.data[data]
    tried = {"attacks": config.attacks, "attacked_sets": config.attacked_sets if config.attacks else 0}
    tasks = [Task(f"{data}/report/{REFERENCES}.json", data, "references", own.report, own.seeds, **tried)]
    if own.retrained:
        sets = {group: own.report[group] for group in own.retrained}
        tasks.append(Task(f"{data}/report/{RETRAINED}.json", data, "retrained", sets, own.seeds[:1], **tried))
    return tasks


def reported(config: BenchmarkConfig, results: Results, data: str, method: str) -> Task | None:
    """The row of a method at its chosen setting; None where that is not known yet."""
    setting, own = chosen(config, results, data, method), config.data[data]
    if setting is None:
        return None
    attacks = () if method in config.variants else config.attacks
    return Task(
        f"{data}/report/{method}.json", data, "report", own.report, own.seeds, setting[0],
        attacks, config.attacked_sets if attacks else 0,
    )  # fmt: skip


def scaled(config: BenchmarkConfig, results: Results, method: str) -> list[Task]:
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


def few_photos(config: BenchmarkConfig, results: Results, method: str) -> list[Task]:
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


def tasks(config: BenchmarkConfig, results: Results) -> Iterator[Task]:
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


def count(config: BenchmarkConfig) -> int:
    """How many rows there are in all."""
    tuned = sum(len(grid.settings) + 1 for grid in config.methods.values()) + len(methods(config)) - len(config.methods)
    found = sum(len(references(config, data)) + tuned for data in config.data)
    if config.scale:
        found += len(config.scale.methods) * (len(config.scale.at_once) + 1)
    if config.photos:
        found += len(config.photos.methods) * len(config.photos.seen)
    return found
