"""Leave the generator as it is and bend what its layers hand on, by flows whose strength can be turned afterwards.

Paper: LEGATO (arXiv 2601.04282), as far as it is known to us by its official code.
    flow       after each resolution of the synthesis dx/dt = f(x) from t = 0 to 1.6, Euler steps of .4; f: 1×1
               convolution to 256 channels, leaky ReLU .2, 1×1 convolution back, 0 at first            (models/flows.py)
    loss       GUIDE's local + adjacency + global + μ·smoothness of the trajectories

paper's value / ours: t, step, channels / the same; smoothness and its weight μ: not known to us / the mean square by
which f's value changes from one Euler step to the next, over its own mean square at the first (without gradient), mean
over steps and flows, .01; GUIDE's values / the same; rate and steps as GUIDE's.

Only the flows are new: every tensor of the generator stays what it was, so whoever takes the flows out has the person
back. It hides rather than erases. `flows.turn(target.backbone.synthesis, t)` follows the flows to another t: 0 is the
original generator. The t is written beside the weights. A further request trains the flows that are there.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, learning, student_of
from efface.methods.replacements import Lengths, length_unit, replacements
from efface.methods.unlearner import Unlearner
from efface.models import flows
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Legato(Unlearner):
    """GUIDE's losses on flows between the frozen layers (LEGATO); hides, and can be turned."""

    paper: ClassVar = "LEGATO, 2026, arXiv 2601.04282"
    objective: ClassVar = "rebuilding"

    distance: PositiveFloat = 30.0
    """d: how far beyond the average latent the replacement lies, in `lengths`; paper: as GUIDE, 30."""
    lengths: Lengths = "w"
    """Of d and α: w, W+'s own units; mean, multiples of this generator's mean ‖w − w_avg‖ (ours); paper: w."""
    apart: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Largest cosine of two people's directions; nearer ones are turned apart; ours, paper: none (1)."""
    reach: NonNegativeFloat = 15.0
    """α, at most: how far around the person adjacent latents lie, in `lengths`; paper: 15."""
    adjacent: NonNegativeInt = 2
    """Adjacent latents in a step; paper: 2."""
    preserved: NonNegativeInt = 2
    """Latents of people who never existed, which are to be drawn as before, in a step; paper: 2."""
    retained: NonNegativeInt = 0
    """Retained people's latents beside them in a step, where the request has any; paper: 0."""
    weights: Weights = field(default_factory=Weights)
    """Of the terms: planes, perceptual, identity, adjacency, preserved; paper: 0.01, 1, 0.1, 1, 1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; paper: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; paper: LPIPS."""
    until: PositiveFloat = 1.6
    """t to which the flows are followed, no unit; paper: 1.6."""
    step: PositiveFloat = 0.4
    """Euler step of t; paper: 0.4."""
    hidden: PositiveInt = 256
    """Channels inside a flow; paper: 256."""
    smoothness: NonNegativeFloat = 0.01
    """Weight of the change of the flows' velocity from step to step; paper: not known to us."""
    learning_rate: PositiveFloat = 1e-4
    """Of Adam; GUIDE: 1e-4; paper: not known to us."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; GUIDE: 1000; paper: not known to us."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student = at_rest(student_of(target, request)[0])
        synthesis = student.backbone.synthesis
        if flows.attached(synthesis) is None:
            flows.attach(synthesis, flows.Flows(hidden=self.hidden, step=self.step, until=self.until), generator)
        flows.turn(synthesis, self.until)
        own = flows.of(synthesis)
        trained = learning(p for flow in own for p in flow.parameters())
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

        def loss(*batch: Tensor) -> dict[str, Tensor]:
            with heard(own) as velocities:
                terms = losses.loss(*batch)
            return terms | {"smoothness": self.smoothness * bending(velocities)}

        training.fit(
            synthesis,
            losses.draw,
            loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)


@contextmanager
def heard(own: Sequence[flows.Flow]) -> Iterator[list[list[Tensor]]]:
    """Of each flow what f gave, step after step, in passes within the block."""
    found: list[list[Tensor]] = [[] for _ in own]
    hooks = [
        flow.velocity.register_forward_hook(lambda _module, _inputs, value, into=into: into.append(value))
        for flow, into in zip(own, found, strict=True)
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def bending(velocities: Sequence[Sequence[Tensor]]) -> Tensor:
    """The header's smoothness, [], of one pass: for each flow its values of f, at least one of them."""
    changes = [
        (after - before).square().mean() / values[0].detach().square().mean().clamp(min=1e-12)
        for values in velocities
        for before, after in pairwise(values)
    ]
    return torch.stack(changes).mean() if changes else velocities[0][0].new_zeros(())
