"""Who is rebuilt by a GAN face generator, from which latents and views, and all numbers of a run on one: what
audit.json and people.csv hold of it (docs/gan.md).

Everybody is inverted once, under the original model, from a photo; every model then draws the same latents from the
same cameras. The forgotten are drawn from the photo that the method was given (`forget`) and, each by itself, from
their unseen ones (`forget_others`). Templates, thresholds and groups are those of models that draw (protocol, line 15).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.metrics import perception
from efface.metrics.drawings import Drawings, photographs, strangers_as
from efface.metrics.generation import (
    CONTROLS,
    FAR,
    JUDGES,
    DrawingAudit,
    complete,
    conclude,
    embedded,
    threshold_figure,
)
from efface.metrics.metric import audited_metrics, rate_text
from efface.metrics.protocol import ByPerson
from efface.metrics.rows import Row, rows_of
from efface.metrics.subjects import OTHERS, OWN, Pictures, Subjects
from efface.models.encoder import scaled
from efface.progress import Quiet, Watcher
from efface.targets.cosines import cosines, paired_cosines, unit_rows
from efface.targets.gan import GanTarget
from efface.targets.perceptual import FeatureDistance
from efface.targets.recognition import RecognitionTarget

YAWS = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
"""Degrees of yaw from which a generator with cameras is looked at; one of pictures is looked at from the front."""
SAMPLES = "samples"
"""The group of people who never existed, drawn from noise: what distances of distributions are measured on."""
GROUPS = ("forget", OTHERS, "retain", "neighbours", "holdout")
"""Groups of people who are rebuilt."""
BATCH = 64
"""Pictures whose features are compared at once."""


@dataclass(frozen=True, eq=False)
class Sources:
    """What every model draws."""

    subjects: Subjects
    """Who; conditions and anchors play no part."""
    latents: Tensor
    """w [names, rows, w_dim] of `subjects.names`, inverted from `photo_of` each under the original model."""
    samples: Tensor
    """w [n, rows, w_dim] of people who never existed; one view of each is drawn."""

    def __post_init__(self) -> None:
        if len(self.latents) != len(self.subjects.names):
            raise EffaceError(
                f"latents: found {len(self.latents)}, expected {len(self.subjects.names)}, one for each who is drawn"
            )

    def of(self, names: Sequence[str]) -> Tensor:
        """The latents of some of those who are drawn."""
        return self.latents[[self.subjects.names.index(name) for name in names]]


def photo_of(subjects: Subjects, name: str) -> int:
    """Position of the photo that one who is drawn is inverted from: of a person the first that a method may see."""
    return subjects.by_photo[name][1] if name in subjects.by_photo else subjects.given[name][0]


def photographed(
    target: GanTarget, judges: Mapping[str, RecognitionTarget], pixels: Tensor, people: Sequence[str]
) -> Pictures:
    """What the target's recogniser and the judges make of photos uint8 [n, 3, s, s], framed as `GanTarget.framing`."""
    found = torch.ones(len(pixels), dtype=torch.bool)
    return embedded({OWN: target.recogniser, **judges}, pixels, people, target.window(pixels), found)


@dataclass(frozen=True, eq=False)
class Drawn:
    """What one model draws."""

    pictures: Pictures
    """Of everybody in `subjects.names`, in that order, all views in a row for each."""
    yaws: np.ndarray
    """Degrees float64 [n], from where each is seen."""
    samples: Pictures
    """Of people who never existed, one of each."""


def measure(
    target: GanTarget, judges: Mapping[str, RecognitionTarget], sources: Sources, watcher: Watcher | None = None
) -> Drawn:
    """Draw everybody and look at them. judges: name -> recogniser that scores too."""
    yaws = np.array(YAWS if target.turns else (0.0,))
    cameras = target.camera(torch.from_numpy(np.radians(yaws)))
    names = sources.subjects.names
    recognisers = {OWN: target.recogniser, **judges}
    with (watcher or Quiet()).track("drawing faces", len(names) * len(yaws) + len(sources.samples)) as tick:
        pixels = target.views(sources.latents, cameras, tick).flatten(0, 1)
        aside = cameras[torch.arange(len(sources.samples)) % len(cameras)]
        strangers = target.draw(sources.samples, aside, tick)
    seen = embedded(
        recognisers, pixels, [n for n in names for _ in yaws], *target.crops(pixels, cameras.repeat(len(names), 1))
    )
    nobody = [f"sample {i}" for i in range(len(strangers))]
    return Drawn(
        seen, np.tile(yaws, len(names)), embedded(recognisers, strangers, nobody, *target.crops(strangers, aside))
    )


