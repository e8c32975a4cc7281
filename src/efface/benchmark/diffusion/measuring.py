"""From a row's task to its numbers: unlearn, draw, score. One `Bench` a data set and process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from efface.attacks.attempts import attempt_rows
from efface.attacks.drawing import Sitter
from efface.benchmark.cost import costed
from efface.benchmark.diffusion.choice import admissible
from efface.benchmark.diffusion.configuration import Portraits
from efface.benchmark.drawing.measuring import Kept, Measured, joined, pooled, seeded, taken
from efface.benchmark.drawing.rows import Task
from efface.benchmark.grids import People
from efface.benchmark.results import Content
from efface.faces.detection import Detector
from efface.faces.framing import frame
from efface.faces.splits import split
from efface.methods.anchors import Anchors, Chosen
from efface.methods.conditions import DrawRequest
from efface.metrics import generation
from efface.metrics.drawings import Drawings
from efface.metrics.rows import Row
from efface.metrics.subjects import Pictures, Subjects
from efface.run_diffusion import seen_faces
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

GROUPS = ("forget", "forget_others", "anchor", "retain", "neighbours", "holdout", "hard")
NUMBERS = (
    "ism", "ism_net", "acc", "tar@far=1e-2", "identified@far=1e-2", "undetected", "anchor_similarity", "quality",
    "sharpness", "kd", "fid",
)  # fmt: skip
"""Groups and numbers that are kept."""
SHOWN = 2
"""Pictures of each forgotten person, and of the look-alike, that a row keeps."""
KEPT = Kept(GROUPS, NUMBERS, admissible, summary=True)


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
        chosen = anchor.choose(forget, retain, seeded(seed))
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
                self._drawn[keys[name]] = taken(found, found.of(name))
        return joined([self._drawn[keys[name]] for name in subjects.names])

    def measured(self, task: Task, people: People, seed: int) -> Measured:
        """One run of a row. Raises EffaceError for what a method refuses or ruins, a band without anybody in it and
        what attacks refuse."""
        (person,) = people
        assert task.anchor is not None
        run = self.run(person, task.anchor, seed)
        pictures = {"original": self.original(run.subjects, seed)}
        target, cost = self.target, None
        if task.method is not None:
            method = task.method.value
            target, cost = costed(lambda: method.unlearn(self.target, run.request, seeded(seed)), self.target.device)
        if task.kind == "attacks":
            return Measured(self.attacked(task, target, run, pictures["original"], seed), cost, {}, torch.empty(0))
        if task.method is not None:
            pictures["unlearned"] = self.draw(target, run.subjects, seed)
        found = generation.audit(run.subjects, pictures, seeded(seed))
        model, drawn = list(pictures.items())[-1]
        line = _of_run(person, seed, run.anchor, found.content["models"][model])
        return Measured(found.people, cost, line, _shown(run.subjects, person, drawn))

    def attacked(self, task: Task, target: DiffusionTarget, run: Run, original: Pictures, seed: int) -> list[Row]:
        """What the task's attacks give on a model."""
        originals = {scorer: Drawings(run.subjects, original, scorer) for scorer in original.embeddings}
        sitter = Sitter(target, self.judges, run.subjects, originals, self.data.draws, seed)
        return [row for named in task.attacks for row in attempt_rows(named.value, "attacked", sitter)]


def measure(bench: Bench, task: Task) -> Content:
    """The result of a row: the caller adds what it is the result of. What a method refuses or ruins, a band without
    anybody in it and what attacks refuse are recorded in `failed`."""
    spec = bench.target.spec
    return pooled(bench, task, KEPT) | {"sampling": {"steps": spec.steps, "guidance": spec.guidance}}


def _of_run(person: str, seed: int, anchor: Chosen, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One run in a line: whom it was about, who is the anchor, and the numbers that decide."""
    numbers = {f"{g} {m}": groups[g][m]["value"] for g in ("forget", "forget_others", "retain") for m in ("ism", "acc")}
    who = {"person": person, "seed": seed, "anchor": anchor.who[0] or "nobody", "anchor_cosine": anchor.cosines[0]}
    return who | numbers


def _shown(subjects: Subjects, person: str, pictures: Pictures) -> Tensor:
    """Pictures of a forgotten person and of the nearest look-alike."""
    return torch.cat([pictures.pixels[pictures.of(who)][:SHOWN] for who in (person, subjects.neighbours[person][0])])
