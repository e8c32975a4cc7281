"""Project the directions of the forgotten people out of the embedding space; no training.

Paper: ESC, "Erasing Space Concept for Knowledge Deletion" (CVPR 2025), its training-free form.
    U = the top left singular vectors of the forgotten photos' embeddings [d, n]
    y -> A y   with A = I − U Uᵀ                          (`oblique` false: the paper's)
    y -> A y   with A = I − U Wᵀ, W = C⁻¹U (UᵀC⁻¹U)⁻¹    (`oblique` true: ours)
C is the mean x xᵀ of the retained photos' embeddings plus a ridge of 1 % of its mean diagonal. Both kinds remove U
(A U = 0); among all that do, the oblique one moves the retained photos least, the mean of ‖Wᵀx‖² being smallest.

paper's value / ours: SVD of the features of one forgotten class / of the unit embeddings of each forgotten person;
top 1.5 % of the dimension in all / `directions` per person; features before a classifier / the embedding itself, by
composing A with the last linear map, so that names and shapes of the weights stay.

Mistakes avoided: a projection of what precedes a normalisation is undone in part by it; U comes from unit embeddings
and A acts last before the normalisation.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Esc(Unlearner):
    """Project out the forgotten people's directions (ESC, CVPR 2025)."""

    paper: ClassVar = "ESC, CVPR 2025"
    objective: ClassVar = "pair_cosine"

    directions: int = 3
    """Directions per forgotten person; 0: the paper's `share`. Paper: no such setting."""
    share: float = 0.015
    """Directions in all as a share of the dimension, where `directions` is 0; paper: 0.015."""
    oblique: bool = True
    """Project along directions that spare the retained people; paper: false."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        removed = self._removed(target.embed(request.forget.pixels).double(), request.forget.labels())
        dimension = len(removed)
        if not 0 < removed.shape[1] < dimension:
            raise EffaceError(
                f"esc: found {removed.shape[1]} directions to remove of {dimension}, expected some to remove and some "
                "to stay; change directions or forget fewer people at once"
            )
        along = removed
        if self.oblique:
            retained = target.embed(request.retain.pixels).double()
            spared = retained.T @ retained / max(len(retained), 1)
            ridge = 0.01 * spared.diagonal().mean() if len(retained) else 1.0
            inverse = torch.linalg.solve(spared + ridge * torch.eye(dimension, dtype=torch.float64), removed)
            along = inverse @ torch.linalg.inv(removed.T @ inverse)
        twin = target.clone()
        twin.compose_output(torch.eye(dimension, dtype=torch.float64) - removed @ along.T)
        return twin

    def _removed(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Orthonormal directions to remove [d, r] of the forgotten people's unit embeddings [n, d]."""
        if self.directions == 0:
            count = max(1, round(self.share * embeddings.shape[1]))
            return torch.linalg.svd(embeddings.T, full_matrices=False).U[:, :count]
        each = [
            torch.linalg.svd(embeddings[labels == p].T, full_matrices=False).U[:, : self.directions]
            for p in labels.unique()
        ]
        together = torch.linalg.svd(torch.cat(each, dim=1), full_matrices=False)
        return together.U[:, together.S > 1e-6]  # people may share a direction
