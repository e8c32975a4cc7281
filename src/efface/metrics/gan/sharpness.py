"""How much fine detail the faces have that are drawn, whatever it shows: to the judge a blurred face is a real one."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class Sharpness(Metric[Rebuilt]):
    """Mean variance of the Laplacian of the aligned face's luma (Pech-Pacheco et al. 2000), grey levels squared."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "grey levels squared"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "sharpness"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.scored.pictures.sharpness.numpy()[evaluation.scored.found])
