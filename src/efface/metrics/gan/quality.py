"""How real the faces are that are drawn: the realism score (Kynkäänniemi et al. 2019, arXiv 1904.06991, section 5) on
the features that enter the last linear map of the shipped judge, among the unseen photos of other people. Without a
detector it is what tells a face from noise."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class Quality(Metric[Rebuilt]):
    """Mean realism score of a person's pictures, above 0; read it beside that of the original's retained people."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "realism score"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "quality"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.scored.realism)
