"""Verification at a frozen threshold (protocol, lines 6 and 9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.metrics.metric import FARS, Metric, rate_text
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class TrueAcceptRate(Metric):
    """Share of probes that match their own template, one photo, at the threshold of the original model."""

    audited: ClassVar[tuple[Mapping[str, Any], ...]] = tuple({"far": far} for far in FARS)

    far: float = 1e-3
    """False accept rate of the threshold."""

    @property
    def key(self) -> str:
        return f"tar@far={rate_text(self.far)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.impostors.threshold(self.far)
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, accepted(searches.genuine, threshold))
