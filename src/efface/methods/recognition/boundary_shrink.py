"""Move each photo to forget across its nearest decision boundary.

Source: Boundary Shrink of Boundary Unlearning (Chen et al., CVPR 2023) and its official code.
    x_adv  = x + ε·sign(∇_x CE(original(x), y))           one FGSM step on the frozen original
    y_adv  = its predicted class, y excluded
    loss   CE(s·cos with margin, y_adv) on the photos to forget

paper's value / ours: ε 0.1 / the same, read as a share of the pixel range; SGD, momentum 0.9, batch 64 / the same;
10 epochs, learning rate 1e-5 / 100 steps, tuned on ORL; forget photos only / plus a retain term (ours, see
`retain_weight`); the network's own head / a fixed CosFace head from class means, since the checkpoint has none (margin
on in training, off in the attack and its prediction's argmax); all weights / the last block.

Mistakes avoided: where the attack fails the official code trains towards the true class; here y is never the answer.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import BATCH, class_head, train_against_head
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class BoundaryShrink(Unlearner):
    """Cross-entropy to the nearest wrong class, found by one adversarial step (Boundary Shrink)."""

    paper: ClassVar = "Boundary Shrink, Chen et al., CVPR 2023"
    objective: ClassVar = "head_accuracy"

    epsilon: NonNegativeFloat = 0.1
    """Size of the FGSM step as a share of the pixel range 0 … 255; paper: 0.1."""
    learning_rate: PositiveFloat = 2e-3
    """Of SGD with momentum 0.9; paper: 1e-5."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 10 epochs."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no retain term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        nearest = nearest_wrong_class(target, head, request.forget.pixels, seen.labels, self.epsilon)
        return train_against_head(
            part,
            seen,
            lambda embeddings, wanted: F.cross_entropy(head(embeddings, wanted), wanted),
            nearest,
            learning_rate=self.learning_rate,
            steps=self.steps,
            retain_weight=self.retain_weight,
            generator=generator,
        )


def nearest_wrong_class(
    target: RecognitionTarget, head: MarginHead, pixels: Tensor, labels: Tensor, epsilon: float
) -> Tensor:
    """The class int64 [n] that one FGSM step of epsilon·255 grey levels leads to, the true class excluded.

    pixels: uint8 [n, 3, 112, 112]. labels: true classes, int64 [n].
    """
    found = []
    for crops, true in zip(pixels.split(BATCH), labels.to(target.device).split(BATCH), strict=True):
        x = crops.to(target.device, torch.float32).requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(head(target.forward(x)), true), x)
        with torch.no_grad():
            attacked = (x + 255 * epsilon * slope.sign()).clamp(0, 255)
            logits = head(target.forward(attacked)).scatter(1, true[:, None], -torch.inf)
        found.append(logits.argmax(dim=1).cpu())
    return torch.cat(found)
