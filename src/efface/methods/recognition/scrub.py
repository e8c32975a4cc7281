"""Disobey the original on the photos to forget, obey it on the retained, in turns.

Paper: SCRUB (Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023, arXiv 2302.09880), and its official
code.
    first `disobeying` rounds   maximise KL(original ‖ student) on the photos to forget
    every round, after that     minimise α·KL(original ‖ student) + γ·CE(true label) on the retained photos

paper's value / ours: small scale: Adam, learning rate 5e-4, α 0.5, γ 1, T 2, 10 rounds, 3 disobeying, weight decay 0.1;
large: SGD, 5e-4, α 0.001, γ 0.99, T 4, 3 rounds, 2 disobeying / those of the small scale with T 4, at which the KL
grows fast enough to part from the original, rate 1e-3, and no decay, which would pull weights that nobody trained
for this towards 0; a turn is an epoch / `steps` steps; the rate falls by 10 after rounds 5, 8 and 9 / stays; nothing
else / the retained embeddings' drift in every turn (ours, see `retain_weight`); the network's own head, trained / a
fixed CosFace head from class means, since the checkpoint has none: margin on in the CE, off in the KL, where answers
are only compared; all weights / the last block.

Mistakes avoided: at the original weights the KL is at its minimum and has no gradient; the official code gets away by
leaving BatchNorm in training mode, here it is frozen, so one turn on the retained comes first. The library version of
the code (scrub.py) hands the optimiser the original's weights, so its student never moves, and disobeys in one round
too many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    BATCH,
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
class Scrub(Unlearner):
    """Away from the original on the forgotten, towards it on the retained, in turns (SCRUB)."""

    paper: ClassVar = "SCRUB, Kurmanji et al., NeurIPS 2023, arXiv 2302.09880"
    objective: ClassVar = "head_accuracy"

    alpha: NonNegativeFloat = 0.5
    """α: weight of the KL on the retained, no unit; paper: 0.5 (small scale), 0.001."""
    gamma: NonNegativeFloat = 1.0
    """γ: weight of the retained people's cross-entropy, no unit; paper: 1 (small scale), 0.99."""
    temperature: PositiveFloat = 4.0
    """T of the KL, no unit; paper: 2 (small scale), 4."""
    rounds: PositiveInt = 10
    """Turns on the retained; paper: 10 (small scale), 3."""
    disobeying: NonNegativeInt = 3
    """Rounds that begin with a turn on the forgotten; paper: 3 (small scale), 2."""
    steps: PositiveInt = 10
    """Optimiser steps of one turn; paper: an epoch."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam; paper: 5e-4."""
    retain_weight: NonNegativeFloat = 10.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        optimiser = torch.optim.Adam(part.trained(), lr=self.learning_rate)

        def obey(_: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                **obeying_terms(head, retained, self.alpha, self.gamma, self.temperature),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        def disobey(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "forget": -distillation(head(forgotten.x), head(forgotten.before), self.temperature),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        def turn(loss: Callable[[Photos, Photos], dict[str, Tensor]], batch: tuple[int, int]) -> None:
            train_on_both(
                part,
                forgotten_photos(seen),
                retained_photos(seen),
                loss,
                optimiser=optimiser,
                steps=self.steps,
                generator=generator,
                batch=batch,
            )

        turn(obey, (0, BATCH))
        for round in range(self.rounds):
            if round < self.disobeying:
                turn(disobey, (BATCH, BATCH if self.retain_weight else 0))
            turn(obey, (0, BATCH))
        return part.result()


def obeying_terms(
    head: MarginHead, retained: Photos, alpha: float, gamma: float, temperature: float
) -> dict[str, Tensor]:
    """The header's terms on the retained."""
    return {
        "divergence": alpha * distillation(head(retained.x), head(retained.before), temperature),
        "retained": gamma * F.cross_entropy(head(retained.x, retained.classes), retained.classes),
    }
