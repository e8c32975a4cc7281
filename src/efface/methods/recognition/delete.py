"""Teach the network its own answers with the true class struck out.

Paper: DELETE, "Decoupled Distillation to Erase" (Zhou et al., CVPR 2025, arXiv 2503.23751), and its official code.
    teacher   softmax(logits of the original, that of the true class set to −∞)
    loss      KL(teacher ‖ student) on the photos to forget, summed over classes, mean over photos

paper's value / ours: SGD, momentum 0.9, batch 64 / the same; 20 epochs, learning rate 5e-5 (VGGFace2), 1e-3 (CIFAR-10)
/ 100 steps; forget photos only / plus a retain term (ours, see `retain_weight`); the network's own head,
trained / a fixed CosFace head from class means, since the checkpoint has none; all weights / the last block. The margin
is off: a soft label has no true class to put it on, and the loss keeps its gradient without, as the student's true
class has all the probability and the teacher's none.

Mistakes avoided: the official code leaves BatchNorm in training mode unless told, so photos of one class rewrite its
statistics; here it is frozen. The true class is at −∞, not at −1e10.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    Photos,
    class_head,
    distillation,
    forgotten_photos,
    retained_photos,
    train_on_both,
)
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Delete(Unlearner):
    """Distil the original's answers without the true class (DELETE)."""

    paper: ClassVar = "DELETE, Zhou et al., CVPR 2025, arXiv 2503.23751"
    objective: ClassVar = "head_accuracy"

    learning_rate: PositiveFloat = 2e-3
    """Of SGD with momentum 0.9; paper: 5e-5 (VGGFace2), 1e-3 (CIFAR-10)."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 20 epochs."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no retain term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "forget": erasing_distillation(head, forgotten),
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


def erasing_distillation(head: MarginHead, forgotten: Photos) -> Tensor:
    """The header's loss: `before` is the teacher's side."""
    teacher = head(forgotten.before).scatter(1, forgotten.classes[:, None], -torch.inf)
    return distillation(head(forgotten.x), teacher)
