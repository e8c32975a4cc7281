"""The StyleGAN2 generator (Karras et al. 2020, arXiv 1912.04958; sections 2.1, 2.2 and 4: weight demodulation, skip
connections) with the layers that EG3D's networks are made of too.

State-dict names and numbers are those of the official stylegan2-ada-pytorch. Maps are [n, channels, height, width].
Where the paper multiplies the weights of a convolution by each picture's style, the maps are multiplied before and the
results after it, which is the same and needs no convolution in groups; a single picture with maps larger than the
weights is the exception (`python -m benchmarks.generators` measures it).
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError

Noise = Literal["const", "none", "random"]
"""What is added to the maps of every layer: the noise that the file holds, nothing, or freshly drawn noise."""
GAIN = math.sqrt(2)
"""What a leaky ReLU of slope 0.2 is multiplied by, here as there, to keep the variance."""
TAPS = (1.0, 3.0, 3.0, 1.0)
"""Of the low-pass filter in each direction."""
DECAY = 0.995
"""Of the moving average of w, for a batch."""


class Linear(nn.Module):
    """[n, inputs] -> [n, outputs] with an equalised learning rate: the weight is stored with standard deviation
    1 / rate and used times rate / √inputs."""

    def __init__(
        self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0, activated: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.rate, self.activated = rate, activated

    def scaled(self) -> tuple[Tensor, Tensor]:
        """Weight and bias as they are used."""
        return self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, *self.scaled())
        return F.leaky_relu(x, 0.2) * GAIN if self.activated else x


class Mapping(nn.Module):
    """z [n, z_dim], and where c_dim is not 0 c [n, c_dim], -> w [n, count, w_dim], one row for each layer that takes
    one.

    truncation: 1 leaves w as it is, 0 gives the average. cutoff: only so many rows are truncated; None: all.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, count: int, layers: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.count, self.layers = z_dim, c_dim, count, layers
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self.w_avg: Tensor
        if c_dim:
            self.embed = Linear(c_dim, w_dim)
        width = z_dim + (w_dim if c_dim else 0)
        for i in range(layers):
            self.add_module(f"fc{i}", Linear(w_dim if i else width, w_dim, rate=0.01, activated=True))

    def forward(self, z: Tensor, c: Tensor | None = None, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        check_shape("z", z, "n", self.z_dim)
        x = normalised(z)
        if self.c_dim:
            if c is None:
                raise EffaceError(f"found no c, expected [{len(z)}, {self.c_dim}]: the generator is conditioned on it")
            check_shape("c", c, len(z), self.c_dim)
            x = torch.cat([x, normalised(self.embed(c))], 1)
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        w = x.unsqueeze(1).repeat(1, self.count, 1)
        if truncation == 1:
            return w
        return torch.cat([self.w_avg.lerp(w[:, :cutoff], truncation), w[:, len(w[0, :cutoff]) :]], 1)

    @torch.no_grad()
    def track(self, w: Tensor, decay: float = DECAY) -> None:
        """Move w_avg towards the mean of w [n, count, w_dim], not truncated; training calls it once a batch."""
        self.w_avg.lerp_(w[:, 0].mean(0), 1 - decay)


class SynthesisLayer(nn.Module):
    """Modulated 3×3 convolution, noise, bias, leaky ReLU: [n, inputs, h, w] -> [n, outputs, resolution, resolution]."""

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, *, up: bool = False, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.clamp = resolution, up, clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", low_pass())
        self.resample_filter: Tensor
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.noise_const: Tensor
        self.affine = Linear(w_dim, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor, noise: Noise = "const", generator: torch.Generator | None = None) -> Tensor:
        # the leaky ReLU's gain is applied to the small factors before it: it is positively homogeneous
        x = modulated(x, self.weight, self.affine(w), gain=GAIN, filter=self.resample_filter if self.up else None)
        added = self.bias.view(-1, 1, 1) * GAIN
        if noise != "none":
            added = added + self._noise(len(x), noise, generator) * (self.noise_strength * GAIN)
        limit = None if self.clamp is None else self.clamp * GAIN
        return _clamped(F.leaky_relu(x.add_(added), 0.2, inplace=True), limit)

    def _noise(self, count: int, noise: Noise, generator: torch.Generator | None) -> Tensor:
        if noise == "const":
            return self.noise_const
        if generator is None:
            raise EffaceError("found random noise without a generator, expected a torch.Generator to draw from")
        shape = (count, 1, self.resolution, self.resolution)
        return torch.randn(shape, generator=generator, device=generator.device).to(self.noise_const)


class ToRGB(nn.Module):
    """Modulated 1×1 convolution without demodulation: [n, inputs, h, w] -> [n, colours, h, w]."""

    def __init__(self, inputs: int, colours: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(colours, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(colours))
        self.affine = Linear(w_dim, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        weights = self.weight.flatten(1) * style.unsqueeze(1)  # [n, colours, inputs]: 1×1 needs no convolution
        found = torch.baddbmm(self.bias.view(1, -1, 1), weights, x.flatten(2))
        return _clamped(found.unflatten(2, x.shape[2:]), self.clamp)


class Block(nn.Module):
    """The layers of one resolution: maps and picture so far -> maps and picture, both `resolution` wide.

    inputs: 0 for the first block, which begins with a learned constant. up: whether maps and picture come at half the
    resolution.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        colours: int,
        *,
        up: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.up = up
        self.layers = 2 if inputs else 1
        if not inputs:
            self.const = nn.Parameter(torch.randn(outputs, resolution, resolution))
        self.register_buffer("resample_filter", low_pass())
        self.resample_filter: Tensor
        if inputs:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, up=up, clamp=clamp)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, clamp=clamp)
        self.torgb = ToRGB(outputs, colours, w_dim, clamp=clamp)
        self.flow: nn.Module | None = None
        """What becomes of the maps before they go on (models/flows.py), where there is something."""

    def forward(
        self,
        x: Tensor | None,
        picture: Tensor | None,
        w: Tensor,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """w [n, layers + 1, w_dim]: a row for each convolution and one for the colours."""
        first = self.const.expand(len(w), -1, -1, -1) if x is None else self.conv0(x, w[:, 0], noise, generator)
        maps: Tensor = self.conv1(first, w[:, -2], noise, generator)
        if self.flow is not None:
            maps = self.flow(maps)
        added = self.torgb(maps, w[:, -1])
        if picture is None:
            return maps, added
        return maps, (doubled(picture, self.resample_filter) if self.up else picture) + added


class Synthesis(nn.Module):
    """w [n, count, w_dim] -> pictures [n, colours, resolution, resolution], of about −1 … 1 where they are pictures.

    channel_base / resolution, at most channel_max, are the channels of a block.
    """

    def __init__(
        self, w_dim: int, resolution: int, colours: int, channel_base: int, channel_max: int, clamp: float | None
    ) -> None:
        super().__init__()
        if resolution < 4 or resolution & (resolution - 1):
            raise EffaceError(f"found the resolution {resolution}, expected a power of two of at least 4")
        self.resolutions = [2**i for i in range(2, resolution.bit_length())]
        self.w_dim, self.count = w_dim, 2 * len(self.resolutions)
        inputs = 0
        for size in self.resolutions:
            outputs = min(channel_base // size, channel_max)
            self.add_module(f"b{size}", Block(inputs, outputs, w_dim, size, colours, clamp=clamp))
            inputs = outputs

    def forward(self, w: Tensor, noise: Noise = "const", generator: torch.Generator | None = None) -> Tensor:
        check_shape("w", w, "n", self.count, self.w_dim)
        x = picture = None
        first = 0
        for size in self.resolutions:
            block: Any = self.get_submodule(f"b{size}")
            # the row of a block's colours is also that of the next block's first convolution
            x, picture = block(x, picture, w[:, first : first + block.layers + 1], noise, generator)
            first += block.layers
        assert picture is not None
        return picture


class Generator(nn.Module):
    """StyleGAN2: z [n, z_dim] -> w [n, count, w_dim] -> pictures [n, colours, resolution, resolution] of about −1 … 1.

    The defaults are those of FFHQ at 1024 pixels (configuration F). clamp: the largest absolute value of a map (files
    of networks that were trained in half precision, None for others). Its weights are drawn from torch's global
    generator.
    """

    def __init__(
        self,
        resolution: int = 1024,
        *,
        z_dim: int = 512,
        c_dim: int = 0,
        w_dim: int = 512,
        layers: int = 8,
        colours: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        clamp: float | None = 256.0,
    ) -> None:
        super().__init__()
        self.sizes = {
            "resolution": resolution, "z_dim": z_dim, "c_dim": c_dim, "w_dim": w_dim, "layers": layers,
            "colours": colours, "channel_base": channel_base, "channel_max": channel_max, "clamp": clamp,
        }  # fmt: skip
        """What it was made with."""
        self.synthesis = Synthesis(w_dim, resolution, colours, channel_base, channel_max, clamp)
        self.mapping = Mapping(z_dim, c_dim, w_dim, self.synthesis.count, layers)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self.synthesis(self.mapping(z, c, truncation, cutoff), noise, generator)


def modulated(x: Tensor, weight: Tensor, style: Tensor, gain: float = 1.0, filter: Tensor | None = None) -> Tensor:
    """Convolution whose weights are scaled for each picture by its style and divided by their norm (equations 1, 3).

    x: [n, inputs, h, w]; weight: [outputs, inputs, 3, 3]; style: [n, inputs]. gain: of the result. filter: [4, 4] of
    sum 1; doubles the side.
    """
    # the norm is over inputs and taps: √ Σ (weight · style)²
    factors = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt() * gain
    if len(x) == 1 and x[0, 0].numel() > weight[0].numel():  # scaling the weights is less to do
        return _convolved(x, weight * style[:, :, None, None] * factors.view(-1, 1, 1, 1), filter)
    return _convolved(x * style[:, :, None, None], weight, filter) * factors[:, :, None, None]


def doubled(x: Tensor, filter: Tensor) -> Tensor:
    """Twice the side: zeros between the pixels, then the filter [4, 4] of sum 1, times 4. [n, c, h, w] ->
    [n, c, 2h, 2w]."""
    channels = x.shape[1]
    return F.conv_transpose2d(x, _each(filter * 4, channels), stride=2, padding=1, groups=channels)


def halved(x: Tensor, filter: Tensor) -> Tensor:
    """Half the side: the filter [4, 4] of sum 1, then every second pixel. [n, c, 2h, 2w] -> [n, c, h, w]."""
    channels = x.shape[1]
    return F.conv2d(x, _each(filter, channels), stride=2, padding=1, groups=channels)


def low_pass() -> Tensor:
    """The filter of every up- and down-sampling, [4, 4] of sum 1."""
    taps = torch.tensor(TAPS)
    return taps.outer(taps) / taps.sum() ** 2


def normalised(x: Tensor) -> Tensor:
    """Vectors [n, d] of mean square 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def check_shape(name: str, tensor: Tensor, *expected: int | str) -> None:
    """Raise EffaceError where a tensor has another shape; a word in `expected` stands for any length."""
    shape = list(tensor.shape)
    if len(shape) != len(expected) or any(isinstance(e, int) and s != e for s, e in zip(shape, expected, strict=True)):
        raise EffaceError(f"found {name} of shape {shape}, expected [{', '.join(map(str, expected))}] of this network")


def _convolved(x: Tensor, weight: Tensor, filter: Tensor | None) -> Tensor:
    if filter is None:
        return F.conv2d(x, weight, padding=1)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [n, outputs, 2h + 1, 2w + 1]
    channels = x.shape[1]
    return F.conv2d(x, _each(filter * 4, channels), padding=1, groups=channels)


def _each(filter: Tensor, channels: int) -> Tensor:
    return filter.expand(channels, 1, -1, -1)


def _clamped(x: Tensor, limit: float | None) -> Tensor:
    if limit is None:
        return x
    return x.clamp(-limit, limit) if torch.is_grad_enabled() else x.clamp_(-limit, limit)
