"""Control: go on training on the retained people alone and hope that the others fade.

Source: fine-tuning, a baseline of every paper on unlearning; as in the official code of SSD (Foster et al., AAAI 2024).
    loss   CE(s·cos with margin, true label) on the retained photos

code's value / ours: SGD, learning rate 0.02 / the same, momentum 0.9, batch 64; 5 epochs / 100 steps; retained photos
only / plus their drift, off by default (ours, see `retain_weight`); the network's own head, trained / a fixed CosFace
head from class means, margin on, since the checkpoint has none; all weights / the last block.

Mistakes avoided: BatchNorm is frozen; in training mode its statistics move to the few retained photos, which is harm
and no forgetting. Not avoided, it is the method: its loss knows the people to forget only as classes that retained
photos are not in, so it aims at nothing of theirs and is a control here. At a rate where they lose their place in the
head, everybody else's embeddings have moved too.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import BATCH, Photos, class_head, forgotten_photos, retained_photos, train_on_both
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Finetune(Unlearner):
    """Cross-entropy on the retained people alone (fine-tuning); nothing in it aims at the forgotten."""

    paper: ClassVar = "Fine-tuning, as in the code of Foster et al., AAAI 2024"
    control: ClassVar = True
    objective: ClassVar = "none"

    learning_rate: PositiveFloat = 0.02
    """Of SGD with momentum 0.9; code: 0.02."""
    steps: PositiveInt = 100
    """Optimiser steps; code: 5 epochs."""
    retain_weight: NonNegativeFloat = 0.0
    """Weight of the retained embeddings' drift, no unit; code: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; code: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)

        def loss(_: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "retained": F.cross_entropy(head(retained.x, retained.classes), retained.classes),
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
            batch=(0, BATCH),
        )
        return part.result()
