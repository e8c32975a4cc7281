"""Retrieval (protocol, lines 7 and 8)."""

from dataclasses import dataclass

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision(Metric):
    """Mean average precision of the probes' searches, in a gallery of one photo a person; ties count against."""

    @property
    def key(self) -> str:
        return "map"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, average_precision(searches.rank))


def average_precision(ranks: np.ndarray) -> np.ndarray:
    """Average precision of searches in which one template is right, at these ranks (from 1): 1 / rank."""
    return 1.0 / ranks
