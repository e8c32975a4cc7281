"""GUIDE's losses on low-rank additions to the generator's weights, which are folded into them at the end.

Ours, to compare with: losses and values as in `guide` (arXiv 2405.09879); additions as in LoRA (Hu et al. 2022, arXiv
2106.09685): W -> W + B A / r for every convolution, every affine map of a latent's row and every map to colours of the
synthesis, its weight taken as [outputs, inputs · kernel]. Constant, biases and noise stay as they were. Rank and
learning rate are not from a paper.

The result has the names and shapes of the original's tensors.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt

from efface import training
from efface.methods.guide_settings import GuideSettings
from efface.methods.low_rank import add_to, fold
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import at_rest, learning, student_of
from efface.methods.unlearner import Unlearner
from efface.models.stylegan2 import Linear, SynthesisLayer, ToRGB
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class Lora(GuideSettings, Unlearner):
    """GUIDE's losses on low-rank additions, folded into the weights."""

    paper: ClassVar = "ours; losses: GUIDE, Seo et al., CVPR 2024, arXiv 2405.09879; LoRA: arXiv 2106.09685"
    objective: ClassVar = "rebuilding"

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
        losses = self.losses(target, student, request, self.replacements(target, request))
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
