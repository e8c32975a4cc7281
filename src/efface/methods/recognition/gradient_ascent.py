"""Climb the classification loss on the photos to forget.

Source: Gradient Ascent (NegGrad) as in the official code of Boundary Unlearning (Chen et al., CVPR 2023), a baseline
of arXiv 2512.13317 too.
    loss   −CE(s·cos with margin, true label) over photos whose plain CE is below `bound`·log(classes)

paper's value / ours: SGD, momentum 0.9, batch 64 / the same; 20 epochs, learning rate 5e-5 (VGGFace2) / 100 steps,
tuned on ORL; unbounded / bounded; forget photos only / plus a retain term (ours, see `retain_weight`); the network's
own head / a fixed CosFace head from class means, since the checkpoint has none; all weights / the last block.

Mistakes avoided: without the margin the true class has all the probability and no gradient is left, so the margin is
on; unbounded ascent ends in a collapse, so a photo stops pulling at chance level (log(classes), without the margin).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from efface.methods.classes import bounded_ascent, class_head, train_against_head
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Unlearner):
    """Maximise the cross-entropy of the true class (NegGrad), bounded."""

    paper: ClassVar = "Gradient Ascent (NegGrad), as in the code of Chen et al., CVPR 2023"
    objective: ClassVar = "head_accuracy"

    bound: NonNegativeFloat = 1.0
    """Plain cross-entropy above which a photo has no gradient, in units of log(classes); paper: none."""
    learning_rate: PositiveFloat = 1e-3
    """Of SGD with momentum 0.9; paper: 5e-5 (VGGFace2), 1e-4 (CIFAR-10)."""
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
        most = self.bound * math.log(len(head.weight))
        return train_against_head(
            part,
            seen,
            lambda embeddings, true: bounded_ascent(head, embeddings, true, most),
            seen.labels,
            learning_rate=self.learning_rate,
            steps=self.steps,
            retain_weight=self.retain_weight,
            generator=generator,
        )
