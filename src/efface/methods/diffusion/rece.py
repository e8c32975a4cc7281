"""Edit keys and values as UCE does, find the tokens that still give the person, edit these away too, and so on; no
training.

Paper: RECE (Gong et al., "Reliable and Efficient Concept Erasure of Text-to-Image Diffusion Models", ECCV 2024, arXiv
2407.12383), and its official code.
    edit     as UCE (arXiv 2308.14761), from the weights as they are; what is wanted is made of the original weights
    derive   c′ = (ρ·I + Σ WᵀW)⁻¹·(Σ WᵀW₀)·c  over all maps: the tokens that under the edited W come nearest to what c
             gave under the original W₀;  then c′ is edited towards the anchor in place of c

adaptation's value (arXiv 2605.22311) / ours: λ 0.1 / the same, as the weight of the present map in each edit; what else
it takes is not known to us / as in the official code for objects: α 1, β 0.1, 5 rounds, ρ 1e-3; means of tokens and 20
preserved people as in UCE, whose adaptation is known; float64.

Mistakes avoided: the official code takes what the anchor and the preserved should give from the weights of the last
round, so that errors add up; here from the original.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor

from efface.methods.conditions import DrawRequest
from efface.methods.diffusion.uce import edit, face_maps, mean_tokens, preserved_people
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class Rece(Unlearner):
    """UCE again and again, on the tokens that still give the person (RECE)."""

    paper: ClassVar = "RECE, Gong et al., ECCV 2024, arXiv 2407.12383, as adapted in arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    erase_weight: NonNegativeFloat = 1.0
    """α: weight of each forgotten person, no unit; paper: 1."""
    preserve_weight: NonNegativeFloat = 0.1
    """β: weight of each preserved person, no unit; paper: 0.1."""
    hold: PositiveFloat = 0.1
    """λ: weight of the map as it is, no unit; paper and adaptation: 0.1."""
    preserved: NonNegativeInt = 20
    """Retained people whose keys and values are held, at most; adaptation of UCE: 20."""
    rounds: NonNegativeInt = 5
    """Times that tokens are derived and edited after the first edit; paper: 5 for objects."""
    shrinkage: PositiveFloat = 1e-3
    """ρ: pull of the derived tokens towards 0, no unit; paper: 1e-3."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student = target.clone()
        persons = mean_tokens(target, request.forget.centroids())
        anchors = mean_tokens(target, request.anchors)
        kept = mean_tokens(target, preserved_people(request, self.preserved, generator))
        originals = [module.weight.cpu().double() for module in face_maps(target.parts.unet).values()]
        modules = list(face_maps(student.parts.unet).values())
        given = persons
        for round in range(self.rounds + 1):
            if round:
                weights = (module.weight.cpu().double() for module in modules)
                given = persons @ still_gives(weights, originals, self.shrinkage).T
            for module, before in zip(modules, originals, strict=True):
                edit(
                    module,
                    [
                        (self.erase_weight, given, anchors @ before.T),
                        (self.preserve_weight, kept, kept @ before.T),
                    ],
                    self.hold,
                )
        return student


@torch.no_grad()
def still_gives(weights: Iterable[Tensor], originals: Iterable[Tensor], shrinkage: float) -> Tensor:
    """The matrix [c, c] of the header that makes c′ of c: c′ minimises Σ‖W c′ − W₀ c‖² + shrinkage·‖c′‖²."""
    left, right = torch.zeros(()), torch.zeros(())
    for now, before in zip(weights, originals, strict=True):
        left, right = left + now.T @ now, right + now.T @ before
    return torch.linalg.solve(left + shrinkage * torch.eye(len(left), dtype=left.dtype), right)
