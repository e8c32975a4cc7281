"""GUIDE whose three terms do not pull against each other.

Ours: losses and values as in `guide` (arXiv 2405.09879), gradients by PCGrad (Yu et al., "Gradient Surgery for
Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782, algorithm 1). Tasks are the local, the adjacency and the global
term; of each task's gradient g_i what is against another task's is taken away, the others in random order:
    g_i <- g_i − (g_i·g_j / ‖g_j‖²) g_j where g_i·g_j < 0          g_j as it was; all g_i are added up

Each term passes the student by itself here, as its gradient is needed by itself.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.gradients import with_gradient
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, student_of
from efface.methods.replacements import Lengths, length_unit, replacements
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class PcGrad(Unlearner):
    """GUIDE with gradients that do not conflict (PCGrad)."""

    paper: ClassVar = "ours; GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879; PCGrad, Yu et al. 2020, arXiv 2001.06782"
    objective: ClassVar = "rebuilding"

    distance: PositiveFloat = 30.0
    """d: how far beyond the average latent the replacement lies, in `lengths`; GUIDE: 30."""
    lengths: Lengths = "w"
    """Of d and α: w, W+'s own units; mean, multiples of this generator's mean ‖w − w_avg‖ (ours); GUIDE: w."""
    apart: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Largest cosine of two people's directions; nearer ones are turned apart; ours, paper: none (1)."""
    reach: NonNegativeFloat = 15.0
    """α, at most: how far around the person adjacent latents lie, in `lengths`; GUIDE: 15."""
    adjacent: NonNegativeInt = 2
    """Adjacent latents in a step; GUIDE: 2."""
    preserved: NonNegativeInt = 2
    """Latents of people who never existed, which are to be drawn as before, in a step; GUIDE: 2."""
    retained: NonNegativeInt = 0
    """Retained people's latents beside them in a step, where the request has any; GUIDE: 0."""
    weights: Weights = field(default_factory=Weights)
    """Of the terms: planes, perceptual, identity, adjacency, preserved; GUIDE: 0.01, 1, 0.1, 1, 1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; GUIDE: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; GUIDE: LPIPS."""
    learning_rate: PositiveFloat = 1e-4
    """Of Adam; GUIDE: 1e-4."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; GUIDE: 1000."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        goals = replacements(target, request, self.distance, self.lengths, self.apart)
        losses = Rebuilding(
            target,
            student,
            request,
            goals,
            weights=self.weights,
            views=self.views,
            lpips=self.lpips,
            reach=self.reach * length_unit(target, self.lengths),
            adjacent=self.adjacent,
            preserved=self.preserved,
            retained=self.retained,
        )

        def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
            orders = [torch.randperm(len(losses.sizes), generator=generator) for _ in losses.sizes]
            return *losses.draw(generator), torch.stack(orders)

        def loss(latents: Tensor, wanted: Tensor, known: Tensor, view: Tensor, orders: Tensor) -> dict[str, Tensor]:
            seen = losses.seen(wanted, known, view)
            values: dict[str, Tensor] = {}
            gradients: dict[str, list[Tensor]] = {}
            start = 0
            for name, count in losses.sizes.items():
                rows = slice(start, start + count)
                start += count
                if count:
                    part = losses.compared(latents[rows], seen.rows(rows), view, 0 if name == "global" else count)
                    values[name] = losses.term(name, part)
                    gradients[name] = list(torch.autograd.grad(values[name], trained, materialize_grads=True))
            names = list(losses.sizes)
            turned = {
                name: projected(own, [gradients[o] for i in order if (o := names[i]) != name and o in gradients])
                for (name, own), order in zip(gradients.items(), orders.tolist(), strict=False)
            }
            return {name: with_gradient(values[name], trained, turned[name]) for name in values}

        training.fit(
            student.backbone.synthesis,
            draw,
            loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)


def projected(own: list[Tensor], others: list[list[Tensor]]) -> list[Tensor]:
    """A task's gradient without what is against the others', one after another; each is a list over parameters."""
    for other in others:
        along = dot(own, other)
        if along < 0:
            share = along / dot(other, other)
            own = [g - share * o for g, o in zip(own, other, strict=True)]
    return own


def dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """The inner product [] over all parameters."""
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()
