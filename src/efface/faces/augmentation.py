"""Variations of aligned crops for training from scratch: where the face lies, its light and colour, what is lost."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 17
"""Random numbers that one picture takes."""

SHIFT, TURN, SCALE = 0.05, 8.0, 0.10
"""Largest shift (share of the side), turn (degrees) and change of scale; even, each picture by itself."""
GAIN, COLOUR, OFFSET = 0.25, 0.12, 0.10
"""Largest change of contrast, of each channel's gain, and of brightness (share of 255)."""
GREY, COARSE, HIDDEN = 0.10, 0.15, 0.25
"""Shares of the pictures that lose their colour, their detail, or a rectangle of the face."""
COARSEST = 0.35
"""Smallest side, as a share of the network's, that a picture that loses its detail is reduced to."""
LARGEST = 0.45
"""Largest side of the rectangle that is hidden, as a share."""


def draw(count: int, generator: torch.Generator) -> Tensor:
    """The numbers that `vary` takes for `count` pictures: float32 [count, 17], even on [0, 1)."""
    return torch.rand(count, NUMBERS, generator=generator)


def vary(pixels: Tensor, drawn: Tensor, size: int, strength: float = 1.0) -> Tensor:
    """Crops uint8 [n, 3, h, w] RGB -> varied pictures float32 [n, 3, size, size] on the 0–255 scale.

    drawn: float32 [n, 17], what `draw` gave; the same numbers give the same pictures. strength: factor of every range
    and share above; at 0 the crops are only reduced.

    All of the geometry is one bilinear sampling, from crops that are first reduced to 1.25 times the size (larger ones
    would alias).
    """
    if strength == 0:
        return F.interpolate(pixels.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    near = round(1.25 * size)
    if near < pixels.shape[-1]:
        x = pixels if pixels.device.type == "cpu" else pixels.float()  # bytes are reduced on the CPU only, and faster
        pixels = F.interpolate(x, (near, near), mode="bilinear", antialias=True, align_corners=False)
    drawn = drawn.to(pixels.device)
    x = F.grid_sample(pixels.float(), _grid(drawn, size, strength), padding_mode="border", align_corners=False)
    x = _coarse(x, drawn[:, 5], drawn[:, 6], strength)
    x = _coloured(x, drawn[:, 7:13], strength)
    return _hidden(x, drawn[:, 13:17], strength)


def _grid(drawn: Tensor, size: int, strength: float) -> Tensor:
    """float32 [n, size, size, 2]: where in the crop (−1 to 1) each pixel of the picture lies; half are mirrored."""
    even = 2 * drawn[:, :4] - 1
    turn = even[:, 0] * math.radians(TURN * strength)
    scale = torch.exp(even[:, 1] * math.log1p(SCALE * strength))
    mirror = torch.where(drawn[:, 4] < 0.5, -1.0, 1.0)
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    shift = 2 * SHIFT * strength * even[:, 2:4]
    centres = (torch.arange(size, device=drawn.device) + 0.5) * (2 / size) - 1
    across = torch.stack([cosine * mirror, sine * mirror], 1)[:, None, None, :] * centres[None, None, :, None]
    down = torch.stack([-sine, cosine], 1)[:, None, :] * centres[None, :, None] + shift[:, None, :]
    return across + down[:, :, None, :]


def _coarse(x: Tensor, chosen: Tensor, how: Tensor, strength: float) -> Tensor:
    """Reduce some pictures and enlarge them again: four degrees, the pictures of each together."""
    degree = (4 * how).long().masked_fill(chosen >= COARSE * strength, -1)
    size = x.shape[-1]
    for k in range(4):
        rows = (degree == k).nonzero().flatten()
        if len(rows):
            side = round(size * (COARSEST + (0.9 - COARSEST) * k / 3))
            small = F.interpolate(x[rows], (side, side), mode="bilinear", antialias=True, align_corners=False)
            x[rows] = F.interpolate(small, (size, size), mode="bilinear", align_corners=False)
    return x


def _coloured(x: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """Some grey; contrast about the middle, gain of each channel, brightness; kept within 0–255."""
    rows = (drawn[:, 0] < GREY * strength).nonzero().flatten()
    if len(rows):
        x[rows] = (x[rows] * torch.tensor([0.299, 0.587, 0.114], device=x.device).view(3, 1, 1)).sum(1, keepdim=True)
    even = 2 * drawn[:, 1:] - 1
    gain = torch.exp(even[:, :1] * math.log1p(GAIN * strength) + even[:, 1:4] * math.log1p(COLOUR * strength))
    offset = 127.5 * (1 - gain) + 255 * OFFSET * strength * even[:, 4:]
    return torch.addcmul(offset[:, :, None, None], x, gain[:, :, None, None]).clamp_(0, 255)


def _hidden(x: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """Fill a rectangle of some pictures with one grey."""
    size = x.shape[-1]
    # one number says whether and, within that, how grey
    share = HIDDEN * strength
    for row in (drawn[:, 0] < share).nonzero().flatten().tolist():
        chance, where_x, where_y, sides = drawn[row].tolist()
        width = round(size * (0.15 + (LARGEST - 0.15) * sides))
        height = round(size * (0.15 + (LARGEST - 0.15) * (1 - sides)))
        left, top = round(where_x * (size - width)), round(where_y * (size - height))
        x[row, :, top : top + height, left : left + width] = 255 * chance / share
    return x
