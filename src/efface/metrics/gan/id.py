"""Whether the same latent still draws the same face (GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879: ID and, from the
person's other photos, ID_others). The paper's recogniser is CurricularFace and its views are 11 within ±15° of yaw;
here recogniser and views are those of the audit."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class IdentityKept(Metric[Rebuilt]):
    """Mean cosine of a person's pictures with the original model's of the same latent, from the same cameras."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "id"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.beside_original(group, evaluation.kept)
