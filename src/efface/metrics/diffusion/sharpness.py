"""How much fine detail the generated faces have, whatever it shows."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class Sharpness(Metric[Drawings]):
    """Mean variance of the Laplacian of the aligned face's luma (Pech-Pacheco et al. 2000), grey levels squared."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "grey levels squared"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "sharpness"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.pictures.sharpness.numpy()[evaluation.found])
