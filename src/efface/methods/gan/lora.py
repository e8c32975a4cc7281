"""GUIDE's losses on low-rank additions to the generator's weights, which are folded into them at the end.

Ours, to compare with: losses and values as in `guide` (arXiv 2405.09879); additions as in LoRA (Hu et al. 2022, arXiv
2106.09685): W -> W + B A / r for every convolution, every affine map of a latent's row and every map to colours of the
synthesis, its weight taken as [outputs, inputs · kernel]. Constant, biases and noise stay as they were. Rank and
learning rate are not from a paper.

The result has the names and shapes of the original's tensors.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from efface import training
from efface.methods.low_rank import add_to, fold
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, learning, student_of
from efface.methods.replacements import Lengths, length_unit, replacements
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.models.stylegan2 import Linear, SynthesisLayer, ToRGB
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Lora(Unlearner):
    """GUIDE's losses on low-rank additions, folded into the weights."""

    paper: ClassVar = "ours; losses: GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879; LoRA: arXiv 2106.09685"
    objective: ClassVar = "rebuilding"

    distance: PositiveFloat = 30.0
    """d: how far beyond the average latent the replacement lies, in `lengths`; paper: 30."""
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
    rank: PositiveInt = 8
    """Of each addition, at most that of the weight; ours."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam; ours (GUIDE: 1e-4, on the weights themselves)."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; GUIDE: 1000."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student = at_rest(student_of(target, request)[0])
        synthesis = student.backbone.synthesis
        maps = [m for m in synthesis.modules() if isinstance(m, SynthesisLayer | ToRGB | Linear)]
        added = [add_to(module, self.rank, generator) for module in maps]
        trained = learning(p for addition in added for p in addition.parameters())
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
        training.fit(
            synthesis,
            losses.draw,
            losses.loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        fold(maps)
        return at_rest(student)
