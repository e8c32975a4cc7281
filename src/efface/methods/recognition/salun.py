"""Random labels and retained photos, but only the weights that matter to the people to forget may move.

Paper: SalUn (Fan et al., ICLR 2024, arXiv 2310.12508), and its official code.
    saliency   |Σ_photos ∂CE(forgotten, true label) / ∂w| at the original weights; the top half of all weights is 1 in m
    loss       CE(forgotten, random label) + α·CE(retained, true label)        s·cos with margin
    update     the gradient times m; where m is 0 the weight stays what it was

paper's value / ours: top 50 % / the same; SGD, momentum 0.9, 10 epochs, batch 256, learning rate 0.01 to 0.1 / SGD,
momentum 0.9, 100 steps, batch 64 of either; weight decay 5e-4 / none; α as one pass over either set gives it
/ 1; besides the retained cross-entropy also their drift (ours, see `retain_weight`); the network's own head, trained /
a fixed CosFace head from class means, margin on, since the checkpoint has none (it is in no mask); all weights / the
last block, the mask's half being half of those. BatchNorm is frozen.

Mistakes avoided: the official code draws labels among all classes, so that some photos are taught their own. One
version of its mask steps the optimiser between the batches whose gradients it sums, and marks the weights with the
smallest sums; here all gradients are of the original weights, and the largest are marked. Momentum and decay would move
masked weights; here their gradient is 0 from the start, and there is no decay.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    BATCH,
    Photos,
    class_head,
    forgotten_photos,
    retained_photos,
    train_on_both,
    wrong_labels,
)
from efface.methods.importance import largest, only
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Salun(Unlearner):
    """Random labels with retained photos, on the weights that matter to the forgotten (SalUn)."""

    paper: ClassVar = "SalUn, Fan et al., ICLR 2024, arXiv 2310.12508"
    objective: ClassVar = "head_accuracy"

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the trained blocks' weights that may move; paper: 0.5 of all."""
    alpha: NonNegativeFloat = 1.0
    """α: weight of the retained people's cross-entropy, no unit; code: 1."""
    learning_rate: PositiveFloat = 2e-3
    """Of SGD with momentum 0.9; paper: 0.01 to 0.1."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 10 epochs."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        forgotten = forgotten_photos(seen)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "forget": F.cross_entropy(head(forgotten.x, forgotten.classes), forgotten.classes),
                "retained": self.alpha * F.cross_entropy(head(retained.x, retained.classes), retained.classes),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        with only(part.trained(), saliency_mask(part, head, forgotten, self.share)):
            train_on_both(
                part,
                forgotten._replace(classes=wrong_labels(seen.labels, len(head.weight), generator)),
                retained_photos(seen),
                loss,
                optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate, momentum=0.9),
                steps=self.steps,
                generator=generator,
            )
        return part.result()


def saliency_mask(part: LastBlocks, head: MarginHead, forgotten: Photos, share: float) -> list[Tensor]:
    """For each of `part.trained()` a tensor of its shape: 1 for the `share` of all weights with the largest saliency
    as in the header, 0 elsewhere. forgotten: with their true classes."""
    trained = part.trained()
    sums = [torch.zeros_like(p) for p in trained]
    device = part.clone.device
    for x, classes in zip(forgotten.x.split(BATCH), forgotten.classes.split(BATCH), strict=True):
        true = classes.to(device)
        loss = F.cross_entropy(head(part(x.to(device)), true), true, reduction="sum")
        for total, gradient in zip(sums, torch.autograd.grad(loss, trained), strict=True):
            total += gradient
    return largest(sums, share)
