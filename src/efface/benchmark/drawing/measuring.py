"""From a row's task to its result: every run of it, pooled."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from efface.benchmark.cost import mean_cost
from efface.benchmark.diffusion.configuration import Portraits
from efface.benchmark.drawing.rows import Task
from efface.benchmark.gan.configuration import Generators
from efface.benchmark.grids import People
from efface.benchmark.results import Content
from efface.errors import EffaceError
from efface.metrics import generation
from efface.metrics.audit import averaged
from efface.metrics.rows import Row
from efface.metrics.subjects import Pictures

FACES = 2
"""Forgotten people of a row whose pictures are kept, and their look-alikes'."""
PICTURED = ("references", "report")
"""Kinds of rows that keep them."""
FEATURES = "features"
"""Of `Pictures`, computed when they are asked for."""
Numbers = Mapping[str, Mapping[str, Any]]
"""Group -> metric -> number."""


class Measured(NamedTuple):
    """What one run gave."""

    rows: Sequence[Row]
    """Person by person."""
    cost: Mapping[str, Any] | None
    """None where nothing was unlearned."""
    line: Mapping[str, Any]
    """The run in a line: whom it was about, and the numbers that decide; of attacks nothing."""
    shown: Tensor
    """uint8 [n, 3, size, size], pictures of a forgotten person and of the nearest look-alike."""


class Bench(Protocol):
    """The model, everybody's photos as it sees them, and what the original model draws; one a data set and process."""

    @property
    def data(self) -> Portraits | Generators: ...

    def measured(self, task: Task, people: People, seed: int) -> Measured:
        """One run of a row. Raises EffaceError where a method refuses or ruins the model, or an attack refuses."""
        ...


class Kept(NamedTuple):
    """What a result keeps of what was measured."""

    groups: Sequence[str]
    numbers: Sequence[str]
    admissible: Callable[[Mapping[str, Any]], bool]
    """The audit of the runs -> whether the setting may be chosen."""
    summary: bool = False
    """Whether what follows from two groups' numbers is kept too."""


def pooled(bench: Bench, task: Task, kept: Kept) -> Content:
    """The result of a row: the caller adds what it is the result of. What a run refuses is recorded in `failed`.
    Pictures are kept of people who never existed alone: results are passed on, and a likeness of somebody real is not
    ours to pass on."""
    runs: list[Sequence[Row]] = []
    costs: list[Mapping[str, Any]] = []
    failed: list[str] = []
    each: list[Mapping[str, Any]] = []
    shown: list[Tensor] = []
    for people in task.runs():
        for seed in task.seeds:
            try:
                found = bench.measured(task, people, seed)
            except EffaceError as error:
                failed.append(f"{', '.join(people)}, seed {seed}: {error}")
                continue
            runs.append(found.rows)
            each.append(found.line)
            costs += [] if found.cost is None else [found.cost]
            if people[0] in task.people[:FACES] and seed == task.seeds[0]:
                shown.append(found.shown)
    content: Content = {"failed": failed, "cost": mean_cost(costs)}
    if not runs:
        return content | {"numbers": None, "admissible": False}
    concluded = generation.conclude(averaged(runs), seeded())
    if task.kind == "attacks":
        return content | {"attacks": _attacks(concluded["attacks"])}
    pictured = task.kind in PICTURED and not failed and hasattr(bench.data.faces.value, "nobody")
    content |= {"runs": each} | ({"picture": _sheet(shown)} if pictured else {})
    if task.method is None:
        return content | _original(concluded, kept)
    passes = kept.admissible(concluded) and not failed
    after, before = (_of_model(concluded, model, kept) for model in ("unlearned", "original"))
    return content | after | {"original": before, "admissible": passes}


def _original(concluded: Mapping[str, Any], kept: Kept) -> Content:
    """Numbers of the original model, of real photos and of strangers, by everybody who scores."""
    return _of_model(concluded, "original", kept) | {
        "controls": {name: _kept(groups, kept) for name, groups in concluded["controls"].items()},
        "judges_controls": {
            judge: {name: _kept(groups, kept) for name, groups in block["controls"].items()}
            for judge, block in concluded["judges"].items()
        },
    }


def _of_model(concluded: Mapping[str, Any], model: str, kept: Kept) -> Content:
    more = {"summary": concluded["summary"][model]} if kept.summary else {}
    judges = {judge: _kept(block["models"][model], kept) for judge, block in concluded["judges"].items()}
    return {"numbers": _kept(concluded["models"][model], kept), **more, "judges": judges}


def _kept(groups: Numbers, kept: Kept) -> dict[str, dict[str, Any]]:
    return {g: {m: groups[g][m] for m in kept.numbers if m in groups[g]} for g in kept.groups if g in groups}


def _attacks(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """attack -> forget or control -> number -> value."""
    return {
        attack: {
            group: {n: models["attacked"]["value"] for n, models in numbers.items()} for group, numbers in g.items()
        }
        for attack, g in found.items()
    }


def _sheet(shown: Sequence[Tensor]) -> bytes:
    """A JPEG of all pictures side by side."""
    row = torch.cat(list(shown)).permute(2, 0, 3, 1).flatten(1, 2)
    file = io.BytesIO()
    Image.fromarray(row.contiguous().numpy()).save(file, "JPEG", quality=88)
    return file.getvalue()


def taken(pictures: Pictures, rows: Tensor) -> Pictures:
    """Some of the pictures, with their features where these are computed already."""
    people = tuple(pictures.people[i] for i in rows)
    embeddings = {scorer: e[rows] for scorer, e in pictures.embeddings.items()}
    some = Pictures(pictures.pixels[rows], people, pictures.crops[rows], pictures.found[rows], embeddings)
    if FEATURES in vars(pictures):
        vars(some)[FEATURES] = pictures.features[rows]
    return some


def joined(parts: Sequence[Pictures]) -> Pictures:
    """Pictures of several parts, one part after another, with their features where all have them already."""
    whole = Pictures(
        torch.cat([p.pixels for p in parts]),
        tuple(who for p in parts for who in p.people),
        torch.cat([p.crops for p in parts]),
        torch.cat([p.found for p in parts]),
        {scorer: torch.cat([p.embeddings[scorer] for p in parts]) for scorer in parts[0].embeddings},
    )
    if all(FEATURES in vars(p) for p in parts):
        vars(whole)[FEATURES] = torch.cat([p.features for p in parts])
    return whole


def seeded(seed: int = 0) -> torch.Generator:
    """A generator at a seed."""
    return torch.Generator().manual_seed(seed)
