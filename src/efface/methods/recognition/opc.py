"""Contract the outputs of the people to forget towards the origin.

Paper: OPC, "One-Point-Contraction Unlearning Toward Deep Feature Forgetting", Jung et al. 2025, arXiv 2507.07754. Known
to us from its abstract: the outputs of the forgotten are contracted to one point, the origin. No formula, setting or
code was available; all below is ours.
    loss   mean ‖y‖ / mean ‖y₀‖ over the photos to forget + retain_weight · drift of the retained

y is the embedding before normalisation (there is no classifier), y₀ that of the original. In a classifier a short y
means equal logits, so no class. A recogniser compares directions, x = y / ‖y‖, and one could expect normalisation to
cancel the method. It does not: the cheapest way to shorten a person's outputs is to subtract what they share, and what
then points in the direction of y is what the photos do not share. So this scatters the person, as `esc` does.

paper's value / ours: not known / SGD with momentum 0.9, 100 steps at 1e-2, last block, BatchNorm frozen; the retain
term is ours.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import BATCH, Photos, forgotten_photos, retained_photos, train_on_both
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Opc(Unlearner):
    """Contract the outputs of the forgotten to the origin (One-Point Contraction)."""

    paper: ClassVar = "OPC, Jung et al. 2025, arXiv 2507.07754 (loss as defined by us)"
    objective: ClassVar = "pair_cosine"

    learning_rate: PositiveFloat = 1e-2
    """Of SGD with momentum 0.9; paper: not known to us."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: not known to us."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: not known to us."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: not known to us."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        with torch.no_grad():
            lengths = [part.outputs(f.to(target.device)).norm(dim=-1) for f in seen.forget.split(BATCH)]
        original = float(torch.cat(lengths).mean())

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "forget": forgotten.x.norm(dim=-1).mean() / original,
                "retain": self.retain_weight * drift(F.normalize(retained.x, dim=-1), retained.before),
            }

        train_on_both(
            part,
            forgotten_photos(seen),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate, momentum=0.9),
            steps=self.steps,
            generator=generator,
            batch=(BATCH, BATCH if self.retain_weight else 0),
            outputs=part.outputs,
        )
        return part.result()