class Rebuilt:
    """What one model draws, as one recogniser scores it. original: the same of the model before unlearning, whose
    thresholds decide and whose pictures of the same latents are compared with; None where this is it."""

    def __init__(
        self,
        subjects: Subjects,
        drawn: Drawn,
        scorer: str,
        original: "Rebuilt | None" = None,
        *,
        scored: Drawings | None = None,
    ) -> None:
        self.subjects, self.drawn, self.scorer, self.original = subjects, drawn, scorer, original
        self.scored = scored or Drawings(subjects, drawn.pictures, scorer, original.scored if original else None)

    def by_person(self, group: str, values: np.ndarray, yaw: float | None = None) -> ByPerson:
        """Means of values [found] over the pictures of each person of a group, at one yaw in degrees or all."""
        return self.scored.by_person(group, values, None if yaw is None else self.drawn.yaws == yaw)

    def beside_original(self, group: str, values: np.ndarray) -> ByPerson:
        """Means of values [n] over the pictures of each person of a group that show a face before and after; null for
        the original itself."""
        both = self._with_original
        return self.scored.by_person(group, np.where(both, values, np.nan)[self.scored.found], both)

    @property
    def _with_original(self) -> np.ndarray:
        """bool [n], whether a face was found before and after."""
        before = self.scored.frozen.found if self.original else np.zeros_like(self.scored.found)
        return self.scored.found & before

    @cached_property
    def kept(self) -> np.ndarray:
        """Float64 [n], cosine of each picture with the original model's of the same latent and camera; nan where a face
        was not found in both, and for the original itself."""
        found = np.full(len(self.scored.people), np.nan)
        both = self._with_original
        if both.any():
            rows = torch.from_numpy(both)
            after, before = (d.pictures.embeddings[self.scorer][rows] for d in (self.drawn, self._before))
            found[both] = paired_cosines(unit_rows(after), unit_rows(before))
        return found

    @cached_property
    def changed(self) -> np.ndarray:
        """Float64 [n], how different each picture looks from the original model's of the same latent and camera, to the
        judge that comes with efface; nan for the original itself."""
        if self.original is None:
            return np.full(len(self.scored.people), np.nan)
        distance = FeatureDistance(perception.judge())
        after, before = self.drawn.pictures.pixels, self._before.pictures.pixels
        with torch.no_grad():
            parts = [
                distance(*(scaled(p[i : i + BATCH], p.shape[-1]) for p in (after, before)))
                for i in range(0, len(after), BATCH)
            ]
        return torch.cat(parts).double().numpy()

    @property
    def _before(self) -> Drawn:
        assert self.original is not None
        return self.original.drawn

    def features(self, group: str, of: Drawn) -> np.ndarray:
        """The judge's features float32 [m, 256] of what a model drew of a group: those of people who never existed for
        `samples`; only pictures in which this model's and the original's show a face, so that rows pair."""
        if group == SAMPLES:
            shown = self.drawn.samples.found & (self.original.drawn.samples.found if self.original else True)
            return of.samples.features.numpy()[shown.numpy()]
        people = np.isin(self.scored.people, self.scored.group(group))
        shown = people & (self.scored.by_photo == (group == OTHERS)) & self._with_original
        return of.pictures.features.numpy()[shown]

    def distance(self, group: str, metric: Any, real: bool) -> ByPerson:
        """A distance of a group's features from the original model's of the same latents, as the number of nobody
        (""); null for the original itself. real: how much further they are than those from everybody's unseen photos.
        """
        if self.original is None:
            return ByPerson(("",), np.array([np.nan]), np.array([0]))
        after, before = self.features(group, self.drawn), self.features(group, self._before)
        if real:
            photos = self.subjects.real_faces[1]
            ends = metric(after, photos), metric(before, photos)
            value = None if None in ends else ends[0] - ends[1]
        else:
            value = metric(after, before)
        return ByPerson(("",), np.array([np.nan if value is None else value]), np.array([len(after)]))

    def alike(self) -> ByPerson:
        """Mean cosine of each forgotten person's pictures, of the photo that the method was given, with the other
        forgotten people's from the same yaw; null for one person alone."""
        scored, people = self.scored, self.scored.group("forget")
        rows = np.isin(scored.people, people) & ~scored.by_photo & scored.found
        place = np.cumsum(scored.found) - 1
        who, yaws, faces = scored.people[rows], self.drawn.yaws[rows], scored.embeddings[place[rows]]
        pairs = (who[:, None] != who[None]) & (yaws[:, None] == yaws[None])
        scores = cosines(faces, faces)
        values = [scores[(who == p)[:, None] & pairs] for p in people]
        means = [v.mean() if len(v) else np.nan for v in values]
        return ByPerson(people, np.array(means, np.float64), np.array([len(v) for v in values]))


