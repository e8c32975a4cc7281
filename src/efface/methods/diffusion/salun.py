"""Draw the anchor where the person was asked for, keep the retained, and let only the weights move that matter to the
person.

Paper: SalUn (Fan et al., ICLR 2024, arXiv 2310.12508), generation, and its official code.
    saliency   |Σ_batches ∂ E‖ε̂ − ε‖² / ∂w| on the photos to forget at the original weights, under guidance s:
               ε̂ = (1 + s)·ε_θ(z_t, c_f) − s·ε_θ(z_t, nobody);  the top half of all weights is 1 in m
    loss       E‖ε_θ(z_t, c_f) − sg ε_θ(z_t, c_a)‖² + α·E‖ε_θ(z_t, c_r) − ε‖²          sg: without gradient
    update     the gradient times m; where m is 0 the weight stays what it was

adaptation's value (arXiv 2605.22311) / ours: top 50 %, learning rate 1e-5 / the same; what else it takes is not known
to us / as in the official code: s 7.5, α 0.1, Adam, all of the UNet, batch 8; 5 epochs over about 960 photos of a class
/ as many steps, 600, and as many batches of saliency as its one epoch; in the forgotten class's place the next class is
taught / the anchor.

Mistakes avoided: the official mask marks the weights with the smallest saliency (its ranks ascend); here the largest
are marked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface.methods.conditions import DrawRequest
from efface.methods.importance import largest, only
from efface.methods.noising import (
    Latents,
    Noised,
    as_anchor,
    denoising,
    finished,
    forgotten_latents,
    student_of,
    train_on_noised,
)
from efface.methods.scopes import Scope, scope_names
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import DiffusionTarget

GUIDANCE = 7.5
"""s of the saliency, as in the official code."""


@dataclass(frozen=True, kw_only=True)
class Salun(Unlearner):
    """The anchor in the person's place, on the weights that matter to the person (SalUn)."""

    paper: ClassVar = "SalUn, Fan et al., ICLR 2024, arXiv 2310.12508, as adapted in arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the trained weights that may move; paper and adaptation: 0.5."""
    alpha: NonNegativeFloat = 0.1
    """α: weight of the retained people's denoising loss, no unit; code: 0.1."""
    learning_rate: PositiveFloat = 1e-5
    """Of Adam; adaptation: 1e-5."""
    steps: PositiveInt = 600
    """Optimiser steps; paper: 5 epochs of about 120."""
    batch: PositiveInt = 8
    """Photos of the forgotten, and as many of the retained, in a step; paper: 8."""
    measured: PositiveInt = 120
    """Batches whose gradients make the saliency; paper: an epoch, about 120."""
    scope: Scope = "full"
    """Which parameters are trained; paper: full."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student, trained = student_of(target, scope_names(target.parts.unet, self.scope))
        own = forgotten_latents(target, request)
        batches = (own.draw(self.batch, generator) for _ in range(self.measured))

        def loss(forgotten: Noised, retained: Noised) -> dict[str, Tensor]:
            return {
                "forget": as_anchor(student, student, forgotten),
                "retain": self.alpha * denoising(student, retained),
            }

        with only(trained, largest(saliency(student, trained, batches), self.share)):
            train_on_noised(
                student.parts.unet,
                (own, Latents.of(target, request.retain)),
                loss,
                optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
                steps=self.steps,
                batch=self.batch,
                generator=generator,
            )
        return finished(student)


def saliency(student: DiffusionTarget, trained: list[nn.Parameter], batches: Iterable[Noised]) -> list[Tensor]:
    """Σ over batches of the gradient in the header, one tensor for each of `trained`."""
    sums = [torch.zeros_like(p) for p in trained]
    for rows in batches:
        rows = Noised(*(column.to(student.device) for column in rows))
        guided = student.guided(student.condition(rows.embeddings), 1 + GUIDANCE)
        loss = F.mse_loss(guided(rows.z, rows.t), rows.noise)
        for total, gradient in zip(sums, torch.autograd.grad(loss, trained, materialize_grads=True), strict=True):
            total += gradient
    return sums
