"""Other views of a crop."""

import torch
from torch import Tensor

DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))
"""(right, down) of the four shifts."""


def shifted(pixels: Tensor, right: int, down: int) -> Tensor:
    """Crops uint8 [n, 3, h, w] moved by so many pixels; the border is repeated where nothing is known."""
    height, width = pixels.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return pixels[..., rows, :][..., columns]
