"""How much the pictures of a latent have changed to look at, whoever is in them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class PerceptualChange(Metric[Rebuilt]):
    """Mean distance of a person's pictures from the original model's of the same latent, from the same cameras.

    LPIPS's form on the features of the judge that comes with efface, not LPIPS (`targets/perceptual.py`)."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "distance of features"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "perceptual"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.beside_original(group, evaluation.changed)
