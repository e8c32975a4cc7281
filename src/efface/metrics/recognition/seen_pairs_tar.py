"""Verification among the photos that the method was given (protocol, line 11)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted
from efface.targets.cosines import pair_scores


@dataclass(frozen=True, kw_only=True)
class SeenPairsTrueAcceptRate(Metric):
    """Share of pairs of a forgotten person's seen photos that match at the threshold of the original model."""

    groups: ClassVar[tuple[str, ...]] = ("forget_seen",)

    far: float = 1e-3
    """False accept rate of the threshold."""

    @property
    def key(self) -> str:
        return "seen_pairs_tar"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.impostors.threshold(self.far)
        pairs = [pair_scores(photos) for photos in evaluation.photos(group)]
        person = np.repeat(evaluation.members(group), [len(p) for p in pairs])
        scores = np.concatenate([np.empty(0, np.float32), *pairs])
        return evaluation.by_person(group, person, accepted(scores, threshold))
