"""Learn first who takes each person's place, then draw them there, while weights that matter stay where they are.

Paper: SUGAR (WACV 2026, arXiv 2512.06562), as far as it is known to us by its official code.
    target     w_t(w) = w_avg − d·T(w − w_avg) / ‖T(w − w_avg)‖, T a small U-Net on the map [rows, w_dim]
                                                                                              (methods/surrogate.py)
    stage 1    trains T: the planes of w_t stay near those of w_u, picture and identity go away
    stage 2    GUIDE's local and adjacency terms, L(w_u, w_t(w_u)) and Σ L(w_u + Δ, w_t(w_u + Δ)): an adjacent latent
               has a target of its own, by T, where GUIDE moves the person's along; + λ·EWC on the synthesis's weights

official code's value / ours: d 20, λ 50, Adam 2e-4, α up to 15, 2 adjacent latents / the same. Stage 2: 1000 passes
over all people, 1, 2 or 4 in a step / one in a step, drawn anew, 1000 steps for each person. EWC: λ·Σ F·Δθ² / half of
that, and F and so what λ amounts to is ours (methods/consolidation.py). T: two levels of 64 and 128 channels, pooled
over rows and w_dim, weights by Xavier, the mean of 64 channels put out / adds to w_id what three levels of 16, 32, 64
make of it, at first nothing, so that stage 1 begins at GUIDE's direction. Stage 1: .01·MSE(planes) − 1·LPIPS −
.1·(.01·MSE(planes))·(1 − cosine), that MSE as a number / the identity's weight is .1; 50 passes, fewer once the loss
has stopped falling, at 2e-4 times the people in a step / 200 steps for each person at 1e-3; fields.

Ours: people's targets are kept apart as in `guide`, those of adjacent latents are T's as they come; targets of
`earlier` people are what this run's T makes of them. Several people jointly: T is one map for all. One after another:
each run starts at the weights of the one before, and EWC holds those; G_s is that run's beginning (there: always the
generator as it was published).

Mistakes avoided: in the official code the identity term of stage 1 has no gradient (GUIDE's IDLoss detaches the second
picture, there the target's); here it reaches T. There Δ is divided by one norm over all people in a step; here α is
the length of each. As published stage 2 reads options `loss_adj_*` that its command line calls `loss_nei_*`.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.consolidation import Consolidation
from efface.methods.guide_settings import GuideSettings
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Weights, at_rest, perceptual, student_of
from efface.methods.replacements import beyond_average, in_order, kept_apart, length_unit, unit_offsets
from efface.methods.surrogate import Surrogate
from efface.methods.unlearner import Unlearner
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Sugar(GuideSettings, Unlearner):
    """Draw a learned replacement in place of each person, weights held by EWC (SUGAR)."""

    paper: ClassVar = "SUGAR, WACV 2026, arXiv 2512.06562"
    objective: ClassVar = "rebuilding"

    distance: PositiveFloat = 20.0
    """d: how far beyond the average latent the replacement lies, in `lengths`; paper: 20."""
    preserved: NonNegativeInt = 0
    """Latents of people who never existed, which are to be drawn as before, in a step; paper: 0."""
    learning_rate: PositiveFloat = 2e-4
    """Of Adam in stage 2; paper: 2e-4."""
    consolidation: NonNegativeFloat = 50.0
    """λ of EWC on the synthesis's weights, no unit; paper: 50, of a Fisher information measured otherwise."""
    measured: PositiveInt = 64
    """People who never existed whom the Fisher information is a mean over; ours, official code: 2 for each person."""
    surrogate_weights: Weights = field(default_factory=Weights)
    """Of stage 1: planes (kept near), perceptual and identity (driven away); official code: 0.01, 1, 0.1·(0.01·MSE)."""
    surrogate_rate: PositiveFloat = 1e-3
    """Of Adam in stage 1; ours, official code: 2e-4 times the people in a step."""
    surrogate_steps: NonNegativeInt = 200
    """Optimiser steps of stage 1 for each person; 0 leaves GUIDE's direction as it is; ours, official code: 50
    passes."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; official code: 1000 passes over all."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        surrogate = self.learned(target, request, generator)
        people = in_order(target, request)
        with torch.no_grad():
            directions = surrogate(people - target.w_average)
        directions = kept_apart(target, unit_offsets(target, target.w_average + directions), self.apart)
        length = self.distance * length_unit(target, self.lengths)
        goals = beyond_average(target, directions, length)[-len(request.people) :]

        def goals_near(w: Tensor) -> Tensor:
            return beyond_average(target, surrogate(w - target.w_average), length)

        losses = self.losses(target, student, request, goals, goals_near)
        held = Consolidation(student, trained, self.views, self.measured, generator)

        def loss(*batch: Tensor) -> dict[str, Tensor]:
            return losses.loss(*batch) | {"consolidation": self.consolidation * held.loss()}

        training.fit(
            student.backbone.synthesis,
            losses.draw,
            loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)

    def learned(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> Surrogate:
        """Stage 1: T, trained on the source, which stays as it is."""
        surrogate = Surrogate(generator).to(target.device)
        people, cameras = request.latents.to(target.device), self.views.cameras(target)
        distance, weights = perceptual(target, self.lpips), self.surrogate_weights
        length = self.distance * length_unit(target, self.lengths)

        def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
            person = torch.randint(len(people), (1,), generator=generator)
            return people[person], torch.randint(len(cameras), (1,), generator=generator)

        def loss(w: Tensor, view: Tensor) -> dict[str, Tensor]:
            camera = cameras[view]
            goal = beyond_average(target, surrogate(w - target.w_average), length)
            planes, theirs = target.planes(goal), target.planes(w)
            picture, own = target.render(planes, goal, camera), target.render(theirs, w, camera)
            embeddings = target.recogniser.forward(target.faces(torch.cat([picture, own]), camera.expand(2, -1)))
            return {
                "planes": weights.planes * (planes - theirs).square().mean(),
                "picture": -weights.perceptual * distance(picture, own).sum(),
                "identity": -weights.identity * (1 - embeddings[0] @ embeddings[1]),
            }

        training.fit(
            surrogate,
            draw,
            loss,
            optimiser=torch.optim.Adam(surrogate.parameters(), lr=self.surrogate_rate),
            steps=self.surrogate_steps * len(people),
            generator=generator,
        )
        return surrogate.requires_grad_(False)
