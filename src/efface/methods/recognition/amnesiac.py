"""Mix the retained photos with the photos to forget under random labels, and go on training.

Paper: "Amnesiac Machine Learning" (Graves, Nagisetty and Ganesh, AAAI 2021, arXiv 2010.10981), its method "Unlearning",
which later papers compare as Amnesiac. The paper's other method takes back the updates of the batches that held the
person's photos; it needs a record of the original training, which no checkpoint has.
    data   the forgotten with one random wrong label each, fixed, and the retained with their own
    loss   CE(s·cos with margin, label), mean over a batch of that mixture

paper's value / ours: Adam, learning rate 1e-4, 3 epochs (as the official code of SSD compares it) / Adam, 100 steps;
batches of 64, 128 of the mixture / up to 64 of either side in one mean; besides the retained cross-entropy also their
drift (ours, see `retain_weight`); the network's own head, trained / a fixed CosFace head from class means, margin on,
since the checkpoint has none; all weights / the last block. BatchNorm is frozen.

Mistakes avoided: a photo's own class is never drawn, however many people are forgotten. Not avoided, it is the
method: photos are sent to retained people, whom they then impersonate.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    Photos,
    class_head,
    forgotten_photos,
    mixture_loss,
    retained_photos,
    train_on_both,
    wrong_labels,
)
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Amnesiac(Unlearner):
    """Random labels for the forgotten mixed with retained photos (Amnesiac)."""

    paper: ClassVar = "Amnesiac Machine Learning (Unlearning), Graves et al., AAAI 2021, arXiv 2010.10981"
    objective: ClassVar = "head_accuracy"

    learning_rate: PositiveFloat = 1e-3
    """Of Adam; code of SSD: 1e-4."""
    steps: PositiveInt = 100
    """Optimiser steps; code of SSD: 3 epochs."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "mixture": mixture_loss(head, forgotten, retained),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            forgotten_photos(seen, wrong_labels(seen.labels, len(head.weight), generator)),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.Adam(part.trained(), lr=self.learning_rate),
            steps=self.steps,
            generator=generator,
        )
        return part.result()
