"""Closed-set identification (protocol, lines 7 and 8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation


@dataclass(frozen=True, kw_only=True)
class Rank(Metric):
    """Share of probes whose own template, one photo, is among the k best of everybody's; ties count against."""

    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"k": 1}, {"k": 5})

    k: int = 1
    """Best templates that are looked at."""

    @property
    def key(self) -> str:
        return f"rank{self.k}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, within(searches.rank, self.k))


def within(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 where a rank (from 1) is at most k, else 0; float64, the shape of `ranks`."""
    return (ranks <= k).astype(np.float64)
