"""How much a forgotten person's pictures have become those of the anchor, who may be real. Ours."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from efface.metrics.drawings import Drawings
from efface.metrics.metric import Metric
from efface.metrics.protocol import ByPerson
from efface.targets.cosines import cosines


@dataclass(frozen=True, kw_only=True)
class AnchorSimilarity(Metric[Drawings]):
    """Mean cosine of a forgotten person's pictures with the anchor.

    With its condition, or by a judge with its template, null where the anchor is nobody."""

    groups: ClassVar[tuple[str, ...]] = ("forget",)
    unit: ClassVar[str] = "cosine"

    @property
    def key(self) -> str:
        return "anchor_similarity"

    def measure(self, evaluation: Drawings, group: str) -> ByPerson:
        values = np.full(len(evaluation.embeddings), np.nan)
        people = evaluation.people[evaluation.found]
        for person in evaluation.group(group):
            anchor = evaluation.subjects.anchor(person, evaluation.scorer)
            if anchor is not None:
                rows = people == person
                values[rows] = cosines(evaluation.embeddings[rows], anchor[None])[:, 0]
        return evaluation.by_person(group, values)
