"""How far a group's pictures are from others, as normal distributions: the Fréchet distance (Heusel et al. 2017, arXiv
1706.08500), on the features that enter the last linear map of the shipped judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from efface.metrics.distances import frechet_distance
from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class FrechetDistance(Metric[Drawings]):
    """Squared Fréchet distance of a group's pictures and a reference, by the judge's features."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "squared distance of features"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"real": False}, {"real": True})

    real: bool = False
    """Whether the reference is the unseen photos of the same people; False: the original model's pictures of them."""

    @property
    def key(self) -> str:
        return "fid_real" if self.real else "fid"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.whole(group, frechet_distance, self.real)
