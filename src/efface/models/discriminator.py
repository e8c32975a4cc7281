"""The StyleGAN2 discriminator (Karras et al. 2020, arXiv 1912.04958, section 4.1: residual blocks), for training the
generators that come with efface. Conditioned on cameras by projection (Miyato and Koyama 2018, arXiv 1802.05637), and
for tri-plane generators judging picture and raw picture together (EG3D: Chan et al. 2022, arXiv 2112.07945, section
4.3).

There is no published file to agree with: names are ours.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.stylegan2 import GAIN, Linear, check_shape, halved, low_pass, normalised

GROUP = 4
"""Pictures over which the minibatch standard deviation is taken."""


class Discriminator(nn.Module):
    """Pictures [n, colours, resolution, resolution] of about −1 … 1, and where c_dim is not 0 c [n, c_dim], -> logits
    [n]: large where a picture looks real.

    channel_base / resolution, at most channel_max, are the channels of a block. layers: of the map of c. Its weights
    are drawn from torch's global generator.
    """

    def __init__(
        self,
        resolution: int,
        *,
        colours: int = 3,
        c_dim: int = 0,
        layers: int = 4,
        channel_base: int = 32768,
        channel_max: int = 512,
    ) -> None:
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise EffaceError(f"found the resolution {resolution}, expected a power of two of at least 8")
        self.resolution, self.colours, self.c_dim = resolution, colours, c_dim
        sides = [2**i for i in range(resolution.bit_length() - 1, 1, -1)]  # down to 4
        channels = [min(channel_base // side, channel_max) for side in sides]
        self.first = Conv(colours, channels[0], 1)
        self.blocks = nn.Sequential(*(_Residual(a, b) for a, b in itertools.pairwise(channels)))
        last = channels[-1]
        self.conv = Conv(last + 1, last, 3)
        self.hidden = Linear(last * 16, last, activated=True)
        self.output = Linear(last, last if c_dim else 1)
        if c_dim:
            self.embed = Linear(c_dim, last)
            self.map = nn.Sequential(*(Linear(last, last, rate=0.01, activated=True) for _ in range(layers)))

    def forward(self, pictures: Tensor, c: Tensor | None = None) -> Tensor:
        check_shape("pictures", pictures, "n", self.colours, self.resolution, self.resolution)
        x = self.blocks(self.first(pictures))
        x = self.conv(torch.cat([x, _deviation(x)], 1))
        x = self.output(self.hidden(x.flatten(1)))
        if not self.c_dim:
            return x[:, 0]
        if c is None:
            raise EffaceError(f"found no c, expected [{len(x)}, {self.c_dim}]: the discriminator is conditioned on it")
        check_shape("c", c, len(x), self.c_dim)
        towards = self.map(normalised(self.embed(c)))
        return (x * towards).sum(1) / math.sqrt(x.shape[1])


def together(pictures: Tensor, raw: Tensor) -> Tensor:
    """What judges a tri-plane generator's views: pictures [n, 3, side, side] and raw ones [n, 3, r, r], enlarged, ->
    [n, 6, side, side]; of photos the raw ones are the photos, made small."""
    side = pictures.shape[-1]
    return torch.cat([pictures, F.interpolate(raw, (side, side), mode="bilinear")], 1)


class Conv(nn.Module):
    """Convolution with an equalised learning rate; where `activated` also bias and leaky ReLU. `down` halves the
    side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, down: bool = False, activated: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activated else None
        self.down = down
        self.register_buffer("filter", low_pass(), persistent=False)
        self.filter: Tensor

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / math.sqrt(self.weight[0].numel())
        size = weight.shape[-1]
        if self.down and size == 1:
            x = F.conv2d(halved(x, self.filter), weight, self.bias)
        elif self.down:
            channels = x.shape[1]
            x = F.conv2d(x, self.filter.expand(channels, 1, -1, -1), padding=2, groups=channels)
            x = F.conv2d(x, weight, self.bias, stride=2)
        else:
            x = F.conv2d(x, weight, self.bias, padding=size // 2)
        return x if self.bias is None else F.leaky_relu(x, 0.2) * GAIN


class _Residual(nn.Module):
    """Two convolutions, the second of which halves the side, and a linear way round them, of equal weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3, down=True)
        self.skip = Conv(inputs, outputs, 1, down=True, activated=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv1(self.conv0(x)) + self.skip(x)) * math.sqrt(0.5)


def _deviation(x: Tensor) -> Tensor:
    """How much the pictures of a group differ: [n, c, h, w] -> [n, 1, h, w], the same number all over a group."""
    group = math.gcd(len(x), GROUP)
    groups = x.unflatten(0, (group, len(x) // group))
    deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
    return deviation.repeat(group).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])
