"""Nearest-centroid accuracy (PIU, arXiv 2605.22311: AccU of the forgotten, AccR of the retained)."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class NearestCentroidAccuracy(Metric[Drawings]):
    """Share of a person's pictures whose nearest template of everybody's is the person's; ties count against."""

    groups: ClassVar[tuple[str, ...]] = GROUPS

    @property
    def key(self) -> str:
        return "acc"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.nearest)
