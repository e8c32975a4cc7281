"""Identification in a gallery that was enrolled before unlearning."""

from dataclasses import dataclass

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.recognition.rank import within


@dataclass(frozen=True, kw_only=True)
class CrossVersionRank(Metric):
    """Share of probes of the model under test whose own template of the original model is among the k best."""

    k: int = 1
    """Best templates that are looked at."""

    @property
    def key(self) -> str:
        return f"cross_version_rank{self.k}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.cross_version_searches(group)
        if searches is None:  # two spaces that cannot be compared
            return evaluation.by_person(group, np.empty(0, np.int64), np.empty(0))
        return evaluation.by_person(group, searches.person, within(searches.rank, self.k))
