"""The error rate at the threshold where both errors are equally frequent."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson, Evaluation
from efface.metrics.scores import ScoreDistribution


@dataclass(frozen=True, kw_only=True)
class EqualErrorRate(Metric):
    """Equal error rate of a person's genuine scores against the impostor pairs, both under the model under test."""

    recognised: ClassVar[Literal["higher", "lower"]] = "lower"

    @property
    def key(self) -> str:
        return "eer"

    def measure(self, evaluation: Evaluation, group: str) -> ByPerson:
        searches = evaluation.searches(group)
        members = evaluation.members(group)
        rates = [equal_error_rate(searches.genuine[searches.person == p], evaluation.impostors) for p in members]
        trials = np.bincount(searches.person, minlength=len(evaluation.people))[members]
        return ByPerson(evaluation.group(group), np.array(rates, np.float64), trials)


def equal_error_rate(genuine: np.ndarray, impostors: ScoreDistribution) -> float:
    """Where the straight lines between the operating points cross FAR = FRR; in [0, 1], .5 where nothing separates.

    genuine: scores [m]. Both errors change only at a genuine or impostor score. Between two genuine scores FRR stands
    still while FAR grows, so it is enough to look just above and at each genuine score. nan without scores.
    """
    if not len(genuine) or not impostors.total:
        return float("nan")
    scores, counts = np.unique(genuine, return_counts=True)
    scores, counts = scores[::-1], counts[::-1]
    missed = 1 - np.concatenate([[0], np.cumsum(counts)]) / len(genuine)  # FRR before and after each genuine score
    far_above = 1 - impostors.up_to(scores) / impostors.total
    far_at = 1 - impostors.below(scores) / impostors.total
    step = int(np.argmax(far_at >= missed[1:]))  # the first at which FAR has caught up; at the last FRR is 0
    behind = missed[step] - far_above[step]
    if behind <= 0:
        return float(missed[step])
    ahead = far_at[step] - missed[step + 1]
    return float(missed[step] + behind / (behind + ahead) * (missed[step + 1] - missed[step]))
