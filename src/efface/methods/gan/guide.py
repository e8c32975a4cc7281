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

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from efface import training
from efface.methods.guide_settings import GuideSettings
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import at_rest, student_of
from efface.methods.unlearner import Unlearner
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Guide(GuideSettings, Unlearner):
    """Draw somebody beyond the average face in place of the person (GUIDE)."""

    paper: ClassVar = "GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879"
    objective: ClassVar = "rebuilding"

    learning_rate: PositiveFloat = 1e-4
    """Of Adam; paper: 1e-4."""
    steps: PositiveInt = 1000
    """Optimiser steps for each person; paper: 1000."""

    def unlearn(self, target: GanTarget, request: RebuildRequest, generator: torch.Generator) -> GanTarget:
        student, trained = student_of(target, request)
        losses = self.losses(target, student, request, self.replacements(target, request))
        training.fit(
            student.backbone.synthesis,
            losses.draw,
            losses.loss,
            optimiser=torch.optim.Adam(trained, lr=self.learning_rate),
            steps=self.steps * len(request.people),
            generator=generator,
        )
        return at_rest(student)
