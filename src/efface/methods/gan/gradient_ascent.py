"""Climb away from what the generator draws of the person and of their surroundings.

Ours, the simplest thing to compare with; pair loss L, cameras and their values as in `guide` (arXiv 2405.09879). w_u is
the person, G_s the source, G_u the student:
    loss       −Σ min(L, c),  L = L(G_u(w_u + Δ), G_s(w_u)) over w_u itself and 2 draws of Δ, |Δ| uniform from 0 to α
    c          what G_s draws of strangers is as far from G_s(w_u) as that on average: nothing is gained beyond it
Drawn of w_u itself, L is least at the source's own weights and has no gradient there; the surroundings have one.
Nothing keeps everybody else.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, student_of
from efface.methods.replacements import Lengths, length_unit
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget

STRANGERS = 16
"""By whom c is measured, each from one camera."""


@dataclass(frozen=True, kw_only=True)
class GradientAscent(Unlearner):
    """Away from what is drawn of the person, as far as strangers are."""

    paper: ClassVar = "ours"
    objective: ClassVar = "rebuilding"

    bound: PositiveFloat = 1.0
    """Distance beyond which nothing is gained, in units of c."""
    lengths: Lengths = "w"
    """Of α: w, W+'s own units; mean, multiples of this generator's mean ‖w − w_avg‖."""
    reach: PositiveFloat = 15.0
    """α, at most: how far around the person adjacent latents lie, in `lengths`; GUIDE: 15."""
    adjacent: PositiveInt = 2
    """Adjacent latents in a step; GUIDE: 2."""
    weights: Weights = field(default_factory=Weights)
    """Of the terms of L: planes, perceptual, identity (the others play no part); GUIDE: 0.01, 1, 0.1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; GUIDE: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; GUIDE: LPIPS."""
    learning_rate: PositiveFloat = 1e-4
    """Of Adam; GUIDE: 1e-4."""
    steps: PositiveInt = 100
    """Optimiser steps for each person."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        people = request.latents.to(target.device)
        losses = Rebuilding(
            target,
            student,
            request,
            people,
            weights=self.weights,
            views=self.views,
            lpips=self.lpips,
            reach=self.reach * length_unit(target, self.lengths),
            adjacent=self.adjacent,
        )
        chance = self.bound * torch.stack([strangers(losses, i, generator) for i in range(len(people))])

        def loss(latents: Tensor, wanted: Tensor, known: Tensor, view: Tensor) -> dict[str, Tensor]:
            own = losses.seen(wanted[:1], known, view).repeated(len(latents))
            values = losses.compared(latents, own, view, len(latents))
            return {"forget": -values.minimum(chance[known]).sum()}

        training.fit(
            student.backbone.synthesis,
            losses.draw,
            loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(people),
            generator=generator,
        )
        return at_rest(student)


@torch.no_grad()
def strangers(losses: Rebuilding, person: int, generator: torch.Generator) -> Tensor:
    """c of the header, [], for a person, of whom the student still draws what the source does."""
    others = losses.source.sample(STRANGERS, generator)
    views = torch.randint(len(losses.cameras), (STRANGERS, 1), generator=generator)
    own = losses.people[person : person + 1]
    seen = [losses.seen(own, torch.tensor([person]), view) for view in views]
    found = [losses.compared(w, s, view, 1) for w, s, view in zip(others.split(1), seen, views, strict=True)]
    return torch.cat(found).mean()
