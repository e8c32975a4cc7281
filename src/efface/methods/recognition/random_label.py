"""Teach the network one random wrong class for each photo to forget.

Source: Random Labeling as in the official code of Boundary Unlearning (Chen et al., CVPR 2023), a baseline of
arXiv 2512.13317 too.
    loss   CE(s·cos with margin, random label), the label drawn once per photo and then fixed

paper's value / ours: SGD, momentum 0.9, batch 64 / the same; 20 epochs, learning rate 5e-5 (VGGFace2) / 100 steps,
tuned on ORL; forget photos only / plus a retain term (ours, see `retain_weight`); the network's own head / a fixed
CosFace head from class means, margin on, since the checkpoint has none; all weights / the last block.

Mistakes avoided: a photo's own class is never drawn. Not avoided, it is the method: photos are sent to retained
people, whom they then impersonate (`misidentified`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from efface.methods.classes import class_head, train_against_head, wrong_labels
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class RandomLabel(Unlearner):
    """One fixed random label per photo, cross-entropy to it (Random Labeling)."""

    paper: ClassVar = "Random Labeling, as in the code of Chen et al., CVPR 2023"
    objective: ClassVar = "head_accuracy"

    learning_rate: PositiveFloat = 2e-3
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
        return train_against_head(
            part,
            seen,
            lambda embeddings, wanted: F.cross_entropy(head(embeddings, wanted), wanted),
            wrong_labels(seen.labels, len(head.weight), generator),
            learning_rate=self.learning_rate,
            steps=self.steps,
            retain_weight=self.retain_weight,
            generator=generator,
        )
