"""Two levels: first a few steps that forget, then one back from there that keeps the retained and forgets by what those
steps gained.

Paper: EraseDiff (Wu et al., "Erasing Undesirable Influence in Diffusion Models", CVPR 2025, arXiv 2401.05779), and its
official code.
    L_f    E‖ε_θ(z_t, c_f) − sg ε_θ(z_t, c_a)‖²;   L_r  E‖ε_θ(z_t, c_r) − ε‖²          sg: without gradient
    inner  φ: K steps from θ that descend L_f
    outer  from θ again, one step that descends L_r + λ·(L_f(θ) − L_f(φ))

adaptation's value (arXiv 2605.22311) / ours: K 2, λ 0.1, learning rate 1e-5 / the same; what else it takes is not known
to us / as in the official code: Adam, all of the UNet, batch 8; 5 rounds, each of K epochs and one back over about 960
photos of a class / 600 rounds of K steps and one back, all on one batch; in the forgotten class's place another is
taught / the anchor.

As in the official code, φ is a constant of the outer step: it changes that step's loss, not its gradient. What makes
the inner steps count is that both levels share one Adam, whose moments remember them; without that λ alone would
forget, which is little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface.methods.conditions import DrawRequest
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


@dataclass(frozen=True, kw_only=True)
class Erasediff(Unlearner):
    """Steps ahead that forget, and one back that keeps the rest (EraseDiff)."""

    paper: ClassVar = "EraseDiff, Wu et al., CVPR 2025, arXiv 2401.05779, as adapted in arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    inner_steps: NonNegativeInt = 2
    """K: steps ahead in each round; paper and adaptation: 2 (epochs in the code)."""
    forget_weight: NonNegativeFloat = 0.1
    """λ: weight of the forget part of the outer step, no unit; code and adaptation: 0.1."""
    learning_rate: PositiveFloat = 1e-5
    """Of Adam; adaptation: 1e-5."""
    steps: PositiveInt = 600
    """Outer steps; paper: 5 epochs of about 120."""
    batch: PositiveInt = 8
    """Photos of the forgotten, and as many of the retained, in a step; paper: 8."""
    scope: Scope = "full"
    """Which parameters are trained; paper: full."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student, trained = student_of(target, scope_names(target.parts.unet, self.scope))
        optimiser = torch.optim.Adam(trained, lr=self.learning_rate)

        def loss(forgotten: Noised, retained: Noised) -> dict[str, Tensor]:
            reached = ahead(trained, lambda: as_anchor(student, student, forgotten), optimiser, self.inner_steps)
            return {
                "retain": denoising(student, retained),
                "forget": self.forget_weight * (as_anchor(student, student, forgotten) - reached),
            }

        train_on_noised(
            student.parts.unet,
            (forgotten_latents(target, request), Latents.of(target, request.retain)),
            loss,
            optimiser=optimiser,
            steps=self.steps,
            batch=self.batch,
            generator=generator,
        )
        return finished(student)


def ahead(
    trained: list[nn.Parameter], forget: Callable[[], Tensor], optimiser: torch.optim.Optimizer, steps: int
) -> Tensor:
    """The loss `forget()` [], without gradient, after `steps` steps that descend it; the parameters are then what they
    were, the optimiser's moments are not."""
    before = [p.detach().clone() for p in trained]
    for _ in range(steps):
        optimiser.zero_grad()
        forget().backward()
        optimiser.step()
    with torch.no_grad():
        reached = forget()
        for parameter, value in zip(trained, before, strict=True):
            parameter.copy_(value)
    return reached
