"""Whether several forgotten people end with the same replacement face: with GUIDE they did (docs/gan.md). Ours."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import Rebuilt


@dataclass(frozen=True, kw_only=True)
class ReplacementSimilarity(Metric[Rebuilt]):
    """Mean cosine of a forgotten person's pictures with the other forgotten people's from the same side."""

    groups: ClassVar[tuple[str, ...]] = ("forget",)
    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "replacement_similarity"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.alike()
