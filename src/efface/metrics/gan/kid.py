"""How far the generator's pictures have moved as a distribution, without the Fréchet distance's bias for few pictures:
the kernel distance (Bińkowski et al. 2018, arXiv 1801.01401) on the features that enter the last linear map of the
shipped judge."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from efface.metrics.distances import kernel_distance
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, SAMPLES, Rebuilt


@dataclass(frozen=True, kw_only=True)
class KernelDistance(Metric[Rebuilt]):
    """Squared maximum mean discrepancy of pictures of the same latents before and after."""

    groups: ClassVar[tuple[str, ...]] = (SAMPLES, *GROUPS)
    unit: ClassVar[str] = "squared distance of features"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "kid"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.distance(group, partial(kernel_distance, paired=True), real=False)
