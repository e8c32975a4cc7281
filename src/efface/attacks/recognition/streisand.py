"""Tell who was erased from the erasure: embeddings that jump when the photo moves by two pixels.

Ours; named after the effect that hiding something shows where it is. A photo's instability is 1 − the mean cosine of
its embedding with those of the photo shifted by `pixels` to the left, right, up and down (the border is repeated). The
number is the area under the ROC curve of the person's unseen photos against those of all who stay, ties by half: .5
tells nobody, 1 is a list of the erased; below .5 the erased are the more stable ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from efface.attacks.attack import Attack, Group, Outcome, Subject
from efface.faces.views import DIRECTIONS, shifted
from efface.targets.cosines import paired_cosines, unit_rows


@dataclass(frozen=True, kw_only=True)
class Streisand(Attack):
    """Photos of erased people stand out by embeddings that a small shift changes."""

    access: ClassVar = "the embeddings, and one photo"
    control: ClassVar = "retained people against held-out ones: whether being given to the method shows, not erasure"

    pixels: PositiveInt = 2
    """By how much a photo is shifted, of a side of 112."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        split, evaluation = subject.split, subject.evaluation
        stay = (*split.retain, *split.holdout)
        unstable = self._instability(subject, (*split.forget, *stay))
        number = f"auc@shift={self.pixels}"
        groups: dict[Group, tuple[str, Sequence[str]]] = {
            "forget": ("forget", stay),
            "control": ("retain", split.holdout),
        }
        for group, (members, others) in groups.items():
            people = evaluation.members(members).tolist()
            crowd = np.concatenate([np.empty(0), *(unstable[p] for p in others)])
            person = np.repeat(people, [len(unstable[evaluation.people[i]]) for i in people])
            values = np.concatenate(
                [np.empty(0), *(_share_below(unstable[evaluation.people[i]], crowd) for i in people)]
            )
            yield Outcome(group, number, evaluation.by_person(members, person.astype(np.int64), values))

    def _instability(self, subject: Subject, people: Sequence[str]) -> dict[str, np.ndarray]:
        """Person -> instability of each unseen photo."""
        unseen = subject.split.unseen
        rows = [i for p in people for i in unseen[p]]
        pixels, plain = subject.crops.pixels[rows], subject.evaluation.embeddings[rows]
        moved = (shifted(pixels, self.pixels * right, self.pixels * down) for right, down in DIRECTIONS)
        alike = [paired_cosines(plain, unit_rows(subject.target.embed(view))) for view in moved]
        ends = np.cumsum([len(unseen[p]) for p in people])[:-1]
        return dict(zip(people, np.split(1 - np.mean(alike, axis=0), ends), strict=True))


def _share_below(values: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """For each value the share of the crowd below it, ties by half; nan without a crowd."""
    ordered = np.sort(crowd)
    counts = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return counts / (2 * len(crowd)) if len(crowd) else np.full(len(values), np.nan)
