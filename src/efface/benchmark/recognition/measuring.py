"""From a row's task to its numbers: unlearn, embed, search, pool. One `Bench` a data set and process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from efface.attacks.attack import Attack, Subject
from efface.attacks.attempts import attempt_rows
from efface.benchmark.cost import costed, mean_cost
from efface.benchmark.grids import People
from efface.benchmark.recognition.choice import FAR, MOST_FAR_OF_A_SET, TAR
from efface.benchmark.recognition.configuration import DataSet
from efface.benchmark.recognition.rows import Task
from efface.benchmark.results import Content
from efface.config import Named
from efface.errors import EffaceError
from efface.faces.alignment import align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.splits import Split, split
from efface.methods.seen import LastBlocks
from efface.methods.unlearner import Request
from efface.metrics.audit import pool
from efface.metrics.floor import pixel_embeddings, random_network_embeddings
from efface.metrics.metric import Metric, audited_metrics
from efface.metrics.protocol import Evaluation
from efface.metrics.recognition.misidentified import Misidentified
from efface.metrics.rows import Row, rows_of
from efface.report.numbers import COARSE_MARK
from efface.targets.recognition import RecognitionTarget

TAR_MULTI = "tar_multi@far=1e-3"
RECOGNISED = ("rank1", TAR)
WANTED: dict[str, tuple[str, ...]] = {
    "forget": (*RECOGNISED, "rank1_multi", TAR_MULTI, "tar_recalibrated@far=1e-3", "compactness_nearest"),
    "forget_seen": (TAR,),
    "retain": (*RECOGNISED, "template_drift", "cross_version_rank1"),
    "holdout": RECOGNISED,
    "neighbours": RECOGNISED,
    "impostors": (FAR,),
}
"""Group -> the numbers that are kept; `misidentified` of forgotten and held-out people beside them."""
FLOOR = (*RECOGNISED, "rank1_multi", TAR_MULTI)
"""Numbers of the forgotten by a matcher without identity."""
OF_A_SET = {"forget": RECOGNISED, "impostors": (FAR,)}
"""Numbers that are also kept for each set."""


class Bench:
    """A data set's crops and its recogniser, with what enters the last block for every crop, and the original model's
    searches for each set of people to forget. Raises EffaceError where something of it is not there."""

    def __init__(self, data: DataSet) -> None:
        self.data = data
        detector = None if data.detector is None else Detector.load(data.detector)
        cache = None if detector is None else CropCache.default()
        self.crops: Crops = align(data.faces.value.read(), detector, cache)[0]
        self.target = load(data.model)
        self.entering, self.original = LastBlocks(self.target, 1).entering(self.crops.pixels)
        self.metrics = audited_metrics() | {m.key: m for m in (Misidentified(fpir=data.fpir),)}
        self.wanted = {group: list(keys) for group, keys in WANTED.items()}
        for group in Misidentified.groups:
            self.wanted[group].append(Misidentified(fpir=data.fpir).key)
        self._evaluations: dict[People, Evaluation] = {}

    def searches(self, people: People) -> Evaluation:
        """The original model's searches where these people are forgotten."""
        if people not in self._evaluations:
            found = Evaluation(split(self.crops, people), self.original)
            if found.impostors.threshold(1e-3) is None:
                raise EffaceError(
                    f"found {found.impostors.total:,} pairs of photos of held-out people, expected at least 10,000: a "
                    "false accept rate of 1e-3 cannot be told from fewer; give photos of more people"
                )
            self._evaluations[people] = found
        return self._evaluations[people]

    def request(self, parts: Split, people: Iterable[str], seen: int | None = None) -> Request:
        """The seen photos of these people to forget (the first `seen` of each), and of the retained."""
        forget = [i for p in people for i in parts.seen[p][:seen]]
        retain = [i for p in parts.retain for i in parts.seen[p]]
        return Request(self.crops.take(forget), self.crops.take(retain))

    @torch.no_grad()
    def embed(self, unlearned: RecognitionTarget) -> Tensor:
        """All crops' embeddings; only the last block runs where only it has changed."""
        last = LastBlocks(unlearned, 1)
        old, new = self.target.network.state_dict(), unlearned.network.state_dict()
        own = {id(t) for t in last.tail.state_dict(keep_vars=True).values()}
        kept = [n for n, t in last.clone.network.state_dict(keep_vars=True).items() if id(t) not in own]
        if old.keys() != new.keys() or any(not torch.equal(old[n], new[n]) for n in kept):
            return unlearned.embed(self.crops.pixels)
        return torch.cat([last(chunk) for chunk in self.entering.split(128)])

    def rows(self, model: str, evaluation: Evaluation) -> list[Row]:
        """People's numbers under one model."""
        return list(_rows(model, evaluation, self.metrics, self.wanted))


