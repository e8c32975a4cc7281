"""Impersonation: a forgotten person who is taken for somebody else (protocol, line 12)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class Misidentified(Metric):
    """Share of probes of people who are not in the gallery of retained people that match somebody in it."""

    groups: ClassVar[tuple[str, ...]] = ("forget", "holdout")
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"

    fpir: float = 1e-2
    """False positive identification rate of the threshold, under the original model."""

    @property
    def key(self) -> str:
        return f"misidentified@fpir={rate_text(self.fpir)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.non_mated.threshold(self.fpir)
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, accepted(searches.rival, threshold))
