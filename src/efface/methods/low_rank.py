"""Low-rank additions to weights (LoRA; Hu et al. 2022, arXiv 2106.09685): trained in the weights' place, folded into
them at the end."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """W -> W + B A / r, for a weight [outputs, ...]."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        self.rank = min(rank, outputs, inputs)
        drawn = (2 * torch.rand(self.rank, inputs, generator=generator) - 1) / math.sqrt(inputs)
        self.down = nn.Parameter(drawn.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, self.rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down / self.rank).view_as(weight)


def add_to(module: nn.Module, rank: int, generator: torch.Generator) -> LowRank:
    """Make a module compute with its weight plus a new addition, which is returned."""
    weight = module.get_parameter("weight")
    addition = LowRank(weight, rank, generator)
    parametrize.register_parametrization(module, "weight", addition)
    return addition


def fold(modules: Iterable[nn.Module]) -> None:
    """Put what `add_to` made of the modules' weights in the place of their weights; names and shapes are as before."""
    for module in modules:
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
