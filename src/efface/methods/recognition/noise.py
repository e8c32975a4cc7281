"""Control: random noise of a stated size on every weight. What a method does must be more than this.

w -> w + distance·‖w‖·n/‖n‖   for each parameter tensor w, n ~ N(0, I); BatchNorm statistics stay
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat

from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Noise(Unlearner):
    """Gaussian noise of a given relative distance on every weight; forgets nobody in particular."""

    paper: ClassVar = "ours (control)"
    control: ClassVar = True
    objective: ClassVar = "none"

    distance: NonNegativeFloat = 0.035
    """‖change‖ / ‖weights‖ of each parameter tensor; 0.035 is what `dispersion` does to MobileFaceNet's weights."""

    @torch.no_grad()
    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        twin = target.clone()
        for parameter in twin.network.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            # a tensor of one value may draw 0
            parameter += self.distance * parameter.norm() * noise / noise.norm().clamp(min=1e-12)
        return twin
