"""Shrink the weights that matter much more to the people to forget than to everybody; no training.

Paper: Selective Synaptic Dampening, Foster et al., AAAI 2024 (arXiv 2308.07707), and its official code.
    I_f, I_D  diagonal Fisher information of the photos to forget, and of all seen photos   (equation 2)
    where I_f > α·I_D:   w -> w·min(λ·I_D / I_f, 1)                                        (equations 3, 4)

paper's value / ours: α 10 (ResNet-18), 50 (faces) / 0.5, see below; λ 1 (ResNet-18), 0.1 (faces) / 0.1; CE of the
network's own head / of a CosFace head from class means, since the checkpoint has none, margin on, as without it the
gradients of well-fitted photos vanish; all weights / all (`blocks` 0), BatchNorm's scales and shifts among them as in
the official code, its statistics frozen. There is no retain term: I_D protects the retained.

Mistakes avoided: the official code squares the gradient of a batch's mean, which shrinks by cancelling in a mixed batch
and not in a batch of one person; here each photo's gradient is squared. D holds the photos to forget, so
I_D ≥ I_f·(their share): with α above 1 / share nothing is ever selected. 4 people of 24 make a share of 1/6, where the
paper's α would leave the network as it is without a word; here that is an error.
0.5 and 0.1 are the mildest of the settings tried that make the class-mean head miss anyone on the tiny model: the
magnitude of a weight is mostly cancelled by the normalisation of the embedding.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.classes import class_head, retained_classes
from efface.methods.importance import of_true_class
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Ssd(Unlearner):
    """Dampen the weights that matter to the forgotten most (Selective Synaptic Dampening)."""

    paper: ClassVar = "Selective Synaptic Dampening, Foster et al., AAAI 2024, arXiv 2308.07707"
    objective: ClassVar = "head_accuracy"

    selection: PositiveFloat = 0.5
    """α: how many times more a weight must matter to the forgotten than to everybody; below 1 / their share of the
    photos; paper: 10, 50 for faces."""
    dampening: NonNegativeFloat = 0.1
    """λ: factor of a selected weight, relative to I_D / I_f; paper: 1, 0.1 for faces."""
    blocks: NonNegativeInt = 0
    """How many of the network's last blocks are edited; 0: all; paper: all."""

    @torch.no_grad()
    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        most = (len(request.forget) + len(request.retain)) / len(request.forget)
        if self.selection >= most:
            raise EffaceError(
                f"selection: found {self.selection:g}, expected below {most:g}, all seen photos for each one to forget:"
                " no weight can matter to the forgotten by more; lower selection or forget fewer people at once"
            )
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        with torch.enable_grad():
            forget = of_true_class(part, head, seen.forget, seen.labels)
            retain = of_true_class(part, head, seen.retain, retained_classes(seen))
        for weight, own, other in zip(part.trained(), forget, retain, strict=True):
            everybody = (own + (most - 1) * other) / most
            weight *= dampening_factors(own, everybody, self.selection, self.dampening)
        return part.result()


def dampening_factors(forget: Tensor, everybody: Tensor, selection: float, dampening: float) -> Tensor:
    """What each weight is multiplied by, given its importances of the same shape: 0 … 1."""
    factors = (dampening * everybody / forget.clamp(min=torch.finfo(forget.dtype).tiny)).clamp(max=1)
    return torch.where(forget > selection * everybody, factors, 1.0)
