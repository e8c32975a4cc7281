"""Verification by an operator who sets the threshold anew (protocol, line 13)."""

from dataclasses import dataclass

from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class TrueAcceptRateRecalibrated(Metric):
    """Share of probes that match their own template, one photo, at a threshold refitted under the model under test."""

    far: float = 1e-3
    """False accept rate of the threshold."""

    @property
    def key(self) -> str:
        return f"tar_recalibrated@far={rate_text(self.far)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.impostors.threshold(self.far)
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, accepted(searches.genuine, threshold))
