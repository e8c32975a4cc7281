"""From a row's task to its numbers: unlearn, draw, score, pool. One `Bench` a data set and process."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from efface.attacks.attempts import attempt_rows
from efface.attacks.drawing import Sitter
from efface.benchmark.cost import costed, mean_cost
from efface.benchmark.diffusion.choice import admissible
from efface.benchmark.diffusion.configuration import Portraits
from efface.benchmark.diffusion.rows import Task
from efface.benchmark.results import Content
from efface.errors import EffaceError
from efface.faces.detection import Detector
from efface.faces.framing import frame
from efface.faces.splits import split
from efface.methods.anchors import Anchors, Chosen
from efface.methods.conditions import DrawRequest
from efface.metrics import generation
from efface.metrics.audit import averaged
from efface.metrics.drawings import Drawings, Pictures, Subjects
from efface.metrics.rows import Row
from efface.run_diffusion import seen_faces
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

GROUPS = ("forget", "forget_others", "anchor", "retain", "neighbours", "holdout", "hard")
NUMBERS = (
    "ism", "ism_net", "acc", "tar@far=1e-2", "identified@far=1e-2", "undetected", "anchor_similarity", "quality",
    "sharpness", "kd", "fid",
)  # fmt: skip
"""Groups and numbers that are kept."""
FACES, SHOWN = 2, 2
"""Forgotten people of a row whose pictures are kept, and their look-alikes', and pictures of each."""
PICTURED = ("references", "report")
"""Kinds of rows that keep them."""


class Run(NamedTuple):
    """What a method is given to forget one person, who is drawn then, and the anchor."""

    request: DrawRequest
    subjects: Subjects
    anchor: Chosen


class Bench:
    """The model and its judge, everybody's photos as they see them, and what the original model draws. Raises
    EffaceError where something of it is not there."""

    def __init__(self, data: Portraits) -> None:
        self.data = data
        detector = None if data.detector is None else Detector.load(data.detector)
        assert data.model.weights is not None
        self.target = DiffusionTarget.load(
            data.model.name, data.model.weights, detector=detector, **data.model.fields()
        )
        self.judges: dict[str, RecognitionTarget] = {}
        if data.judge is not None:
            assert data.judge.weights is not None
            self.judges["judge"] = RecognitionTarget.load(data.judge.name, data.judge.weights, **data.judge.fields())
        place = self.target.spec.window
        people = data.faces.value.read()
        self.crops, _ = frame(people, self.target.spec.size, place.left, place.top, place.side, detector)
        self.seen = generation.look(self.target, self.judges, self.crops.pixels, self.crops.identities, framed=True)
        self._drawn: dict[tuple[str, int, bytes], Pictures] = {}

    def run(self, person: str, anchor: Anchors, seed: int) -> Run:
        """To forget one person."""
        parts = split(self.crops, (person,))
        forget, retain = (seen_faces(self.seen, parts, who) for who in (parts.forget, parts.retain))
        chosen = anchor.choose(forget, retain, _seeded(seed))
        subjects = Subjects.of(self.seen, parts, chosen.embeddings, chosen.who, self.data.people)
        return Run(DrawRequest(forget, retain, chosen.embeddings), subjects, chosen)

    def draw(self, target: DiffusionTarget, subjects: Subjects, seed: int) -> Pictures:
        """What a model draws of everybody."""
        return generation.measure(target, self.judges, subjects, self.data.draws, seed)

    def original(self, subjects: Subjects, seed: int) -> Pictures:
        """What the original model draws of everybody; a picture depends on the name, the condition and the seed, so
        each is drawn once."""
        conditions = zip(subjects.names, subjects.conditions, strict=True)
        keys = {name: (name, seed, condition.numpy().tobytes()) for name, condition in conditions}
        missing = [row for row, name in enumerate(subjects.names) if keys[name] not in self._drawn]
        if missing:
            names = tuple(subjects.names[row] for row in missing)
            found = self.draw(
                self.target, replace(subjects, names=names, conditions=subjects.conditions[missing]), seed
            )
            for name in names:
                self._drawn[keys[name]] = _take(found, found.of(name))
        return _joined([self._drawn[keys[name]] for name in subjects.names])


