"""How near the nearest other photo of the same person is: a cluster may scatter on average and still be found."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.targets.cosines import cosines


@dataclass(frozen=True, kw_only=True)
class CompactnessNearest(Metric):
    """Cosine of a photo with the nearest other photo of the person: unseen ones, or in `forget_seen` seen ones."""

    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "compactness_nearest"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        nearest = [nearest_positive(photos) for photos in evaluation.photos(group)]
        person = np.repeat(evaluation.members(group), [len(n) for n in nearest])
        return evaluation.by_person(group, person, np.concatenate([np.empty(0), *nearest]))


def nearest_positive(photos: np.ndarray) -> np.ndarray:
    """For each of one person's photos the best score with another one: unit rows [m, d] -> float32 [m], or [0] of one
    photo alone."""
    if len(photos) < 2:
        return np.empty(0, np.float32)
    scores = cosines(photos, photos)
    np.fill_diagonal(scores, -np.inf)
    return scores.max(1)
