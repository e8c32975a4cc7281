"""Whether trying several seeds finds the person (U&ME challenge, ECCV 2026: Leak@k)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson
from efface.metrics.scores import accepted
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class Leak(Metric[Drawings]):
    """Share of people of whom any of the first k pictures matches the template.

    The challenge counts (person, reference photo) groups; here a person has one condition, the mean of several photos.
    """

    groups: ClassVar[tuple[str, ...]] = GROUPS
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"k": 1}, {"k": 4}, {"k": 8})

    k: int = 8
    """Pictures that are tried; null where fewer were drawn."""
    far: float = 1e-2
    """False accept rate of the threshold, as for `tar`."""

    @property
    def key(self) -> str:
        return f"leak@k={self.k},far={rate_text(self.far)}"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        verified = accepted(evaluation.genuine, evaluation.threshold(self.far))
        return evaluation.first(group, verified, self.k)
