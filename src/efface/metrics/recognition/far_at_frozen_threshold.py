"""Whether strangers are still told apart: where a collapse of the whole space shows first (protocol, line 13)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import IMPOSTORS, ByPerson, Evaluation


@dataclass(frozen=True, kw_only=True)
class FarAtFrozenThreshold(Metric):
    """Share of impostor pairs that the model under test accepts at the threshold of the original model."""

    groups: ClassVar[tuple[str, ...]] = (IMPOSTORS,)
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"
    pairs_of_people: ClassVar[bool] = True

    far: float = 1e-3
    """False accept rate of the threshold, under the original model."""

    @property
    def key(self) -> str:
        return "far_at_frozen_threshold"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        threshold = evaluation.frozen.impostors.threshold(self.far)
        pairs = evaluation.pairs_by_person
        if threshold is None:
            return ByPerson(evaluation.group(group), np.full(len(pairs), np.nan), pairs)
        accepts = evaluation.false_accepts(threshold)
        shares = np.divide(accepts, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
        return ByPerson(evaluation.group(group), shares, pairs)