def measure(bench: Bench, task: Task) -> Content:
    """The result of a row: the caller adds what it is the result of. What a method refuses or ruins, a band without
    anybody in it and what attacks refuse are recorded in `failed`."""
    runs: list[list[Row]] = []
    costs: list[dict[str, Any]] = []
    failed: list[str] = []
    each: list[dict[str, Any]] = []
    shown: list[Tensor] = []
    for person in task.people:
        for seed in task.seeds:
            try:
                run = bench.run(person, task.anchor, seed)
                pictures = {"original": bench.original(run.subjects, seed)}
                target = bench.target
                if task.method is not None:
                    target, cost = _unlearn(bench, task.method.value, run, seed)
                    costs.append(cost)
                if task.kind == "attacks":
                    runs.append(_attacked(bench, task, target, run, pictures["original"], seed))
                    continue
                if task.method is not None:
                    pictures["unlearned"] = bench.draw(target, run.subjects, seed)
            except EffaceError as error:
                failed.append(f"{person}, seed {seed}: {error}")
                continue
            found = generation.audit(run.subjects, pictures, _seeded(seed))
            runs.append(found.people)
            model, drawn = list(pictures.items())[-1]
            each.append(_of_run(person, seed, run.anchor, found.content["models"][model]))
            if person in task.people[:FACES] and seed == task.seeds[0]:
                shown += _shown(run.subjects, person, drawn)
    spec = bench.target.spec
    sampling = {"steps": spec.steps, "guidance": spec.guidance}
    content: Content = {"failed": failed, "cost": mean_cost(costs), "sampling": sampling}
    if not runs:
        return content | {"numbers": None, "admissible": False}
    pooled = generation.conclude(averaged(runs), _seeded())
    if task.kind == "attacks":
        return content | {"attacks": _attacks(pooled["attacks"])}
    content |= {"runs": each} | ({"picture": _sheet(shown)} if task.kind in PICTURED and not failed else {})
    return content | (_original(pooled) if task.method is None else _unlearned(pooled, failed))


def _unlearn(bench: Bench, method: Any, run: Run, seed: int) -> tuple[DiffusionTarget, dict[str, Any]]:
    return costed(lambda: method.unlearn(bench.target, run.request, _seeded(seed)), bench.target.device)


def _attacked(bench: Bench, task: Task, target: DiffusionTarget, run: Run, original: Pictures, seed: int) -> list[Row]:
    originals = {scorer: Drawings(run.subjects, original, scorer) for scorer in original.embeddings}
    sitter = Sitter(target, bench.judges, run.subjects, originals, bench.data.draws, seed)
    return [row for named in task.attacks for row in attempt_rows(named.value, "attacked", sitter)]


def _original(pooled: Mapping[str, Any]) -> Content:
    """Numbers of the original model, of real photos and of strangers, by everybody who scores."""
    return _of_model(pooled, "original") | {
        "controls": {name: _kept(groups) for name, groups in pooled["controls"].items()},
        "judges_controls": {
            judge: {name: _kept(groups) for name, groups in block["controls"].items()}
            for judge, block in pooled["judges"].items()
        },
    }


def _unlearned(pooled: Mapping[str, Any], failed: Sequence[str]) -> Content:
    """Numbers of the unlearned models, and those of the original in the same runs."""
    models = pooled["models"]
    passes = admissible(models["unlearned"], models["original"]) and not failed
    return _of_model(pooled, "unlearned") | {"original": _of_model(pooled, "original"), "admissible": passes}


def _of_model(pooled: Mapping[str, Any], model: str) -> Content:
    return {
        "numbers": _kept(pooled["models"][model]),
        "summary": pooled["summary"][model],
        "judges": {judge: _kept(block["models"][model]) for judge, block in pooled["judges"].items()},
    }


def _kept(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {g: {m: groups[g][m] for m in NUMBERS if m in groups[g]} for g in GROUPS if g in groups}


def _attacks(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """attack -> forget or control -> number -> value."""
    return {
        attack: {
            group: {n: models["attacked"]["value"] for n, models in numbers.items()} for group, numbers in g.items()
        }
        for attack, g in found.items()
    }


def _of_run(person: str, seed: int, anchor: Chosen, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One run in a line: whom it was about, who is the anchor, and the numbers that decide."""
    numbers = {f"{g} {m}": groups[g][m]["value"] for g in ("forget", "forget_others", "retain") for m in ("ism", "acc")}
    who = {"person": person, "seed": seed, "anchor": anchor.who[0] or "nobody", "anchor_cosine": anchor.cosines[0]}
    return who | numbers


def _shown(subjects: Subjects, person: str, pictures: Pictures) -> list[Tensor]:
    """Pictures of a forgotten person and of the nearest look-alike."""
    return [pictures.pixels[pictures.of(who)][:SHOWN] for who in (person, subjects.neighbours[person][0])]


def _sheet(shown: Sequence[Tensor]) -> bytes:
    """A JPEG of all pictures side by side."""
    row = torch.cat(list(shown)).permute(2, 0, 3, 1).flatten(1, 2)
    file = io.BytesIO()
    Image.fromarray(row.contiguous().numpy()).save(file, "JPEG", quality=88)
    return file.getvalue()


def _take(pictures: Pictures, rows: Tensor) -> Pictures:
    people = tuple(pictures.people[i] for i in rows)
    embeddings = {scorer: e[rows] for scorer, e in pictures.embeddings.items()}
    return Pictures(pictures.pixels[rows], people, pictures.crops[rows], pictures.found[rows], embeddings)


def _joined(parts: Sequence[Pictures]) -> Pictures:
    return Pictures(
        torch.cat([p.pixels for p in parts]),
        tuple(who for p in parts for who in p.people),
        torch.cat([p.crops for p in parts]),
        torch.cat([p.found for p in parts]),
        {scorer: torch.cat([p.embeddings[scorer] for p in parts]) for scorer in parts[0].embeddings},
    )


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
