"""How real the generated faces are: the realism score (Kynkäänniemi et al. 2019, arXiv 1904.06991, section 5) on the
features that enter the last linear map of the shipped judge, among the unseen photos of other people.

It is not eDifFIQA, which PIU reports: that is a network of its own, trained on real faces. To the judge a blurred
face is a real one, so `sharpness` stands beside it; so is an average face, for which there is `ism_net`. SER-FIQ's way,
the stability of the embedding, was tried and left: the judge is as sure of pure noise as of a photo (docs/diffusion.md,
python -m benchmarks.quality).
"""

from dataclasses import dataclass
from typing import ClassVar

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.metrics.subjects import GROUPS


@dataclass(frozen=True, kw_only=True)
class Quality(Metric[Drawings]):
    """Mean realism score of a person's pictures, above 0; read it beside that of photos."""

    groups: ClassVar[tuple[str, ...]] = GROUPS
    unit: ClassVar[str] = "realism score"
    by_judges: ClassVar[bool] = False

    @property
    def key(self) -> str:
        return "quality"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        return evaluation.by_person(group, evaluation.realism)
