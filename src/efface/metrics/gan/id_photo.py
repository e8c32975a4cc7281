"""Whether what is drawn is the real person: against photos, not against the generator's own earlier picture. Ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, YAWS, Rebuilt


@dataclass(frozen=True, kw_only=True)
class IdentityOfPhotos(Metric[Rebuilt]):
    """Mean cosine of a person's pictures with the template, the mean of real unseen photos."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "cosine"
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, *({"yaw": yaw} for yaw in YAWS))

    yaw: float | None = None
    """From where, degrees; None: from all sides."""

    @property
    def key(self) -> str:
        return "id_photo" if self.yaw is None else f"id_photo@yaw={self.yaw:g}"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.scored.genuine, self.yaw)
