"""Whether strangers are still told apart: where a collapse of the whole space shows first (protocol, line 13)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from efface.metrics.metric import Metric, rate_text
from efface.metrics.protocol import IMPOSTORS, ByPerson, Evaluation


@dataclass(frozen=True, kw_only=True)
class FarAtFrozenThreshold(Metric):
    """Share of impostor pairs that the model under test accepts at the threshold of the original model."""

    groups: ClassVar[tuple[str, ...]] = (IMPOSTORS,)
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    pairs_of_people: ClassVar[bool] = True

    audited: ClassVar[tuple[Mapping[str, Any], ...]] = ({"far": 1e-2}, {"far": 1e-3})

    far: float = 1e-3
    """False accept rate of the threshold, under the original model."""

    @property
    def key(self) -> str:
        name = "far_at_frozen_threshold"  # that of 1e-3, which the gate is about, has no rate in its key
        return name if self.far == 1e-3 else f"{name}@far={rate_text(self.far)}"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.impostors.threshold(self.far)
        pairs = evaluation.pairs_by_person
        if threshold is None:
            return ByPerson(evaluation.group(group), np.full(len(pairs), np.nan), pairs)
        accepts = evaluation.false_accepts(threshold)
        shares = np.divide(accepts, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return ByPerson(evaluation.group(group), shares, pairs)
