"""Climb the classification loss of the people to forget while descending that of the retained.

Paper: NegGrad+ of Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023 (arXiv 2302.09880), and its
official code.
    loss   β·CE(retained, true label) − (1 − β)·CE(forgotten, true label)      CE of s·cos with margin

paper's value / ours: β 0.95 (small scale), 0.9999 (large) / 0.95; SGD, learning rate 0.01, 10 epochs, weight decay 0.1
/ the same rate, momentum 0.9, 100 steps, no decay, which would pull weights that nobody trained for this towards 0;
unbounded / bounded (ours, see `bound`); besides the retained cross-entropy also their drift (ours, see
`retain_weight`); the network's own head, trained / a fixed CosFace head from class means, margin on, since the
checkpoint has none; all weights / the last block. BatchNorm is frozen.

Mistakes avoided: without the margin well-fitted photos have no gradient on either side; the negative term has no lower
bound of its own, so a photo stops pulling at chance level.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    Photos,
    bounded_ascent,
    class_head,
    forgotten_photos,
    retained_photos,
    train_on_both,
)
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class NegativeGradientPlus(Unlearner):
    """Descend the retained people's cross-entropy and climb that of the forgotten (NegGrad+), bounded."""

    paper: ClassVar = "NegGrad+, Kurmanji et al., NeurIPS 2023, arXiv 2302.09880"
    objective: ClassVar = "head_accuracy"

    beta: Annotated[float, Field(ge=0, le=1)] = 0.95
    """β: share of the retained people's loss; paper: 0.95, 0.9999."""
    bound: NonNegativeFloat = 1.0
    """Plain cross-entropy above which a forgotten photo has no gradient, in units of log(classes); paper: none."""
    learning_rate: PositiveFloat = 0.01
    """Of SGD with momentum 0.9; paper: 0.01."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 10 epochs."""
    retain_weight: NonNegativeFloat = 10.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        most = self.bound * math.log(len(head.weight))

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                **negative_gradient_terms(head, forgotten, retained, self.beta, most),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            forgotten_photos(seen),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate, momentum=0.9),
            steps=self.steps,
            generator=generator,
        )
        return part.result()


def negative_gradient_terms(
    head: MarginHead, forgotten: Photos, retained: Photos, beta: float, most: float
) -> dict[str, Tensor]:
    """The header's two terms; forgotten photos whose plain cross-entropy is `most` or above count 0."""
    return {
        "retained": beta * F.cross_entropy(head(retained.x, retained.classes), retained.classes),
        "forgotten": (1 - beta) * bounded_ascent(head, forgotten.x, forgotten.classes, most),
    }
