"""Send every photo to forget to one additional class, then drop that class.

Source: Boundary Expand of Boundary Unlearning (Chen et al., CVPR 2023) and its official code.
    head   + one shadow class with a random direction
    loss   CE(s·cos with margin, shadow class) on the photos to forget; the head is dropped afterwards

paper's value / ours: SGD, momentum 0.9, batch 64 / the same; 10 epochs, learning rate 1e-5 / 100 steps, tuned on ORL;
forget photos only / plus a retain term (ours, see `retain_weight`); the network's own head, widened and trained / a
CosFace head from class means, widened and fixed, margin on, since the checkpoint has none; all weights / the last
block.

Mistakes avoided: a shadow class that is trained can move to the photos instead of the photos to it. Not avoided, it is
the method: all forgotten people meet at one place, where they are as easy to find as before.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from efface.methods.classes import SCALE, class_head, train_against_head
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import CosFace
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class BoundaryExpand(Unlearner):
    """Cross-entropy to one shadow class, dropped afterwards (Boundary Expand)."""

    paper: ClassVar = "Boundary Expand, Chen et al., CVPR 2023"
    objective: ClassVar = "head_accuracy"

    learning_rate: PositiveFloat = 1e-3
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
        rows = class_head(seen).weight
        shadow = torch.randn(1, rows.shape[1], generator=generator)
        head = CosFace(len(rows) + 1, rows.shape[1], scale=SCALE)
        head.weight = nn.Parameter(torch.cat([rows, F.normalize(shadow, dim=-1)]), requires_grad=False)
        head.to(target.device)
        return train_against_head(
            part,
            seen,
            lambda embeddings, wanted: F.cross_entropy(head(embeddings, wanted), wanted),
            torch.full((len(request.forget),), len(rows)),
            learning_rate=self.learning_rate,
            steps=self.steps,
            retain_weight=self.retain_weight,
            generator=generator,
        )
