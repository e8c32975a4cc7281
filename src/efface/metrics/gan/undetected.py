"""Pictures without a face, counted apart: they are no forgetting (protocol, line 15)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class Undetected(Metric[Rebuilt]):
    """Share of a person's pictures in which no face is found; 0 without a detector, which looks for none."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "undetected"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.scored.missed(group)
