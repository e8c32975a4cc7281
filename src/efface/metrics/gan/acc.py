"""Nearest-centroid accuracy of what is drawn."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class NearestCentroidAccuracy(Metric[Rebuilt]):
    """Share of a person's pictures whose nearest template of everybody's is the person's; ties count against."""

    groups: ClassVar[tuple[str, ...]] = GROUPS

    @property
    def key(self) -> str:
        return "acc"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.scored.nearest)
