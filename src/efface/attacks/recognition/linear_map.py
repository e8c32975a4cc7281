"""Map the new embeddings back into the old space.

Ours: ridge regression without an offset from the model under attack to the original one, fitted on the retained
people's seen photos X -> Y (unit rows): W = (XᵀX + ridge · I)⁻¹ XᵀY. A probe x becomes xW, normalised, and is searched
among the original model's templates at the frozen threshold; `old_templates` is the same without the map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat
from torch import Tensor

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class LinearMap(Attack):
    """A linear map learned from other people takes the person's embeddings back to the old templates."""

    access: ClassVar = "both models' embeddings of retained people, and old templates of the person"
    control: ClassVar = "retained people, whose seen photos the map was fitted on"

    ridge: PositiveFloat = 0.1
    """Penalty of the regression; the rows are unit vectors."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        old = subject.evaluation.frozen
        space = Evaluation(subject.split, self._mapped(subject), old)
        yield from recognised(f"ridge={self.ridge:g}", space, space.cross_version_searches, old.impostors)

    def _mapped(self, subject: Subject) -> Tensor:
        """Unit embeddings [n, d] of all photos in the original model's space."""
        split = subject.split
        rows = [i for p in split.retain for i in split.seen.get(p, ())]
        new, old = (torch.from_numpy(e.embeddings).double() for e in (subject.evaluation, subject.evaluation.frozen))
        penalty = self.ridge * torch.eye(new.shape[1], dtype=torch.float64)
        weight = torch.linalg.solve(new[rows].T @ new[rows] + penalty, new[rows].T @ old[rows])
        return F.normalize(new @ weight, dim=1)
