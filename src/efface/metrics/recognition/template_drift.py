"""How far templates moved: whether a gallery of old templates still fits the new model."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import SEARCHES, ByPerson, Evaluation
from efface.targets.cosines import paired_cosines


@dataclass(frozen=True, kw_only=True)
class TemplateDrift(Metric):
    """Mean of 1 − cosine of a person's templates under the model under test and under the original."""

    groups: ClassVar[tuple[str, ...]] = ("forget", "retain", "holdout", "neighbours")
    unit: ClassVar[str] = "1 − cosine"
    recognised: ClassVar[Literal["higher", "lower"]] = "lower"

    @property
    def key(self) -> str:
        return "template_drift"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        new, old = evaluation.embeddings, evaluation.frozen.embeddings
        members = evaluation.members(group)
        templates = evaluation.templates[members]
        if new.shape[1] != old.shape[1]:  # two spaces that cannot be compared
            return ByPerson(evaluation.group(group), np.full(len(members), np.nan), np.zeros(len(members), np.int64))
        drift = 1 - paired_cosines(new[templates], old[templates]).astype(np.float64)
        return evaluation.by_person(group, np.repeat(members, SEARCHES), drift.ravel())
