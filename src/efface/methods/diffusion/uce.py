"""Edit keys and values of the cross-attention so that the person's tokens give what the anchor's gave; no training.

Paper: UCE (Gandikota et al., "Unified Concept Editing in Diffusion Models", WACV 2024, arXiv 2308.14761), equation 7,
as PIU's authors adapt it to face-conditioned models (arXiv 2605.22311, official code).
    W = (λ·W₀ + α·Σ W₀ c* cᵀ + β·Σ W₀ c_p c_pᵀ)·(λ·I + α·Σ c cᵀ + β·Σ c_p c_pᵀ)⁻¹        for each map W₀ of tokens
    c   mean of the tokens of a forgotten person's mean embedding;  c* that of their anchor;  c_p of retained people
which is the W that minimises λ‖W − W₀‖² + α·Σ‖W c − W₀ c*‖² + β·Σ‖W c_p − W₀ c_p‖².

adaptation's value / ours: α 20, β 1, λ 0.7, 20 preserved people / the same; which of the retained these are is not
known to us / drawn at random; in float64. With decoupled attention (IP-Adapter) the maps are those that face tokens go
through, to_k_ip and to_v_ip, and the text's stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.methods.conditions import DrawRequest
from efface.methods.unlearner import Unlearner
from efface.models.diffusion.ip_adapter import Decoupled
from efface.targets.diffusion import DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class Uce(Unlearner):
    """The person's keys and values become the anchor's, in closed form (UCE)."""

    paper: ClassVar = "UCE, Gandikota et al., WACV 2024, arXiv 2308.14761, as adapted in arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    erase_weight: NonNegativeFloat = 20.0
    """α: weight of each forgotten person, no unit; adaptation: 20."""
    preserve_weight: NonNegativeFloat = 1.0
    """β: weight of each preserved person, no unit; adaptation: 1."""
    hold: PositiveFloat = 0.7
    """λ: weight of the original map, no unit; adaptation: 0.7."""
    preserved: NonNegativeInt = 20
    """Retained people whose keys and values are held, at most; adaptation: 20."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        student = target.clone()
        persons = mean_tokens(target, request.forget.centroids())
        anchors = mean_tokens(target, request.anchors)
        kept = mean_tokens(target, preserved_people(request, self.preserved, generator))
        for module in face_maps(student.parts.unet).values():
            before = module.weight.cpu().double()
            edit(
                module,
                [
                    (self.erase_weight, persons, anchors @ before.T),
                    (self.preserve_weight, kept, kept @ before.T),
                ],
                self.hold,
            )
        return student


def face_maps(unet: nn.Module) -> Mapping[str, nn.Linear]:
    """Names and modules of the linear maps that make keys and values of face tokens, in the network's order. Raises
    EffaceError where there are none."""
    crossing = {n: m for n, m in unet.named_modules() if ".attn2." in n and isinstance(m, nn.Linear)}
    for endings in (("to_k_ip", "to_v_ip"), ("to_k", "to_v")):  # where there are maps for faces alone, only they count
        found = {n: m for n, m in crossing.items() if n.rstrip(".0123456789").endswith(endings)}
        if found:
            return found
    raise EffaceError("found no attn2.to_k or attn2.to_v in the UNet, expected cross-attention to the face's tokens")


@torch.no_grad()
def mean_tokens(target: DiffusionTarget, embeddings: Tensor) -> Tensor:
    """The mean of the tokens of each unit embedding [n, d]: float64 [n, c], on the CPU. With decoupled attention of the
    face's own tokens, which are the last."""
    tokens = target.condition(embeddings).cpu().double()
    for module in target.parts.unet.modules():
        if isinstance(module, Decoupled):
            return tokens[:, -module.tokens :].mean(1)
    return tokens.mean(1)


def preserved_people(request: DrawRequest, most: int, generator: torch.Generator) -> Tensor:
    """Mean embeddings [n, d] of up to `most` retained people, drawn at random."""
    if not len(request.retain):
        return request.forget.embeddings[:0]
    centroids = request.retain.centroids()
    return centroids[torch.randperm(len(centroids), generator=generator)[:most]]


@torch.no_grad()
def edit(module: nn.Linear, wanted: list[tuple[float, Tensor, Tensor]], hold: float) -> None:
    """Give a map the weight W that minimises hold·‖W − W_now‖² + Σ weight·‖W c − v‖² over rows c [n, inputs] and v
    [n, outputs] of every (weight, c, v), float64; hold above 0."""
    now = module.weight.cpu().double()
    left = hold * now
    right = hold * torch.eye(now.shape[1], dtype=now.dtype)
    for weight, tokens, values in wanted:
        left = left + weight * values.T @ tokens
        right = right + weight * tokens.T @ tokens
    module.weight.copy_(torch.linalg.solve(right, left, left=False))
