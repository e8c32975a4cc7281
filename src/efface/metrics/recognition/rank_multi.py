"""Closed-set identification with good templates (protocol, line 10)."""

from dataclasses import dataclass

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.recognition.rank import within


@dataclass(frozen=True, kw_only=True)
class RankMulti(Metric):
    """Share of probes whose own template, mean of the other unseen photos, is among the k best; ties count against."""

    k: int = 1
    """Best templates that are looked at."""

    @property
    def key(self) -> str:
        return f"rank{self.k}_multi"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.multi_searches(group)
        return evaluation.by_person(group, searches.person, within(searches.rank, self.k))
