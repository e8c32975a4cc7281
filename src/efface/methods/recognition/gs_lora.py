"""Train small additions to the linear maps, as few blocks' as possible, to forget one side and keep the other; add them
to the weights at the end.

Paper: GS-LoRA, Zhao et al., "Continual Forgetting for Pre-trained Vision Models", CVPR 2024 (arXiv 2403.11530), and its
official code.
    W    -> W + B A / r,  A [r, inputs], B [outputs, r], B = 0 at first; only A and B are trained
    loss    β·max(BND − CE(forget), 0) + CE(retain) + α·Σ_blocks ‖(A, B of the block)‖₂

paper's value / ours: r 8 / the same; BND 110 at s = 64 / 55 at s = 32, the same cosines; β 0.15, α 1e-4 / the same;
AdamW, learning rate 1e-2, weight decay 0.05, cosine schedule, 100 epochs, batch 48 / the same, 100 steps, batch 64;
retain term CE / the same, its weight a field; the network's own CosFace head / a fixed one from class means, since the
checkpoint has none, margin on as in the official code; the two linear maps of each Transformer block / each linear map
and ungrouped convolution of the last 3 blocks, its weight taken as [outputs, inputs · kernel]; BatchNorm frozen.

The result has the names and shapes of the original's tensors. GS-LoRA++ is not here: its prototypes are class means,
which the head's rows already are.

Mistakes avoided: the official code keeps the checkpoint that does best on test photos; here the last step counts.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.methods.classes import Photos, class_head, forgotten_photos, retained_photos, train_on_both
from efface.methods.low_rank import LowRank, add_to, fold
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget

WEIGHT_DECAY = 0.05
"""Of AdamW, as in the official code."""


@dataclass(frozen=True, kw_only=True)
class GsLora(Unlearner):
    """Low-rank additions, sparse in blocks, folded into the weights (GS-LoRA)."""

    paper: ClassVar = "GS-LoRA, Zhao et al., CVPR 2024, arXiv 2403.11530"
    objective: ClassVar = "head_accuracy"

    rank: PositiveInt = 8
    """r of each addition, at most that of the weight; paper: 8."""
    bound: PositiveFloat = 55.0
    """BND: cross-entropy of the forgotten above which nothing is gained; paper: 110 at twice our s."""
    beta: PositiveFloat = 0.15
    """β: weight of the forget term; paper: 0.05 to 0.25."""
    alpha: NonNegativeFloat = 1e-4
    """α: weight of the group lasso; paper: 1e-4."""
    retain_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy of the retained; paper: 1."""
    learning_rate: PositiveFloat = 1e-2
    """Of AdamW with a cosine schedule; paper: 1e-2."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 100 epochs."""
    blocks: NonNegativeInt = 3
    """How many of the network's last blocks are added to; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        for parameter in part.trained():
            parameter.requires_grad_(False)
        groups = [list(linear_maps(part.tail, names)) for names in target.spec.blocks[-self.blocks :]]
        maps = [module for group in groups for module in group]
        if not maps:
            raise EffaceError(
                f"blocks: found no linear map in the last {self.blocks} blocks of {target.spec.name}, expected one to "
                "add to; train more blocks"
            )
        added = [[add_to(module, self.rank, generator) for module in group] for group in groups if group]

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            lost = F.cross_entropy(head(forgotten.x, forgotten.classes), forgotten.classes)
            kept = F.cross_entropy(head(retained.x, retained.classes), retained.classes)
            return {
                "forget": self.beta * (self.bound - lost).clamp(min=0),
                "retain": self.retain_weight * kept,
                "sparse": self.alpha * torch.stack([group_norm(group) for group in added]).sum(),
            }

        train_on_both(
            part,
            forgotten_photos(seen),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.AdamW(part.trained(), lr=self.learning_rate, weight_decay=WEIGHT_DECAY),
            steps=self.steps,
            generator=generator,
            schedule=lambda step: (1 + math.cos(math.pi * step / self.steps)) / 2,
        )
        fold(maps)
        return part.result()


def linear_maps(network: nn.Module, names: Iterable[str]) -> Iterable[nn.Linear | nn.Conv2d]:
    """The linear maps and ungrouped convolutions inside the modules of these names."""
    for name in names:
        for module in network.get_submodule(name).modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                yield module


def group_norm(group: list[LowRank]) -> Tensor:
    """‖(A, B of all)‖₂."""
    return torch.cat([p.flatten() for addition in group for p in addition.parameters()]).norm()
