"""Teach the model that the person's face is like nobody's, and less: negative guidance as training.

Paper: ESD (Gandikota et al., "Erasing Concepts from Diffusion Models", ICCV 2023, arXiv 2303.07345), as PIU's authors
adapt it (arXiv 2605.22311, official code).
    target   ε_θ*(z_t, c_0) − η·[ε_θ*(z_t, c_f) − ε_θ*(z_t, c_0)]          c_0: the conditioning on a zero embedding
    loss     E‖ε_θ(z_t, c_f) − target‖²

adaptation's value / ours: η 1, learning rate 1e-5, 1000 steps, every cross-attention layer (ESD-x) / the same; Adam and
one picture a step as in the official code of ESD; z_t half-way pictures that the student draws under c_f with guidance
3 / noised photos of the person, because what the adaptation takes is not known to us and drawing them costs some
twenty times the step. The anchor is not used.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.conditions import DrawRequest
from efface.methods.noising import Noised, finished, forgotten_latents, predicted, student_of, train_on_noised
from efface.methods.scopes import Scope, scope_names
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class Esd(Unlearner):
    """Away from the person by negative guidance, on all cross-attention (ESD-x)."""

    paper: ClassVar = "ESD, Gandikota et al., ICCV 2023, arXiv 2303.07345, as adapted in arXiv 2605.22311"
    objective: ClassVar = "nobody_noise"

    eta: NonNegativeFloat = 1.0
    """η: strength of the negative guidance, no unit; paper and adaptation: 1."""
    learning_rate: PositiveFloat = 1e-5
    """Of Adam; paper and adaptation: 1e-5."""
    steps: PositiveInt = 1000
    """Optimiser steps; paper and adaptation: 1000."""
    batch: PositiveInt = 1
    """Photos of the forgotten in a step; paper: 1."""
    scope: Scope = "cross_attention"
    """Which parameters are trained; adaptation: all cross-attention."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student, trained = student_of(target, scope_names(target.parts.unet, self.scope))

        def loss(forgotten: Noised) -> dict[str, Tensor]:
            wanted = away_from_person(target, forgotten, self.eta)
            return {"forget": F.mse_loss(predicted(student, forgotten, forgotten.embeddings), wanted)}

        train_on_noised(
            student.parts.unet,
            [forgotten_latents(target, request)],
            loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps,
            batch=self.batch,
            generator=generator,
        )
        return finished(student)


@torch.no_grad()
def away_from_person(target: DiffusionTarget, rows: Noised, eta: float) -> Tensor:
    """The header's target [b, c, h, w]."""
    nobody, person = target.condition(torch.zeros_like(rows.embeddings)), target.condition(rows.embeddings)
    return target.summed([(1 + eta, nobody), (-eta, person)])(rows.z, rows.t)
