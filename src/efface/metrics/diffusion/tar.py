"""Verification of generated faces against the real person (protocol, lines 6 and 15)."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson
from efface.metrics.scores import accepted
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class TrueAcceptRate(Metric[Drawings]):
    """Share of a person's pictures that match the template at the threshold of the original model."""

    groups: ClassVar[tuple[str, ...]] = GROUPS

    far: float = 1e-2
    """False accept rate of the threshold, over the original model's pictures of held-out people and the templates of
    other held-out people."""

    @property
    def key(self) -> str:
        return f"tar@far={rate_text(self.far)}"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, accepted(evaluation.genuine, evaluation.threshold(self.far)))
