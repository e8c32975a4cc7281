"""Draw, in place of the person, whoever lies beyond the average face on the other side, and everybody else as before.

Paper: GUIDE (Seo et al., "Generative Unlearning for Any Identity", CVPR 2024, arXiv 2405.09879), formulas and values by
its official code.
    target     w_t = w_avg − d·w_id / ‖w_id‖, w_id = w_u − w_avg (UFO)                       (methods/replacements.py)
    loss       local + adjacency + global                                                (methods/rebuilding_losses.py)

paper's value / ours: d 30, one norm over all numbers of W+ / the same, or multiples of this generator's own mean length
(`lengths: mean`), since 30 is a length in EG3D's W+; α up to 15, 2 draws of adjacency and of global a step, weights
.01, 1, .1 in L and 1 of each term, Adam 1e-4 with default betas, 1000 iterations, yaw ±15°, pitch −.2,
`backbone.synthesis` trained / the same; LPIPS-VGG / the same where its weights are named, else the distance of features
of the shipped recogniser; ArcFace / the shipped recogniser; any yaw / 11, evenly spaced; one person / several, with as
many steps for each, in one run, whose targets are kept apart.

Mistakes avoided: the encoder in training mode, the pivot of cameras misspelt, noise and jitter in renderings: all of it
is the target's (targets/gan.py), which has none of them; CUDA is not needed.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from efface import training
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, at_rest, student_of
from efface.methods.replacements import Lengths, length_unit, replacements
from efface.methods.unlearner import Unlearner
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Guide(Unlearner):
    """Draw somebody beyond the average face in place of the person (GUIDE)."""

    paper: ClassVar = "GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879"
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
    learning_rate: PositiveFloat = 1e-4
    """Of Adam; paper: 1e-4."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; paper: 1000."""

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
        training.fit(
            student.backbone.synthesis,
            losses.draw,
            losses.loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)
