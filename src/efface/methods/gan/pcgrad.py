"""GUIDE whose three terms do not pull against each other.

Ours: losses and values as in `guide` (arXiv 2405.09879), gradients by PCGrad (Yu et al., "Gradient Surgery for
Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782, algorithm 1). Tasks are the local, the adjacency and the global
term; of each task's gradient g_i what is against another task's is taken away, the others in random order:
    g_i <- g_i − (g_i·g_j / ‖g_j‖²) g_j where g_i·g_j < 0          g_j as it was; all g_i are added up

Each term passes the student by itself here, as its gradient is needed by itself.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.gradients import with_gradient
from efface.methods.guide_settings import GuideSettings
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import at_rest, student_of
from efface.methods.unlearner import Unlearner
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class PcGrad(GuideSettings, Unlearner):
    """GUIDE with gradients that do not conflict (PCGrad)."""

    paper: ClassVar = "ours; GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879; PCGrad, Yu et al. 2020, arXiv 2001.06782"
    objective: ClassVar = "rebuilding"

    learning_rate: PositiveFloat = 1e-4
    """Of Adam; GUIDE: 1e-4."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; GUIDE: 1000."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        losses = self.losses(target, student, request, self.replacements(target, request))

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