OF_PHOTOS = ("id_photo", "acc", f"tar@far={rate_text(FAR)}")
"""Numbers that are reported for real photos, and for strangers' pictures, in the place of the person's."""


def audit(
    sources: Sources, drawn: Mapping[str, Drawn], generator: torch.Generator, only: Container[str] | None = None
) -> DrawingAudit:
    """Measure every model by every recogniser that scored it.

    drawn: what `measure` gave by model: `original`, and any of `unlearned` and `retrained`. generator: of the
    bootstrap. only: keys of the numbers that are wanted; None: all. Raises EffaceError without an original.
    """
    if "original" not in drawn:
        raise EffaceError(f"drawn: found {sorted(drawn)}, expected `original` among them")
    subjects = sources.subjects
    yaws = set(drawn["original"].yaws.tolist())
    known = {k: m for k, m in audited_metrics("metrics.gan").items() if getattr(m, "yaw", None) in {None, *yaws}}
    metrics = {key: metric for key, metric in known.items() if only is None or key in only}
    few = [metrics[key] for key in OF_PHOTOS if key in metrics]
    drawings: dict[str, dict[str, Drawings]] = {}
    rows: list[Row] = []
    for scorer in drawn["original"].pictures.embeddings:
        before = "" if scorer == OWN else f"{JUDGES}{scorer}."
        original = Rebuilt(subjects, drawn["original"], scorer)
        models = {name: original if name == "original" else Rebuilt(subjects, d, scorer, original)
                  for name, d in drawn.items()}  # fmt: skip
        drawings[scorer] = {name: model.scored for name, model in models.items()}
        for name, model in models.items():
            for metric in metrics.values():
                if metric.by_judges or scorer == OWN:
                    for group in metric.groups:
                        rows += rows_of(before + name, group, metric.key, metric.measure(model, group))
        ceiling = _of(original, photographs(subjects, scorer, original.scored))
        for metric in few:
            for group in set(metric.groups) - {OTHERS}:
                rows += rows_of(f"{before}{CONTROLS}photos", group, metric.key, metric.measure(ceiling, group))
            for person in subjects.groups["forget"]:
                floor = _of(original, strangers_as(person, original.scored))
                found = rows_of(f"{before}{CONTROLS}stranger", "forget", metric.key, metric.measure(floor, "forget"))
                rows += [row for row in found if row.person == person]
    concluded = conclude(rows, generator)
    by_judges = {key: metric for key, metric in metrics.items() if metric.by_judges}
    for block in (concluded, *concluded["judges"].values()):
        del block["summary"]  # it is of models that draw from an embedding
        for name in drawn:
            complete(block["models"].setdefault(name, {}), metrics if block is concluded else by_judges)
    content = concluded | {
        "thresholds": {
            scorer: {f"far={rate_text(FAR)}": threshold_figure(models["original"])}
            for scorer, models in drawings.items()
        },
        "groups": {group: list(subjects.groups[group]) for group in (*GROUPS, "control")},
        "neighbours": {person: list(near) for person, near in subjects.neighbours.items()},
        "yaws": sorted(yaws),
        "samples": len(sources.samples),
        "chance": 1 / len(subjects.gallery),
    }
    return DrawingAudit(content, rows, drawings)


def _of(original: Rebuilt, scored: Drawings) -> Rebuilt:
    """Pictures that no model drew of the latents, scored as if the original had."""
    drawn = Drawn(scored.pictures, np.full(len(scored.people), np.nan), original.drawn.samples)
    return Rebuilt(original.subjects, drawn, original.scorer, original, scored=scored)
