"""Project the directions of the forgotten people out of the embedding space; no training.

Paper: ESC, "Erasing Space Concept for Knowledge Deletion" (CVPR 2025), its training-free form.
    U = the top left singular vectors of the forgotten photos' features [d, n]
    y -> (I − U Uᵀ) y

paper's value / ours: SVD of all forgotten features together / of each forgotten person's unit embeddings, the
directions then put together (`directions` 0: as the paper); top 1.5 % of the dimension / 4 directions per person;
features before a classifier / the embedding itself, by composing the projection with the last linear map, so that
names and shapes of the weights stay.

Mistakes avoided: 1.5 % of 128 dimensions are 2 directions, which cannot hold the 4 means of 4 people. Tried and left
out: an oblique projection that spares the retained photos (W = C⁻¹U(UᵀC⁻¹U)⁻¹ in place of the second U); fitted on 100
photos it forgot no more and made strangers alike.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Esc(Unlearner):
    """Project out the forgotten people's directions (ESC, CVPR 2025)."""

    paper: ClassVar = "ESC, CVPR 2025"
    objective: ClassVar = "pair_cosine"

    directions: NonNegativeInt = 4
    """Directions per forgotten person; 0: the paper's `share`. Paper: no such setting."""
    share: NonNegativeFloat = 0.015
    """Directions in all as a share of the dimension, where `directions` is 0; paper: 0.015."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        removed = self._removed(target.embed(request.forget.pixels).double(), request.forget.labels())
        dimension = len(removed)
        if not 0 < removed.shape[1] < dimension:
            raise EffaceError(
                f"esc: found {removed.shape[1]} directions to remove of {dimension}, expected some to remove and some "
                "to stay; change directions or forget fewer people at once"
            )
        twin = target.clone()
        twin.compose_output(torch.eye(dimension, dtype=torch.float64) - removed @ removed.T)
        return twin

    def _removed(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Orthonormal directions to remove [d, r] of the forgotten people's unit embeddings [n, d]."""
        if self.directions == 0:
            count = max(1, round(self.share * embeddings.shape[1]))
            return torch.linalg.svd(embeddings.T, full_matrices=False).U[:, :count]
        return directions(embeddings, labels, self.directions)


def directions(embeddings: Tensor, labels: Tensor, count: int) -> Tensor:
    """Orthonormal basis [d, r] of the top `count` directions of each person's embeddings [n, d] float64, those first
    that people share. labels: int64 [n], whose each is."""
    each = [torch.linalg.svd(embeddings[labels == p].T, full_matrices=False).U[:, :count] for p in labels.unique()]
    together = torch.linalg.svd(torch.cat(each, dim=1), full_matrices=False)
    return together.U[:, together.S > 1e-6]  # people may share a direction
