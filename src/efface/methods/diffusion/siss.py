"""Climb the denoising loss on the photos to forget, descend it on the retained, one step of both at a time.

Paper: SISS (Alberti et al., "Data Unlearning in Diffusion Models", ICLR 2025, arXiv 2503.01034), as PIU's authors adapt
it to face-conditioned models (Hernandez Cancino Estrada et al., arXiv 2605.22311, official code).
    L_r    E‖ε_θ(z_t, c(e_r)) − ε‖² on retained photos, each under its own embedding;  L_f the same on the forgotten
    step   g = ∇L_r − β·(‖∇L_r‖ / ‖∇L_f‖)·∇L_f          so the forget part is always β times as long as the other

adaptation's value / ours: β 0.1, all of the UNet, AdamW, learning rate 5e-6, 60 steps, batch 64, gradients clipped to
norm 1, a moving average of the weights is the result / the same; what the batch counts and the average's decay are not
known / 64 photos of either side, and diffusers' default, min((1 + k)/(10 + k), 0.9999) after step k + 1. The paper's
importance-sampled mixture of both sides is dropped by the adaptation, so here too.

Mistakes avoided: the official script for CelebA draws t from the noisiest timestep alone; here t is uniform.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from efface.methods.conditions import DrawRequest
from efface.methods.gradients import length, with_gradient
from efface.methods.noising import (
    Latents,
    Noised,
    denoising,
    finished,
    forgotten_latents,
    student_of,
    train_on_noised,
)
from efface.methods.scopes import Scope, scope_names
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class Siss(Unlearner):
    """Away from the forgotten photos, by a fixed share of what the retained pull (SISS)."""

    paper: ClassVar = "SISS, Alberti et al., ICLR 2025, arXiv 2503.01034, as adapted in arXiv 2605.22311"
    objective: ClassVar = "denoising_error"

    beta: NonNegativeFloat = 0.1
    """β: length of the forget part over that of the retain part, no unit; adaptation: 0.1."""
    learning_rate: PositiveFloat = 5e-6
    """Of AdamW; adaptation: 5e-6."""
    steps: PositiveInt = 60
    """Optimiser steps; adaptation: 60."""
    batch: PositiveInt = 64
    """Photos of the forgotten, and as many of the retained, in a step; adaptation: 64."""
    scope: Scope = "full"
    """Which parameters are trained; adaptation: full."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student, trained = student_of(target, scope_names(target.parts.unet, self.scope))
        average = AveragedModel(student.parts.unet, avg_fn=follow)

        train_on_noised(
            nn.ModuleDict({"unet": student.parts.unet, "average": average}),
            (forgotten_latents(target, request), Latents.of(target, request.retain)),
            lambda forgotten, retained: both_ways(student, trained, forgotten, retained, self.beta),
            optimiser=torch.optim.AdamW(trained, lr=self.learning_rate),
            steps=self.steps,
            batch=self.batch,
            generator=generator,
            clip=1.0,
            each=lambda _done, _loss: average.update_parameters(student.parts.unet),
        )
        student.parts.unet = average.module
        return finished(student)


def both_ways(
    student: DiffusionTarget, trained: list[nn.Parameter], forgotten: Noised, retained: Noised, beta: float
) -> dict[str, Tensor]:
    """Terms whose gradients by the trained parameters are the two parts of the header's step."""
    kept = denoising(student, retained)
    ahead = torch.autograd.grad(kept, trained, materialize_grads=True)
    lost = denoising(student, forgotten)
    away = torch.autograd.grad(lost, trained, materialize_grads=True)
    scale = beta * length(ahead) / length(away).clamp(min=1e-12)
    return {
        "retain": with_gradient(kept, trained, ahead),
        "forget": with_gradient(-scale * lost, trained, [-scale * g for g in away]),
    }


def follow(mean: Tensor, value: Tensor, updates: Tensor | int) -> Tensor:
    """The moving average after one update more; `updates` have been made."""
    decay = min((1 + int(updates)) / (10 + int(updates)), 0.9999)
    return mean + (1 - decay) * (value - mean)
