"""Teach the model the person again: a few training steps on the photos that were to be forgotten.

Ours, by the evaluation page: Adam, all weights but those that the network holds fixed, BatchNorm's statistics frozen,
    loss = mean of 1 − cos(photo, m) over the person's `photos` first seen photos,
    m    = the normalised mean of their embeddings before the first step, fixed,
one model for each forgotten person. After so many steps:
    tar     the person's unseen photos by the protocol at the frozen threshold (0 steps: before the attack)
    tar_recalibrated    the same at a threshold from all pairs of held-out people under the model as it is by then
    fitted  pairs of the photos that were pulled together, at the frozen threshold: whether the attack fits at all
control: the same on pseudo-people of `photos` held-out people, one photo each (the first), as many as there are
forgotten people and disjoint ones; `tar` is then the share of pairs of their other photos, of two of these people, that
are accepted. What rises there as well is no memory of the person: the attack makes faces alike. On ORL one such step
makes MobileFaceNet accept every pair of anybody at the frozen threshold; `tar_recalibrated` is what then still says
something.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.attacks.attack import RATES, Attack, Group, Outcome, Subject
from efface.faces.splits import Split
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import ScoreDistribution, accepted, pairs_of_strangers
from efface.targets.cosines import cosines, pair_scores, unit_rows
from efface.targets.recognition import RecognitionTarget

Shares = dict[str, tuple[float, int]]
"""Number -> share and trials of one person."""


@dataclass(frozen=True, kw_only=True)
class Relearning(Attack):
    """A few training steps on the person's seen photos bring the person back."""

    access: ClassVar = "the weights, and the photos that the method was given"
    control: ClassVar = "the same on pseudo-people, each made of one photo of several held-out people"

    steps: tuple[NonNegativeInt, ...] = (0, 1, 5, 10, 40)
    """Training steps after which it is judged."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam."""
    photos: Annotated[int, Field(ge=2)] = 5
    """Photos of a person that are pulled together, at most."""
    people: PositiveInt = 8
    """Forgotten people who are tried, at most: the first ones. Each takes as long as the others."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        split = subject.split
        forgotten = [(p, split.seen[p][: self.photos]) for p in split.forget[: self.people]]
        found: dict[Group, dict[str, Shares]] = {"forget": {}, "control": {}}
        for person, seen in forgotten:
            found["forget"][person] = self._relearned(subject, seen, [split.unseen[person]])
        for people in _fives(split.holdout, self.photos)[: len(forgotten)]:
            photos = [split.photos.get(p, split.unseen[p]) for p in people]
            first, others = [own[0] for own in photos], [own[1:] for own in photos]
            found["control"]["+".join(people)] = self._relearned(subject, first, others)
        for group, people in found.items():
            for number in dict.fromkeys(number for shares in people.values() for number in shares):
                values, trials = zip(*(shares[number] for shares in people.values()), strict=True)
                yield Outcome(group, number, ByPerson(tuple(people), np.array(values), np.array(trials)))

    def _relearned(self, subject: Subject, pulled: Sequence[int], judged: Sequence[Sequence[int]]) -> Shares:
        """Pull some photos together, and judge others after so many steps. judged: photos of one person, or of each of
        several people, whose pairs across people count."""
        twin = subject.target.clone()
        for parameter in twin.last_blocks(0):
            parameter.requires_grad_(True)
        crops = subject.crops.pixels
        photos, others = crops[list(pulled)], [crops[list(own)] for own in judged]
        strangers = [crops[list(subject.split.photos.get(p, subject.split.unseen[p]))] for p in subject.split.holdout]
        mean = twin.embed(photos).sum(0)
        mean = (mean / mean.norm()).to(twin.device)
        shares: Shares = {}

        def judge(step: int) -> None:
            if step not in self.steps:
                return
            genuine = _genuine([unit_rows(twin.embed(own)) for own in others])
            frozen, now = subject.evaluation.frozen.impostors, _impostors(twin, strangers)
            scores = {
                "tar": (genuine, frozen),
                "tar_recalibrated": (genuine, now),
                "fitted": (pair_scores(unit_rows(twin.embed(photos))), frozen),
            }
            for number, (found, impostors) in scores.items():
                for far, mark in RATES.items():
                    share = accepted(found, impostors.threshold(far))
                    shares[f"{number}@steps={step}{mark}"] = (float(share.mean()) if len(share) else np.nan, len(share))

        def loss(pixels: Tensor) -> dict[str, Tensor]:
            return {"pull": (1 - twin.forward(pixels) @ mean).mean()}

        judge(0)
        training.fit(
            twin.network,
            lambda _generator: (photos,),
            loss,
            optimiser=torch.optim.Adam([p for p in twin.network.parameters() if p.requires_grad], self.learning_rate),
            steps=max(self.steps),
            generator=torch.Generator(),
            each=lambda step, _loss: judge(step),
        )
        return shares


def _genuine(people: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of one person's photos by the protocol, or of all pairs of photos of different people of several."""
    if len(people) > 1:
        pairs = [(a, b) for i, a in enumerate(people) for b in people[:i]]
        return np.concatenate([cosines(a, b).ravel() for a, b in pairs])
    (photos,) = people
    alone = Split(("person",), (), (), {}, {"person": tuple(range(len(photos)))})
    return Evaluation(alone, photos).searches("forget").genuine


def _impostors(target: RecognitionTarget, people: Sequence[Tensor]) -> ScoreDistribution:
    """Scores of all pairs of photos of different people, each given by their crops (protocol, line 5)."""
    if not people:
        return ScoreDistribution.of([])
    owner = np.repeat(np.arange(len(people)), [len(own) for own in people])
    blocks = pairs_of_strangers(unit_rows(target.embed(torch.cat(list(people)))), owner)
    return ScoreDistribution.of(block.scores[block.counted] for block in blocks)


def _fives(people: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """The people, `count` at a time; those who are left over are left out."""
    return [tuple(people[i : i + count]) for i in range(0, len(people) - count + 1, count)]
