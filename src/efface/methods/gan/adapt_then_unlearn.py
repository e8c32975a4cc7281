"""Make a second generator that draws the person and nobody else, then push the weights away from it.

Paper: Adapt then Unlearn (Tiwary et al., arXiv 2309.14054), for classes and attributes, adversarially, on many
pictures; one person and no discriminator are ours. θ* are the source's weights, w_u the person, w_r people who never
existed, L the pair loss and the global term as in `guide` (arXiv 2405.09879):
    adapt      θ_N = argmin Σ L(G(w_r), G_s(w_u)) + λ·EWC(θ, θ*)
    unlearn    from θ*: global term + γ·exp(−α·‖θ − θ_N‖² / ‖θ* − θ_N‖²)        (repulsion, the official code's l2exp)

official code's value / ours: γ 10 / the same; α .005 of the mean square of all weights' differences / 1, of the square
that it begins with, so that it does not depend on the network; adversarial terms on pictures with and without the
attribute / L and the global term; EWC by the discriminator / by pictures (methods/consolidation.py), λ 50; steps and
rates are ours. Of several people each has a generator of its own, adapted one after another; the repulsions are
added up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.consolidation import Consolidation
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, student_of
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class AdaptThenUnlearn(Unlearner):
    """Push the weights away from those of a generator that draws the person alone (Adapt then Unlearn)."""

    paper: ClassVar = "Adapt then Unlearn, Tiwary et al., arXiv 2309.14054, as adapted by us"
    objective: ClassVar = "rebuilding"

    adapt_steps: PositiveInt = 200
    """Optimiser steps of the first stage for each person; ours."""
    consolidation: NonNegativeFloat = 50.0
    """λ of EWC in the first stage, no unit; ours."""
    measured: PositiveInt = 64
    """People who never existed whom the Fisher information is a mean over; ours."""
    repulsion: NonNegativeFloat = 10.0
    """γ: weight of the repulsion, no unit; code: 10."""
    decay: PositiveFloat = 1.0
    """α: how fast it falls with the squared distance, in units of the first one; ours."""
    batch: PositiveInt = 2
    """People who never existed in a step of either stage; GUIDE's global term: 2."""
    retained: NonNegativeInt = 0
    """Retained people's latents beside them in a step of the second, where the request has any; ours."""
    weights: Weights = field(default_factory=Weights)
    """Of the terms: planes, perceptual, identity, preserved; GUIDE: 0.01, 1, 0.1, 1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; GUIDE: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; GUIDE: LPIPS."""
    learning_rate: PositiveFloat = 1e-4
    """Of Adam, both stages; GUIDE: 1e-4."""
    steps: PositiveInt = 200
    """Optimiser steps of the second stage; ours."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        adapted = [self.adapted(target, request, person, generator) for person in range(len(request.people))]
        first = [squared_distance(trained, theirs).detach() for theirs in adapted]
        losses = self.losses(target, student, request, preserved=self.batch, retained=self.retained)

        def loss(latents: Tensor, wanted: Tensor, known: Tensor, view: Tensor) -> dict[str, Tensor]:
            seen = losses.seen(wanted, known, view).rows(slice(1, None))
            away = [-self.decay * squared_distance(trained, a) / f for a, f in zip(adapted, first, strict=True)]
            return {
                "global": losses.term("global", losses.compared(latents[1:], seen, view, 0)),
                "repulsion": self.repulsion * torch.stack(away).exp().sum(),
            }

        self.fit(student, losses, loss, self.steps, generator)
        return at_rest(student)

    def adapted(
        self, target: GanTarget, request: RebuildRequest, person: int, generator: torch.Generator
    ) -> list[Tensor]:
        """θ_N of a person, a tensor for each parameter of the synthesis."""
        student, trained = student_of(target, request)
        losses = self.losses(target, student, request, preserved=self.batch, retained=0)
        held = Consolidation(student, trained, self.views, self.measured, generator)
        own = request.latents[person : person + 1].to(target.device)

        def loss(latents: Tensor, _wanted: Tensor, _known: Tensor, view: Tensor) -> dict[str, Tensor]:
            seen = losses.seen(own, torch.tensor([person]), view).repeated(self.batch)
            values = losses.compared(latents[1:], seen, view, self.batch)
            return {"adapt": values.sum(), "consolidation": self.consolidation * held.loss()}

        self.fit(student, losses, loss, self.adapt_steps, generator)
        return [p.detach() for p in trained]

    def losses(
        self, target: GanTarget, student: GanTarget, request: RebuildRequest, preserved: int, retained: int
    ) -> Rebuilding:
        """Of a student for whom the person stays the person."""
        return Rebuilding(
            target,
            student,
            request,
            request.latents,
            weights=self.weights,
            views=self.views,
            lpips=self.lpips,
            preserved=preserved,
            retained=retained,
        )

    def fit(self, student: GanTarget, losses: Rebuilding, loss: Any, steps: int, generator: torch.Generator) -> None:
        """Train the student's synthesis."""
        synthesis = student.backbone.synthesis
        optimiser = torch.optim.Adam(synthesis.parameters(), lr=self.learning_rate)
        training.fit(synthesis, losses.draw, loss, optimiser=optimiser, steps=steps, generator=generator)


def squared_distance(weights: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """‖θ − θ_N‖², []."""
    return torch.stack([(a - b).square().sum() for a, b in zip(weights, others, strict=True)]).sum()
