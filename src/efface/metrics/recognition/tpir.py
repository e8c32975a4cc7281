"""Open-set identification (protocol, line 12; ISO/IEC 19795-1: 1 − FNIR at rank 1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from efface.metrics.metric import FPIRS, Metric, rate_text
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class TruePositiveIdentificationRate(Metric):
    """Share of probes whose own template comes first among the retained people's and is above the threshold."""

    audited: ClassVar[tuple[Mapping[str, Any], ...]] = tuple({"fpir": fpir} for fpir in FPIRS)

    fpir: float = 1e-2
    """False positive identification rate of the threshold: share of holdout photos that some template matches."""

    @property
    def key(self) -> str:
        return f"tpir@fpir={rate_text(self.fpir)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.non_mated.threshold(self.fpir)
        searches = evaluation.searches(group)
        found = identified(searches.genuine, searches.rival, threshold)
        return evaluation.by_person(group, searches.person, found)


def identified(genuine: np.ndarray, rival: np.ndarray, threshold: float | None) -> np.ndarray:
    """1 where the own template's score is strictly above the threshold and above the best of the others, else 0; nan
    where there is no threshold."""
    return accepted(genuine, threshold) * (genuine > rival)
