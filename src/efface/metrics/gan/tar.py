"""Verification of what is drawn against the real person, over all views and as a curve (protocol, lines 6 and 15)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson
from efface.metrics.rebuilding import GROUPS, YAWS, Rebuilt
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class TrueAcceptRate(Metric[Rebuilt]):
    """Share of a person's pictures that match the template at the threshold of the original model."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, *({"yaw": yaw} for yaw in YAWS))

    far: float = 1e-2
    """False accept rate of the threshold, over the original model's pictures of held-out people, from all sides, and
    the templates of other held-out people."""
    yaw: float | None = None
    """From where, degrees; None: from all sides."""

    @property
    def key(self) -> str:
        where = "" if self.yaw is None else f",yaw={self.yaw:g}"
        return f"tar@far={rate_text(self.far)}{where}"

    def measure(self, evaluation: Rebuilt, group: str) -> ByPerson:
        scored = evaluation.scored
        return evaluation.by_person(group, accepted(scored.genuine, scored.threshold(self.far)), self.yaw)
