"""All numbers of a run, for every model and group: what audit.json and people.csv hold (docs/audit.md)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.faces.splits import Split
from efface.metrics.bootstrap import bootstrap
from efface.metrics.floor import FLOOR_METRICS
from efface.metrics.harm import drops, equal_harm, worst
from efface.metrics.metric import FARS, FPIRS, Metric, audited_metrics, rate_text
from efface.metrics.protocol import GROUPS, Evaluation
from efface.metrics.rows import Row, rows_of, write_rows

FLOOR = "floor."
"""What the model of a floor's row begins with."""
ATTACKS = "attacks."
"""What the metric of an attack's row begins with."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What was measured. Nothing in it is nan: what could not be measured is None."""

    models: dict[str, dict[str, dict[str, dict[str, Any]]]]
    """models.<model>.<group>.<metric> = {value, low, high, n, n_trials}."""
    floor: dict[str, dict[str, dict[str, dict[str, Any]]]]
    """floor.<name>.<group>.<metric>, as in `models`."""
    attacks: dict[str, dict[str, dict[str, dict[str, dict[str, Any]]]]]
    """attacks.<name>.<forget|control>.<number>.<model>, as in `models`; empty where none was tried."""
    worst: dict[str, dict[str, dict[str, Any]]]
    """worst.<model>.<metric> = {person, group, value, original}."""
    drops: dict[str, dict[str, float | None]]
    """drops.<group>.<metric>, in points."""
    equal_harm: dict[str, Any] | None
    """The gate "at equal harm"."""
    groups: dict[str, list[str]]
    """Who is in which group."""
    neighbours: dict[str, list[str]]
    """Forgotten person -> look-alikes."""
    thresholds: dict[str, dict[str, dict[str, Any]]]
    """thresholds.<model>.<far|fpir>=<rate> = {value, n_trials}; those of `original` are the frozen ones."""
    people: list[Row]
    """The rows of people.csv."""
    evaluations: dict[str, Evaluation]
    """The searches and scores behind the numbers of each model, for pictures."""

    def as_dict(self) -> dict[str, Any]:
        """What audit.json holds of it: nothing but strings, finite numbers, booleans, None, lists and mappings."""
        names = ("models", "floor", "attacks", "worst", "drops", "equal_harm", "groups", "neighbours", "thresholds")
        return {name: getattr(self, name) for name in names}

    def write_people(self, path: Path) -> None:
        """Write people.csv."""
        write_rows(path, self.people)


def audit(
    split: Split,
    embeddings: Mapping[str, Tensor],
    generator: torch.Generator,
    *,
    floors: Mapping[str, Tensor] | None = None,
    distractors: Mapping[str, np.ndarray] | None = None,
) -> Audit:
    """Measure every model on the same photos.

    embeddings: unit embeddings [n, d] of all crops by model: `original`, and any of `unlearned` and `retrained`.
    generator: of the bootstrap. floors: unit vectors [n, d] of matchers without identity, such as `raw_pixels` and
    `random_network`; each has thresholds of its own. distractors: model -> unit rows [m, d] of strangers under that
    model (may be a np.memmap), which join the gallery of every rank.
    Raises EffaceError for embeddings that are not unit rows, or not one for each photo.
    """
    if "original" not in embeddings:
        raise EffaceError(f"embeddings: found {sorted(embeddings)}, expected `original` among them")
    given = distractors or {}
    original = Evaluation(split, embeddings["original"], distractors=given.get("original"))
    evaluations = {"original": original}
    for name in embeddings:
        if name != "original":
            evaluations[name] = Evaluation(split, embeddings[name], original, distractors=given.get(name))
    matchers = {FLOOR + f: Evaluation(split, e, neighbours=original.neighbours) for f, e in (floors or {}).items()}
    metrics = audited_metrics()
    few = {key: metric for key, metric in metrics.items() if key in FLOOR_METRICS}
    rows = [row for name, e in evaluations.items() for row in _measured(name, e, metrics)]
    rows += [row for name, e in matchers.items() for row in _measured(name, e, few)]
    concluded = conclude(rows, generator)
    for name in evaluations:
        _complete(concluded["models"].setdefault(name, {}), metrics)
    return Audit(
        **concluded,
        groups={group: list(original.group(group)) for group in GROUPS},
        neighbours={person: list(near) for person, near in original.neighbours.items()},
        thresholds={name: _thresholds(e) for name, e in (evaluations | matchers).items()},
        people=rows,
        evaluations=evaluations,
    )


