"""Draw the average face in place of the person; nothing keeps everybody else.

Paper: the baseline of GUIDE (Seo et al., CVPR 2024, arXiv 2405.09879), by its official code: w_t = w_avg and the local
loss alone (methods/rebuilding_losses.py). Values and what is ours: as in `guide`. Everybody who is forgotten gets one
face, the average one.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from efface import training
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, student_of
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class AverageTarget(Unlearner):
    """Draw the average face in place of the person (GUIDE's baseline)."""

    paper: ClassVar = "baseline of GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879"
    objective: ClassVar = "rebuilding"

    weights: Weights = field(default_factory=Weights)
    """Of the term: planes, perceptual, identity (the others play no part); paper: 0.01, 1, 0.1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; paper: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; paper: LPIPS."""
    learning_rate: PositiveFloat = 1e-4
    """Of Adam; paper: 1e-4."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; paper: 1000."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        goals = target.w_average.expand(len(request.people), -1, -1)
        losses = Rebuilding(target, student, request, goals, weights=self.weights, views=self.views, lpips=self.lpips)
        training.fit(
            student.backbone.synthesis,
            losses.draw,
            losses.loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)
