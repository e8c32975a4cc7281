"""How tight a person's photos lie together (Zakharov 2025, arXiv 2512.13317, reports such a score)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.targets.cosines import pair_scores


@dataclass(frozen=True, kw_only=True)
class Compactness(Metric):
    """Mean cosine of all pairs of a person's photos: the unseen ones, or in `forget_seen` the seen ones."""

    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "compactness"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        pairs = [pair_scores(photos) for photos in evaluation.photos(group)]
        person = np.repeat(evaluation.members(group), [len(p) for p in pairs])
        return evaluation.by_person(group, person, np.concatenate([np.empty(0), *pairs]))
