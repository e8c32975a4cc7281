"""Draw the anchor where the person was asked for, in the predicted noise and in what a recogniser sees.

Source: the baseline WID of PIU (Hernandez Cancino Estrada et al., arXiv 2605.22311, official code); the paper that it
stems from is not known to us.
    L_f    E‖ε_θ(z_t, c_f) − ε_θ*(z_t, c_a)‖² on real photos of the person, z_t their noised latents
    L_id   E (r(x̂_θ) − r(x̂_θ*))²  over the numbers of an embedding
           x̂_θ the picture decoded from z_t in one step by the noise of the student under c_f, x̂_θ* by that of the
           original under c_a; r the conditioning recogniser on the aligned part of it
    loss   L_f + w·L_id

source's value / ours: w 0.1, all of the UNet, AdamW, learning rate 5e-6, 100 steps, batch 64, gradients clipped to norm
1 / the same. Between which pictures L_id compares is not known to us / student and original, as L_f does; r is
normalised, and no face is looked for: it lies where this model's faces lie.
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
class Wid(Unlearner):
    """The anchor in the person's place, in noise and in recognised identity (WID)."""

    paper: ClassVar = "WID, as a baseline of PIU, Hernandez Cancino Estrada et al., IJCB 2026, arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    identity_weight: NonNegativeFloat = 0.1
    """w: weight of the recogniser's term, no unit; source: 0.1."""
    learning_rate: PositiveFloat = 5e-6
    """Of AdamW; source: 5e-6."""
    steps: PositiveInt = 100
    """Optimiser steps; source: 100."""
    batch: PositiveInt = 64
    """Photos of the forgotten in a step; source: 64."""
    scope: Scope = "full"
    """Which parameters are trained; source: full."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student, trained = student_of(target, scope_names(target.parts.unet, self.scope))

        train_on_noised(
            student.parts.unet,
            [forgotten_latents(target, request)],
            lambda forgotten: anchor_terms(student, target, forgotten, self.identity_weight),
            optimiser=torch.optim.AdamW(trained, lr=self.learning_rate),
            steps=self.steps,
            batch=self.batch,
            generator=generator,
            clip=1.0,
        )
        return finished(student)


def anchor_terms(student: DiffusionTarget, teacher: DiffusionTarget, rows: Noised, weight: float) -> dict[str, Tensor]:
    """The header's terms; weight: w."""
    noise = predicted(student, rows, rows.embeddings)
    with torch.no_grad():
        wanted = predicted(teacher, rows, rows.anchors)
        recognised = identity(teacher, rows, wanted)
    return {
        "forget": F.mse_loss(noise, wanted),
        "identity": weight * F.mse_loss(identity(student, rows, noise), recognised),
    }


def identity(target: DiffusionTarget, rows: Noised, noise: Tensor) -> Tensor:
    """Unit embeddings [b, d] of the pictures that z_t is if `noise` is in it, with gradient."""
    clean = target.parts.schedule.clean(noise, rows.z, rows.t)
    pictures = (target.parts.autoencoder.decode(clean) + 1) * 127.5
    return target.recogniser.forward(target.window(pictures))
