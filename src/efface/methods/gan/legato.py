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
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.methods.guide_settings import GuideSettings
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import at_rest, learning, student_of
from efface.methods.unlearner import Unlearner
from efface.models import flows
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Legato(GuideSettings, Unlearner):
    """GUIDE's losses on flows between the frozen layers (LEGATO); hides, and can be turned."""

    paper: ClassVar = "LEGATO, 2026, arXiv 2601.04282"
    objective: ClassVar = "rebuilding"

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
        losses = self.losses(target, student, request, self.replacements(target, request))

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