def _measured(model: str, evaluation: Evaluation, metrics: Mapping[str, Metric]) -> Iterable[Row]:
    for key, metric in metrics.items():
        for group in metric.groups:
            yield from rows_of(model, group, key, metric.measure(evaluation, group))


def _complete(groups: dict[str, dict[str, Any]], metrics: Mapping[str, Metric]) -> None:
    """A group with nobody in it has all its numbers, and they are null."""
    for key, metric in metrics.items():
        for group in metric.groups:
            groups.setdefault(group, {}).setdefault(key, figure([], metric, 0))


def _thresholds(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    sources = {"far": (evaluation.impostors, FARS), "fpir": (evaluation.non_mated, FPIRS)}
    return {
        f"{name}={rate_text(rate)}": {"value": scores.threshold(rate), "n_trials": scores.total}
        for name, (scores, rates) in sources.items()
        for rate in rates
    }


def conclude(rows: Sequence[Row], generator: torch.Generator) -> dict[str, Any]:
    """What follows from people's numbers: `models`, `floor`, `attacks`, `worst`, `drops` and `equal_harm` of an
    audit."""
    metrics = audited_metrics()
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.group, row.metric), []).append(row)
    # every interval draws from the same seed: adding a number does not change the others'
    seed = int(torch.randint(2**62, (), generator=generator))
    models: dict[str, Any] = {}
    floor: dict[str, Any] = {}
    attacks: dict[str, Any] = {}
    for (model, group, metric), members in groups.items():
        if metric.startswith(ATTACKS):
            name, _, number = metric.removeprefix(ATTACKS).partition(".")
            numbers = attacks.setdefault(name, {}).setdefault(group, {}).setdefault(number, {})
            numbers[model] = figure(members, None, seed)
            continue
        home = floor if model.startswith(FLOOR) else models
        numbers = home.setdefault(model.removeprefix(FLOOR), {}).setdefault(group, {})
        numbers[metric] = figure(members, metrics.get(metric), seed)
    fallen = drops(models, metrics)
    people = [row for row in rows if not row.model.startswith(FLOOR)]
    return {
        "models": models,
        "floor": floor,
        "attacks": attacks,
        "worst": worst(people, metrics),
        "drops": fallen,
        "equal_harm": equal_harm(models, fallen),
    }


def figure(rows: Sequence[Row], metric: Metric | None, seed: int) -> dict[str, Any]:
    """{value, low, high, n, n_trials} of one group. `n` counts people with at least one trial; without any value the
    number is null."""
    shared = metric is not None and metric.pairs_of_people
    tried = [row for row in rows if row.n_trials]
    counts = {"n": len(tried), "n_trials": sum(row.n_trials for row in tried) // (2 if shared else 1)}
    found = [row for row in tried if row.value is not None]
    if not found:
        return {"value": None, "low": None, "high": None, **counts}
    values = np.array([row.value for row in found], np.float64)
    weights = np.array([row.n_trials if shared else 1 for row in found], np.float64)
    low, high = bootstrap(values, torch.Generator().manual_seed(seed), weights)
    return {"value": float((values * weights).sum() / weights.sum()), "low": low, "high": high, **counts}


def pool(runs: Iterable[Iterable[Row]], generator: torch.Generator) -> dict[str, Any]:
    """Several sets and seeds as one audit: a person's number is the mean over the runs in which it was measured in that
    group, a group's the mean over its people (protocol, line 14). Returns what `conclude` returns."""
    return conclude(averaged(runs), generator)


def averaged(runs: Iterable[Iterable[Row]]) -> list[Row]:
    """The rows of several runs as those of one: a person's number is the mean over the runs in which it was measured in
    that group."""
    collected: dict[tuple[str, str, str, str], list[Row]] = {}
    for run in runs:
        for row in run:
            collected.setdefault((row.model, row.group, row.person, row.metric), []).append(row)
    rows = []
    for (model, group, person, metric), same in collected.items():
        values = [row.value for row in same if row.value is not None]
        mean = math.fsum(values) / len(values) if values else None
        counted = [row.n_trials for row in same if row.value is not None or not values]
        rows.append(Row(model, group, person, metric, mean, sum(counted)))
    return rows
