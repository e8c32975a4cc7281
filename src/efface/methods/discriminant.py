"""Which way a person's features differ from other people's."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Background:
    """Other people's features at one place of a network, so that many people can be told from them.

    A person with features x_i of mean μ_p has the linear discriminant (Fisher 1936) with shrinkage
        w = (S + λ tr(S_o)/k · I)⁻¹ (μ_p − μ),    S = covariance of others about μ (alone: S_o) and of the person about
    μ_p, scaled so that μ_p scores 1 and μ scores 0. Everything is solved once for the others; a person's few photos are
    added by the identity of Sherman, Morrison and Woodbury.
    """

    mean: Tensor
    """μ [k]."""
    centred: Tensor
    """Others' features minus μ [n, k], float64."""
    ridge: float
    """λ tr(S_o)/k · n."""
    factor: Tensor
    """Cholesky factor of centred · centredᵀ + ridge or of centredᵀ · centred + ridge, whichever is smaller."""

    @classmethod
    def of(cls, others: Tensor, shrinkage: float) -> "Background":
        """others: features [n, k] of at least two photos. shrinkage: λ above 0."""
        mean = others.double().mean(0)
        centred = others.double() - mean
        n, k = centred.shape
        ridge = max(shrinkage * float(centred.square().sum()) / k, 1e-12)
        scatter = centred @ centred.T if n < k else centred.T @ centred
        factor = torch.linalg.cholesky(scatter + ridge * torch.eye(len(scatter), dtype=scatter.dtype))
        return cls(mean, centred, ridge, factor)

    def solved(self, features: Tensor) -> Tensor:
        """(centredᵀ · centred + ridge)⁻¹ applied to features − μ [m, k], float64 [m, k]."""
        given = (features.double() - self.mean).T
        if len(self.factor) == len(given):
            return torch.cholesky_solve(given, self.factor).T
        inside = torch.cholesky_solve(self.centred @ given, self.factor)
        return ((given - self.centred.T @ inside) / self.ridge).T

    def tell(self, own: Tensor) -> tuple[Tensor, float]:
        """(w [k] of a person's features [m, k]; the margin: the lowest score of one of the photos by the others' w, or
        by its own where it is the only one, minus the highest of other people's photos)."""
        solved = self.solved(own)
        gram = (own.double() - self.mean) @ solved.T
        everyone = torch.ones(len(own), dtype=torch.bool)
        w = _weights(gram, everyone) @ solved
        lowest = min(float(gram[i] @ _weights(gram, _without(everyone, i))) for i in range(len(own)))
        return w, lowest - float((self.centred @ w).max())


def _without(chosen: Tensor, i: int) -> Tensor:
    """The mask without photo i, if that leaves one."""
    others = chosen.clone()
    others[i] = len(chosen) == 1
    return others


def _weights(gram: Tensor, chosen: Tensor) -> Tensor:
    """w as a combination of the solved features [m]. gram: features · solved features [m, m]; chosen: bool [m]."""
    share = chosen.double() / chosen.sum()
    deviations = torch.diag(chosen.double())[chosen] - share
    inner = torch.eye(len(deviations), dtype=gram.dtype) + deviations @ gram @ deviations.T
    combined = share - deviations.T @ torch.linalg.solve(inner, deviations @ gram @ share)
    return combined / (share @ gram @ combined).clamp(min=1e-12)  # 0 where a person is not told from the others at all
