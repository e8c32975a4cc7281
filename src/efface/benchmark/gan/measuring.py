"""From a row's task to its numbers: unlearn, draw, score. One `Bench` a data set and process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.attacks.attempts import attempt_rows
from efface.attacks.rebuilding import Rebuilder
from efface.benchmark.cost import costed
from efface.benchmark.drawing.measuring import Kept, Measured, joined, pooled, seeded, taken
from efface.benchmark.drawing.rows import Task
from efface.benchmark.gan.choice import admissible
from efface.benchmark.gan.configuration import Generators
from efface.benchmark.grids import People
from efface.benchmark.results import Content
from efface.config import GanConfig
from efface.errors import EffaceError
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.framing import frame
from efface.faces.people import People as Photographed
from efface.faces.pose import cameras_of
from efface.faces.splits import split
from efface.given import Photos
from efface.metrics.generation import generator_of
from efface.metrics.rebuilding import SAMPLES, YAWS, Drawn, Rebuilt, Sources, audit, photo_of, photographed
from efface.metrics.rebuilding import measure as drawn_by
from efface.metrics.rows import Row
from efface.metrics.subjects import OTHERS, Pictures, Subjects
from efface.report.drawn_verdict import ACC, FACES, TAR
from efface.run_gan import unlearned
from efface.scene import Scene, invented, led_by
from efface.targets.gan import GanTarget
from efface.targets.recognition import RecognitionTarget

GROUPS = ("forget", OTHERS, "retain", "neighbours", "holdout", SAMPLES)
NUMBERS = (
    "id", "id_photo", ACC, TAR, *FACES, "undetected", "replacement_similarity", "fid_pre",
    "delta_fid_real", "kid", *(f"{TAR},yaw={yaw:g}" for yaw in YAWS),
)  # fmt: skip
"""Groups and numbers that are kept."""
KEPT = Kept(GROUPS, NUMBERS, admissible)
SHOWN = (-30.0, 0.0, 30.0)
"""Degrees of yaw of the pictures of a forgotten person, and of the look-alike, that a row keeps."""


class Bench:
    """The generator and its judge, everybody's photos as they see them, and what the original model draws. Raises
    EffaceError where something of it is not there."""

    def __init__(self, data: Generators) -> None:
        self.data = data
        self.detector = None if data.detector is None else Detector.load(data.detector)
        assert data.model.weights is not None
        self.target = GanTarget.load(data.model.name, data.model.weights, detector=self.detector, **data.model.fields())
        if self.target.parts.encoder is None:
            raise EffaceError(
                f"{data.model.weights}: found no encoder with these weights, expected one: a benchmark inverts "
                "everybody's photos at once; name a model that efface train has trained"
            )
        self.judges: dict[str, RecognitionTarget] = {}
        if data.judge is not None:
            assert data.judge.weights is not None
            self.judges["judge"] = RecognitionTarget.load(data.judge.name, data.judge.weights, **data.judge.fields())
        people = data.faces.value.read()
        self.taken = {photo.name: photo for group in people.photos.values() for photo in group}
        self.crops, self.notes = frame(people, *self.target.framing, self.detector)
        self.seen = self._look(self.crops)
        self._views: dict[tuple[str, bytes], Pictures] = {}
        self._samples: dict[int, Pictures] = {}

    def scene(self, people: People, seed: int) -> Scene:
        """To forget these people, of a photo each, or of random latents."""
        crops, seen, latents, taken = self.crops, self.seen, None, self.taken
        if self.data.latents == "random":
            told = GanConfig(model=self.data.model, faces=self.data.faces, forget=people, seed=seed, latents="random")
            latents, added = invented(self.target, told)
            taken = taken | {photo.name: photo for group in added.values() for photo in group}
            more, _ = frame(Photographed(added, False), *self.target.framing, self.detector)
            seen = joined([seen, self._look(more)])
            crops = Crops(
                torch.cat([crops.pixels, more.pixels]), crops.identities + more.identities, crops.names + more.names
            )
        photos = Photos(crops, split(crops, people), self.notes)
        photos = replace(photos, split=led_by(photos, taken, 1))
        subjects = Subjects.of(seen, photos.split, most=self.data.people)
        w = self.target.invert(crops.pixels[[photo_of(subjects, name) for name in subjects.names]]).cpu()
        for person, own in zip(people, () if latents is None else latents, strict=latents is not None):
            w[subjects.names.index(person)] = own
        samples = self.target.sample(self.data.samples, generator_of("samples", seed)).cpu()
        return Scene(self.target, self.judges, photos, Sources(subjects, w, samples), torch.zeros(len(crops), 25), ())

    def original(self, sources: Sources, seed: int) -> Drawn:
        """What the original model draws of everybody, and of people who never existed, who are the seed's; each is
        drawn once."""
        subjects = sources.subjects
        keys = [(name, w.numpy().tobytes()) for name, w in zip(subjects.names, sources.latents, strict=True)]
        missing = [row for row, key in enumerate(keys) if key not in self._views]
        samples = sources.samples if seed not in self._samples else sources.samples[:0]
        if missing or len(samples):
            names = tuple(subjects.names[row] for row in missing)
            few = replace(subjects, names=names, conditions=subjects.conditions[missing])
            found = drawn_by(self.target, self.judges, Sources(few, sources.latents[missing], samples))
            _ = found.pictures.features  # computed here, once for all runs
            for row, name in zip(missing, names, strict=True):
                self._views[keys[row]] = taken(found.pictures, found.pictures.of(name))
            self._samples.setdefault(seed, found.samples)
        pictures = joined([self._views[key] for key in keys])
        yaws = YAWS if self.target.turns else (0.0,)
        return Drawn(pictures, np.tile(yaws, len(keys)), self._samples[seed])

    def measured(self, task: Task, people: People, seed: int) -> Measured:
        """One run of a row. Raises EffaceError for what a method refuses or ruins and what attacks refuse."""
        scene = self.scene(people, seed)
        drawn = {"original": self.original(scene.sources, seed)}
        target, cost = self.target, None
        if task.method is not None:
            method, one_after_another = task.method.value, task.one_after_another
            target, cost = costed(lambda: unlearned(scene, method, seeded(seed), one_after_another), self.target.device)
        if task.kind == "attacks":
            return Measured(self.attacked(task, target, scene, drawn["original"], seed), cost, {}, torch.empty(0))
        if task.method is not None:
            drawn["unlearned"] = drawn_by(target, self.judges, scene.sources)
        found = audit(scene.sources, drawn, seeded(seed), NUMBERS)
        model, last = list(drawn.items())[-1]
        line = _of_run(people, seed, found.content["models"][model])
        return Measured(found.people, cost, line, _shown(scene.sources.subjects, people[0], last))

    def attacked(self, task: Task, target: GanTarget, scene: Scene, original: Drawn, seed: int) -> list[Row]:
        """What the task's attacks give on a model; they are told from where the photos that they get were taken."""
        subjects, cameras = scene.sources.subjects, torch.zeros(len(scene.photos.crops), 25)
        if self.target.turns:
            places = sorted(
                {row for group in ("forget", "control") for p in subjects.groups[group] for row in subjects.given[p]}
            )
            shown = (self.taken[scene.photos.crops.names[row]] for row in places)
            cameras[places] = cameras_of(shown, self.target.parts.face, *self.target.framing, self.detector)
        originals = {scorer: Rebuilt(subjects, original, scorer) for scorer in original.pictures.embeddings}
        rebuilder = Rebuilder(target, self.judges, scene.sources, originals, cameras, seed)
        return [row for named in task.attacks for row in attempt_rows(named.value, "attacked", rebuilder)]

    def _look(self, crops: Crops) -> Pictures:
        return photographed(self.target, self.judges, crops.pixels, crops.identities)


def measure(bench: Bench, task: Task) -> Content:
    """The result of a row: the caller adds what it is the result of. What a method refuses or ruins and what attacks
    refuse are recorded in `failed`."""
    return pooled(bench, task, KEPT)


def _of_run(people: People, seed: int, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One run in a line: whom it was about, and the numbers that decide."""
    wanted = [(group, metric) for group in ("forget", OTHERS) for metric in ("id", TAR)] + [("retain", ACC)]
    numbers = {f"{group} {metric}": groups[group][metric]["value"] for group, metric in wanted}
    return {"person": ", ".join(people), "seed": seed} | numbers


def _shown(subjects: Subjects, person: str, drawn: Drawn) -> Tensor:
    """Pictures of a forgotten person and of the nearest look-alike, from some sides or from the only one."""
    sides = np.isin(drawn.yaws, SHOWN)
    both = [person, subjects.neighbours[person][0]]
    rows = [row for who in both for row in drawn.pictures.of(who).tolist() if sides[row]]
    return drawn.pictures.pixels[rows]
