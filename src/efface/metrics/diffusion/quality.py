"""How good the generated faces are to a recogniser: the stability of the embedding, in the manner of SER-FIQ (Terhörst
et al. 2020, arXiv 2003.09373).

It is not eDifFIQA, which PIU reports: that is a network of its own, trained on real faces. It tells a face from noise,
not a good picture from a plain one; read it beside the same number of the original model and of photos.
"""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import GROUPS, Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson


@dataclass(frozen=True, kw_only=True)
class Quality(Metric[Drawings]):
    """Mean stability of the shipped judge's embedding under shifts of two pixels (`perception.stability`), 0 to 1."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "quality"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.pictures.stability.numpy()[evaluation.found])
