"""Photos that are the same picture, or nearly: what would let a method see what the audit judges it on."""

import hashlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 32
"""Side in pixels to which a crop is reduced before the perceptual hash."""


def digests(pixels: Tensor) -> list[bytes]:
    """SHA-256 of each crop's decoded pixels. pixels: uint8 [n, 3, h, w]."""
    return [hashlib.sha256(crop.numpy().tobytes()).digest() for crop in pixels.cpu()]


def perceptual_hashes(pixels: Tensor) -> Tensor:
    """64-bit DCT hash of each crop (pHash; Zauner 2010, section 3.2.1): luma (ITU-R 601), reduced to 32 × 32, its 8 × 8
    lowest frequencies in each direction (DCT-II, the mean included), one bit each: above their median or not.

    pixels: uint8 [n, 3, h, w] RGB. Returns bool [n, 64].
    """
    if not len(pixels):
        return torch.zeros(0, 64, dtype=torch.bool)
    k, x = torch.arange(8.0, dtype=torch.float64)[:, None], torch.arange(_SIDE, dtype=torch.float64)
    basis = torch.cos(math.pi * k * (2 * x + 1) / (2 * _SIDE))
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    parts = []
    for chunk in pixels.cpu().split(256):
        luma = (chunk.double() * weights).sum(1, keepdim=True)
        small = F.interpolate(luma, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)[:, 0]
        low = (basis @ small @ basis.T).flatten(1).round(decimals=6)  # rounded: a flat picture's zeros stay zeros
        parts.append(low > low.quantile(0.5, dim=1, keepdim=True))
    return torch.cat(parts)


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Number of bits in which each of bool [n, 64] differs from each of bool [m, 64]: int64 [n, m]."""
    return (first[:, None] ^ second[None]).sum(-1)
