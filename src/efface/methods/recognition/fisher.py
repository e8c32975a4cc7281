"""Add noise to every weight, the more the less it matters to the retained people; no training.

Paper: Fisher forgetting, Golatkar et al., "Eternal Sunshine of the Spotless Net" (CVPR 2020, arXiv 1911.04933), and its
official code.
    F      diagonal Fisher information of the retained photos: mean of Σ_y p_y (∂ log p_y / ∂w)²
    w  ->  w + n,  n ~ N(0, v),  v = α·min(1 / (F + 1e-8), 1000)
    v is averaged over the inputs of each output unit, and ten times as large for vectors (biases, BatchNorm)

paper's value / ours: α 1e-6 (code) / 3e-5, at which the head misses photos on the tiny model; p of the network's own
head / of a CosFace head from class means, s = 32, no margin, since the checkpoint has none; all weights / the last
block, as each photo costs a gradient for each class (`blocks` 0: all); BatchNorm's statistics frozen. There is no
retain term: F protects the retained.

Left out: the official code also puts the forgotten class's row of the head at 0, which by itself brings its accuracy
there. There is no head to edit, and what is left of the method is noise that knows of the forgotten only by their
absence.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat
from torch import Tensor

from efface.methods.classes import class_head
from efface.methods.importance import of_all_classes
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Fisher(Unlearner):
    """Noise on the weights that matter little to the retained (Fisher forgetting)."""

    paper: ClassVar = "Fisher forgetting, Golatkar et al., CVPR 2020, arXiv 1911.04933"
    objective: ClassVar = "head_accuracy"

    alpha: PositiveFloat = 3e-5
    """α: variance of the noise times the Fisher information; paper: 1e-6 (code)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are edited; 0: all; paper: all."""

    @torch.no_grad()
    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        with torch.enable_grad():
            matters = of_all_classes(part, head, seen.retain)
        for weight, information in zip(part.trained(), matters, strict=True):
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            weight += noise * noise_variance(information, self.alpha).sqrt()
        return part.result()


def noise_variance(information: Tensor, alpha: float) -> Tensor:
    """Variance of the noise on a weight tensor, from its Fisher information of the same shape."""
    variance = alpha * (1 / (information + 1e-8)).clamp(max=1e3)
    if information.ndim > 1:
        return variance.mean(dim=1, keepdim=True).expand_as(information)
    return 10 * variance
