"""Verification with good templates (protocol, line 10)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import accepted


@dataclass(frozen=True, kw_only=True)
class TrueAcceptRateMulti(Metric):
    """Share of probes that match the mean of their person's other unseen photos at the original model's threshold."""

    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"far": 1e-2}, {"far": 1e-3})

    far: float = 1e-3
    """False accept rate of the threshold."""

    @property
    def key(self) -> str:
        return f"tar_multi@far={rate_text(self.far)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.impostors.threshold(self.far)
        searches = evaluation.multi_searches(group)
        return evaluation.by_person(group, searches.person, accepted(searches.genuine, threshold))