def load(model: Named) -> RecognitionTarget:
    """The recogniser of a configuration, on the processor."""
    assert model.weights is not None
    return RecognitionTarget.load(model.name, model.weights, **model.fields())


def _rows(
    model: str, evaluation: Evaluation, metrics: Mapping[str, Metric], wanted: Mapping[str, Iterable[str]]
) -> Iterator[Row]:
    for group, keys in wanted.items():
        for key in keys:
            yield from rows_of(model, group, key, metrics[key].measure(evaluation, group))


def measure(bench: Bench, task: Task) -> Content:
    """The result of a row, by group: the caller adds what it is the result of. What a method refuses or ruins, and what
    attacks refuse of its model, is recorded in `failed`. Raises EffaceError for what is not the method's doing."""
    if task.kind == "references":
        return {"groups": {group: _references(bench, task, group) for group in task.sets}}
    if task.kind == "one_after_another":
        return {"groups": {group: _one_after_another(bench, task, *sets) for group, sets in task.sets.items()}}
    return {"groups": {group: _group(bench, task, group) for group in task.sets}}


def _group(bench: Bench, task: Task, group: str) -> Content:
    """Pooled numbers of one group of sets, the numbers of each set, the gate, the cost and what attacks give."""
    runs: dict[tuple[People, int], list[Row]] = {}
    costs: list[dict[str, Any]] = []
    failed: list[str] = []
    attacked: list[Row] = []
    reference = load(bench.data.retrained[group]) if task.kind == "retrained" else None
    for number, people in enumerate(task.sets[group]):
        original = bench.searches(people)
        for seed in task.seeds:
            try:
                if reference is None:
                    unlearned, cost = _unlearn(bench, task, bench.request(original.split, people, task.seen), seed)
                    costs.append(cost)
                else:
                    unlearned = reference
                found = Evaluation(original.split, bench.embed(unlearned), original)
                runs[people, seed] = bench.rows("unlearned", found)
            except EffaceError as error:
                failed.append(f"{', '.join(people)}, seed {seed}: {error}")
                continue
            if number < task.attacked_sets and seed == task.seeds[0]:
                try:
                    attacked += _attacked(bench, task, "unlearned", unlearned, found)
                except EffaceError as error:
                    failed.append(f"attacks on {', '.join(people)}, seed {seed}: {error}")
    if not runs:
        return {"failed": failed, "numbers": None, "admissible": False}
    both = ([*bench.rows("original", bench.searches(people)), *rows] for (people, _), rows in runs.items())
    pooled = pool(both, _drawing())
    each = [_of_set(people, [rows for (one, _), rows in runs.items() if one == people]) for people in task.sets[group]]
    far = max(one[FAR] for one in each if one[FAR] is not None)
    admissible = bool(pooled["equal_harm"]["admissible"]) and far <= MOST_FAR_OF_A_SET
    admissible = admissible and len(runs) == len(task.sets[group]) * len(task.seeds)
    return {
        "numbers": pooled["models"]["unlearned"],
        "drops": {g: {m: pooled["drops"][g][m] for m in RECOGNISED} for g in ("retain", "holdout", "neighbours")},
        "worst": {m: pooled["worst"]["unlearned"][m] for m in RECOGNISED},
        "far_of_worst_set": far,
        "admissible": admissible,
        "sets": each,
        "failed": failed,
        "cost": mean_cost(costs),
        "attacks": _attacks(attacked),
    }


