"""Multinomial logistic regression with an L2 penalty, fitted by L-BFGS in double precision."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 500
"""Most steps of L-BFGS; a few dozen are enough."""


@dataclass(frozen=True)
class Logistic:
    """probabilities = softmax((features − centre) Wᵀ + b)."""

    weight: Tensor
    """float64 [classes, d]."""
    bias: Tensor
    """float64 [classes]."""
    centre: Tensor
    """float64 [d]."""

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, strength: float) -> "Logistic":
        """Minimise ½‖W‖² + strength · Σ cross-entropy, which is scikit-learn's with C = strength; the bias is free.

        features: [n, d]. labels: int64 [n], every class at least once. The best W is made of the features' own
        directions, so it is sought in the at most n dimensions that they span.
        """
        exact = features.double()
        centre = exact.mean(0)
        basis = torch.linalg.svd(exact - centre, full_matrices=False).Vh  # [r, d]
        reduced = (exact - centre) @ basis.T
        classes = int(labels.max()) + 1
        weight = torch.zeros(classes, len(basis), dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [weight, bias],
            max_iter=STEPS,
            history_size=20,
            tolerance_grad=1e-8,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            fit = F.cross_entropy(F.linear(reduced, weight, bias), labels)
            loss = fit + weight.square().sum() / (2 * strength * len(labels))
            loss.backward()
            return loss

        with torch.enable_grad():
            optimiser.step(closure)
        return cls(weight.detach() @ basis, bias.detach(), centre)

    def probabilities(self, features: Tensor) -> Tensor:
        """float64 [n, classes] of features [n, d]."""
        return F.linear(features.double() - self.centre, self.weight, self.bias).softmax(1)
