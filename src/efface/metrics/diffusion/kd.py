"""How far a group's pictures are from others, as distributions: the kernel distance (Bińkowski et al. 2018, arXiv
1801.01401), on the features that enter the last linear map of the shipped judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from efface.metrics.distances import kernel_distance
from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class KernelDistance(Metric[Drawings]):
    """Squared maximum mean discrepancy of a group's pictures and a reference, by the judge's features."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "squared distance of features"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"real": False}, {"real": True})

    real: bool = False
    """Whether the reference is the unseen photos of the same people; False: the original model's pictures of them."""

    @property
    def key(self) -> str:
        return "kd_real" if self.real else "kd"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        distance = kernel_distance if self.real else partial(kernel_distance, paired=True)
        return evaluation.whole(group, distance, self.real)
