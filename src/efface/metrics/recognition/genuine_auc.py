"""Whether genuine scores can be told from impostors' at all."""

from dataclasses import dataclass

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import ScoreDistribution


@dataclass(frozen=True, kw_only=True)
class GenuineAuc(Metric):
    """Area under the ROC curve of genuine against impostor scores, both under the model under test; .5 is chance."""

    @property
    def key(self) -> str:
        return "genuine_auc"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.searches(group)
        return evaluation.by_person(group, searches.person, impostors_below(searches.genuine, evaluation.impostors))


def impostors_below(genuine: np.ndarray, impostors: ScoreDistribution) -> np.ndarray:
    """Share of impostor scores below each genuine score, equal ones by half; the mean over genuine scores is the area
    under the ROC curve (Mann and Whitney 1947). nan without impostors."""
    if not impostors.total:
        return np.full(genuine.shape, np.nan)
    return (impostors.below(genuine) + impostors.up_to(genuine)) / (2 * impostors.total)