def _references(bench: Bench, task: Task, group: str) -> Content:
    """The original model's pooled numbers, what attacks find in it, and the floors."""
    pixels = pixel_embeddings(bench.crops.pixels)
    runs: list[list[Row]] = []
    attacked: list[Row] = []
    untrained = [random_network_embeddings(bench.target, bench.crops.pixels, _drawing(seed)) for seed in task.seeds]
    for number, people in enumerate(task.sets[group]):
        original = bench.searches(people)
        floors = [("floor.raw_pixels", pixels), *(("floor.random_network", one) for one in untrained)]
        runs.append(bench.rows("original", original))
        for name, embeddings in floors:
            found = Evaluation(original.split, embeddings, neighbours=original.neighbours)
            runs.append(list(_rows(name, found, bench.metrics, {"forget": FLOOR})))
        if number < task.attacked_sets:
            attacked += _attacked(bench, task, "original", bench.target, original)
    pooled = pool(runs, _drawing())
    return {
        "numbers": pooled["models"]["original"],
        "floor": {name: found["forget"] for name, found in pooled["floor"].items()},
        "attacks": _attacks(attacked),
    }


def _one_after_another(bench: Bench, task: Task, people: People) -> Content:
    """Each person in a request of its own, each on the model that the one before it gave; groups are those of the
    request for all of them together. `steps` holds the numbers after each request, of the people forgotten by then."""
    original = bench.searches(people)
    before = bench.rows("original", original)
    target, steps, costs = bench.target, [], []
    failed: list[str] = []
    for number, person in enumerate(people, 1):
        try:
            target, cost = _unlearn(bench, task, bench.request(original.split, [person]), task.seeds[0], target)
            rows = bench.rows("unlearned", Evaluation(original.split, bench.embed(target), original))
        except EffaceError as error:
            failed.append(f"{person}, seed {task.seeds[0]}: {error}")
            break
        costs.append(cost)
        by_then = set(people[:number])
        counted = [r for r in (*before, *rows) if not r.group.startswith("forget") or r.person in by_then]
        pooled = pool([counted], _drawing())
        numbers = pooled["models"]["unlearned"]
        steps.append(
            {
                "people": number,
                "forget": {m: numbers["forget"][m]["value"] for m in (*RECOGNISED, TAR_MULTI)},
                "drops": {g: {m: pooled["drops"][g][m] for m in RECOGNISED} for g in ("retain", "holdout")},
                "drift": numbers["retain"]["template_drift"]["value"],
                FAR: numbers["impostors"][FAR]["value"],
            }
        )
    return {"steps": steps, "failed": failed, "cost": mean_cost(costs)}


def _unlearn(
    bench: Bench, task: Task, request: Request, seed: int, target: RecognitionTarget | None = None
) -> tuple[RecognitionTarget, dict[str, Any]]:
    """The method's model, and what it cost."""
    assert task.method is not None
    method, start = task.method.value, target or bench.target
    return costed(lambda: method.unlearn(start, request, _drawing(seed)), bench.target.device)


def _of_set(people: People, runs: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """A set's own numbers, without intervals; None where every run failed."""
    wanted = [[r for r in rows if r.metric in OF_A_SET.get(r.group, ())] for rows in runs]
    groups = pool(wanted, _drawing())["models"].get("unlearned", {})
    found = {m: groups.get(g, {}).get(m, {}).get("value") for g, metrics in OF_A_SET.items() for m in metrics}
    return {"people": list(people)} | found


def _attacked(bench: Bench, task: Task, model: str, target: RecognitionTarget, evaluation: Evaluation) -> Iterator[Row]:
    subject = Subject(target, bench.crops, evaluation)
    for named in task.attacks:
        attack: Attack = named.value
        yield from attempt_rows(attack, model, subject)


def _attacks(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, float | None]]]:
    """attack -> forget or control -> number -> value, at the false accept rate of 1e-3."""
    wanted = [row for row in rows if not row.metric.endswith(COARSE_MARK)]
    found = pool([wanted], _drawing())["attacks"]
    return {
        attack: {
            group: {number: next(iter(models.values()))["value"] for number, models in numbers.items()}
            for group, numbers in groups.items()
        }
        for attack, groups in found.items()
    }


def _drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
