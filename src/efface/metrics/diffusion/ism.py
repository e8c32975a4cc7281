"""Identity similarity: whether a generated face is the person's (PIU, arXiv 2605.22311: ISM)."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class IdentitySimilarity(Metric[Drawings]):
    """Mean cosine of a person's pictures with the template, the mean of real unseen photos."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "ism"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.genuine)
