"""SUGAR's learned map T of a person's offset in W+: which way their replacement lies."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64)
"""Channels from level to level; ours."""


class Surrogate(nn.Module):
    """A small U-Net on the map [rows, w_dim] of an offset: [n, rows, w_dim] -> [n, rows, w_dim].

    It halves w_dim from level to level and leaves the rows. What it makes is added to the offset, and at first is 0.
    Its weights are drawn from `generator` (CPU) alone.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            self.enter = nn.Conv2d(1, WIDTHS[0], 3, padding=1)
            pairs = list(pairwise(WIDTHS))
            self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=(1, 2), padding=1) for a, b in pairs)
            self.up = nn.ModuleList(nn.Conv2d(a + b, a, 3, padding=1) for a, b in reversed(pairs))
            self.leave = nn.Conv2d(WIDTHS[0], 1, 3, padding=1, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, offsets: Tensor) -> Tensor:
        scale = offsets.square().mean((1, 2), keepdim=True).sqrt()
        x = F.leaky_relu(self.enter((offsets / scale).unsqueeze(1)), 0.2)
        levels = []
        for layer in self.down:
            levels.append(x)
            x = F.leaky_relu(layer(x), 0.2)
        for layer, level in zip(self.up, reversed(levels), strict=True):
            x = F.interpolate(x, level.shape[2:], mode="nearest")
            x = F.leaky_relu(layer(torch.cat([level, x], 1)), 0.2)
        return offsets + scale * self.leave(x).squeeze(1)
