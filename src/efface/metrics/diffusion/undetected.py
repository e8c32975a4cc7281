"""Pictures without a face, counted apart: they are no forgetting (protocol, line 15)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class Undetected(Metric[Drawings]):
    """Share of a person's pictures in which no face is found; no other number counts them."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"

    @property
    def key(self) -> str:
        return "undetected"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.missed(group)
