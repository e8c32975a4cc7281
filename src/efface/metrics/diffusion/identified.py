"""Verified and nearest: what the U&ME challenge (ECCV 2026) counts, FA of the forgotten and RA of the retained."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson
from efface.metrics.scores import accepted
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class Identified(Metric[Drawings]):
    """Share of a person's pictures that match the template and are nearer to it than to anybody else's."""

    groups: ClassVar[tuple[str, ...]] = GROUPS

    far: float = 1e-2
    """False accept rate of the threshold, as for `tar`."""

    @property
    def key(self) -> str:
        return f"identified@far={rate_text(self.far)}"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        verified = accepted(evaluation.genuine, evaluation.threshold(self.far))
        return evaluation.by_person(group, verified * evaluation.nearest)
