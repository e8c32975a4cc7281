"""Identity similarity that an average face does not have. Ours."""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class NetIdentitySimilarity(Metric[Drawings]):
    """`ism` − the mean cosine of the same pictures with everybody else's templates."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "ism_net"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.genuine - evaluation.others)
