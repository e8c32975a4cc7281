"""From what rays see to the picture: two StyleGAN2 blocks (EG3D: Chan et al. 2022, arXiv 2112.07945, section 4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.stylegan2 import Block, Noise, check_shape, low_pass

PUBLISHED = {
    "SuperresolutionHybrid2X": (64, (128, 64)),
    "SuperresolutionHybrid4X": (128, (128, 64)),
    "SuperresolutionHybrid8XDC": (128, (256, 128)),
}
"""Side that goes in and channels of the two blocks, by the official class's name; 128, 256 and 512 pixels come out."""


class SuperResolution(nn.Module):
    """Features [n, inputs, r, r], of which the first three are the picture so far, -> pictures [n, 3, side, side].

    The features are first resized to `start`, which is half or a quarter of the side; where it is half, the first block
    does not enlarge. clamp: as in Generator.
    """

    def __init__(
        self, inputs: int, w_dim: int, start: int, side: int, channels: tuple[int, int], clamp: float | None = None
    ) -> None:
        super().__init__()
        if side not in (2 * start, 4 * start):
            raise EffaceError(f"found super-resolution from {start} to {side} pixels, expected twice or four times")
        self.start, self.w_dim = start, w_dim
        up = side == 4 * start
        if not up:
            self.register_buffer("resample_filter", low_pass())  # the published networks hold it; nothing uses it
        first, second = channels
        self.block0 = Block(inputs, first, w_dim, side // 2, 3, up=up, clamp=clamp)
        self.block1 = Block(first, second, w_dim, side, 3, clamp=clamp)

    def forward(
        self, features: Tensor, w: Tensor, noise: Noise = "none", generator: torch.Generator | None = None
    ) -> Tensor:
        """w: [n, w_dim], the same for all layers."""
        check_shape("w", w, len(features), self.w_dim)
        if features.shape[-1] != self.start:
            shrinks = features.shape[-1] > self.start  # where it enlarges, anti-aliasing changes nothing but takes time
            features = F.interpolate(features, (self.start, self.start), mode="bilinear", antialias=shrinks)
        rows = w.unsqueeze(1).expand(-1, 3, -1)
        x, picture = self.block0(features, features[:, :3], rows, noise, generator)
        return self.block1(x, picture, rows, noise, generator)[1]
