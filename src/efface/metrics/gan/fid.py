"""How far the generator's pictures have moved as a distribution: the Fréchet distance (Heusel et al. 2017, arXiv
1706.08500) on the features that enter the last linear map of the shipped judge. GUIDE's FID_pre and ΔFID_real are the
same on Inception's features, of 5,000 samples; only sets of equal size and equal features compare."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from efface.metrics.distances import frechet_distance
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, SAMPLES, Rebuilt


@dataclass(frozen=True, kw_only=True)
class FrechetDistance(Metric[Rebuilt]):
    """Squared Fréchet distance of pictures before and after, or how much further from photos they are after."""

    groups: ClassVar[tuple[str, ...]] = (SAMPLES, *GROUPS)
    unit: ClassVar[str] = "squared distance of features"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"real": False}, {"real": True})

    real: bool = False
    """Whether the reference is everybody's unseen photos: the distance after − before; False: the original model's
    pictures of the same latents."""

    @property
    def key(self) -> str:
        return "delta_fid_real" if self.real else "fid_pre"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.distance(group, frechet_distance, self.real)
