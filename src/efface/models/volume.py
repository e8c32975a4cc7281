"""From three planes of features to what a ray sees (EG3D: Chan et al. 2022, arXiv 2112.07945, section 4; samples and
compositing as in Mip-NeRF, Barron et al. 2021, arXiv 2103.13415).

A point's features are the mean of what it meets on the planes (x, y), (x, z) and (z, x) — there is no (y, z) — and a
small network makes density and colours of them. Looking up is linear in the planes: the third, transposed, is added to
the second beforehand, and two look-ups do for three. Lengths are in world units; features and colours stand channel by
channel.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.models.rays import box_limits
from efface.models.rendering import Rendering
from efface.models.stylegan2 import Linear

POINTS = 2**17
"""Points of a picture that are looked up at a time: it bounds the memory, and what fits the caches is faster."""


class Decoder(nn.Module):
    """Features [n, inputs, m] -> densities [n, m], before their softplus, and colours [n, colours, m], about 0 … 1."""

    def __init__(self, inputs: int, colours: int, hidden: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(Linear(inputs, hidden), nn.Softplus(), Linear(hidden, 1 + colours))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        layers: Any = self.net
        first, softplus, second = layers
        x = _columns(second, softplus(_columns(first, features)))
        return x[:, 0], x[:, 1:].sigmoid() * 1.002 - 0.001  # a little wider than the sigmoid, as in Mip-NeRF


def folded(planes: Tensor) -> Tensor:
    """Planes [n, 3, channels, side, side] -> [2n, channels, side, side]: a third of what (x, y) and of what (x, z) and
    (z, x) meet."""
    both = torch.stack([planes[:, 0], planes[:, 1] + planes[:, 2].transpose(-1, -2)], 1) / 3
    return both.flatten(0, 1)


def look_up(planes: Tensor, points: Tensor, box: float) -> Tensor:
    """Mean features [n, channels, m] of points [n, m, 3] on folded planes, bilinear; a plane gives 0 to a point that
    lies beside it."""
    places = points * (2 / box)
    places = torch.stack([places[..., :2], places[..., ::2]], 1).flatten(0, 1).unsqueeze(1)
    found = F.grid_sample(planes, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.view(len(points), 2, -1, points.shape[1]).sum(1)


def render(
    planes: Tensor,
    decoder: Decoder,
    origins: Tensor,
    directions: Tensor,
    rendering: Rendering,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What rays see: colours [n, colours, m] of about −1 … 1, depths [n, m], and how much of each was stopped [n, m].

    planes: folded. origins: [n, 1, 3]; directions: [n, m, 3], unit. generator: moves the samples within their strata;
    None takes the middle of each. A depth lies within those of all samples; where nothing was met it is the largest.
    """
    count = directions.shape[1]
    each = rendering.samples + rendering.importance_samples
    size = max(1, POINTS // each)
    parts = [
        _rendered(planes, decoder, origins, directions[:, i : i + size], rendering, generator)
        for i in range(0, count, size)
    ]
    colours, depths, stopped, nearest, farthest = (list(column) for column in zip(*parts, strict=True))
    limits = torch.stack(nearest).min(), torch.stack(farthest).max()
    return torch.cat(colours, -1), torch.cat(depths, -1).clamp(*limits), torch.cat(stopped, -1)


def stratified(
    near: Tensor | float,
    far: Tensor | float,
    like: Tensor,
    samples: int,
    disparity: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Depths [n, m, samples], one a stratum: its middle, or drawn from it. The strata begin at evenly spaced depths
    from near to far, both numbers or [n, m, 1], so that the last one lies beyond far, as published.

    like: directions [n, m, 3]."""
    shape = (*like.shape[:2], samples)
    jitter = 0.5 if generator is None else _drawn(shape, like, generator)
    t = (torch.arange(samples, device=like.device, dtype=like.dtype) + jitter) / (samples - 1)
    return (1 / ((1 - t) / near + t / far) if disparity else near + (far - near) * t).expand(shape)


def stops(depths: Tensor, densities: Tensor) -> Tensor:
    """The share of a ray that stops in each interval between samples: [..., s] and [..., s], rising in depth ->
    [..., s − 1]."""
    density = F.softplus((densities[..., 1:] + densities[..., :-1]) / 2 - 1)
    thickness = density * depths.diff(dim=-1)
    passed = (thickness - thickness.cumsum(-1)).exp()  # all intervals before this one
    return passed * (1 - (-thickness).exp())


def composite(
    depths: Tensor, densities: Tensor, colours: Sequence[Tensor], white: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [n, c, m] of −1 … 1, depths [n, m] and how much was stopped [n, m] of rays with s samples in any order.

    depths, densities: [n, m, s]; colours: one or more [n, c, m, s'], together s samples, of 0 … 1. A ray on which
    nothing stopped has infinite depth. white: what was not stopped is white instead of black.
    """
    depths, order = depths.sort(dim=-1)
    weights = stops(depths, densities.gather(-1, order))
    stopped = weights.sum(-1)
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    met = stopped > 0
    depth = ((weights * middles).sum(-1) / stopped.where(met, 1)).where(met, torch.inf)
    # an interval has the mean colour of its ends: each sample has half of either side's weight
    shares = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    shares = torch.zeros_like(shares).scatter(-1, order, shares).unsqueeze(1)
    parts = shares.split([c.shape[-1] for c in colours], -1)
    seen = sum((c * s).sum(-1) for c, s in zip(colours, parts, strict=True)) + torch.zeros_like(stopped).unsqueeze(1)
    if white:
        seen = seen + (1 - stopped).unsqueeze(1)
    return seen * 2 - 1, depth, stopped


@torch.no_grad()
def importance(depths: Tensor, weights: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Further depths [n, m, count] where rays stop: depths [n, m, s], weights [n, m, s − 1] of the intervals between
    them.

    The weights are smoothed; the first and the last are left out, and the interval i + 1 is spread from the middle of
    interval i to its own, half a sample too near, as published.
    """
    smooth = weights.flatten(0, 1).unsqueeze(1)
    smooth = F.avg_pool1d(F.max_pool1d(smooth, 2, 1, padding=1), 2, 1).view_as(weights) + 0.01
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    if generator is None:
        u = (torch.arange(count, device=depths.device, dtype=depths.dtype) + 0.5) / count
        u = u.expand(*depths.shape[:2], count)
    else:
        u = _drawn((*depths.shape[:2], count), depths, generator)
    return quantiles(middles[..., :-1], smooth[..., 1:-1], u)


def quantiles(edges: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Where a piecewise even distribution reaches the shares u [..., count] in 0 … 1: edges [..., k + 1], weights
    [..., k]."""
    weights = weights + 1e-5
    reached = F.pad((weights / weights.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
    above = torch.searchsorted(reached, u.contiguous(), right=True)
    low, high = (above - 1).clamp(min=0), above.clamp(max=weights.shape[-1])
    start, end = reached.gather(-1, low), reached.gather(-1, high)
    width = (end - start).where(end - start >= 1e-5, 1)
    first, last = edges.gather(-1, low), edges.gather(-1, high)
    return first + (u - start) / width * (last - first)


def _rendered(
    planes: Tensor,
    decoder: Decoder,
    origins: Tensor,
    directions: Tensor,
    rendering: Rendering,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`render` for some of the rays, and the smallest and largest depth of their samples."""

    def met(depths: Tensor) -> tuple[Tensor, Tensor]:
        points = origins.unsqueeze(2) + directions.unsqueeze(2) * depths.unsqueeze(-1)
        densities, colours = decoder(look_up(planes, points.flatten(1, 2), rendering.box))
        return densities.view_as(depths), colours.unflatten(-1, depths.shape[1:])

    near, far = _limits(origins, directions, rendering)
    depths = stratified(near, far, directions, rendering.samples, rendering.disparity, generator)
    densities, colours = met(depths)
    seen = [colours]
    if rendering.importance_samples:
        more = importance(depths, stops(depths, densities).detach(), rendering.importance_samples, generator)
        further, colours = met(more)
        depths, densities, seen = torch.cat([depths, more], -1), torch.cat([densities, further], -1), [*seen, colours]
    return *composite(depths, densities, seen, rendering.white_background), depths.amin(), depths.amax()


def _limits(origins: Tensor, directions: Tensor, rendering: Rendering) -> tuple[Tensor | float, Tensor | float]:
    """From where to where rays are followed: numbers, or the walls of the box [n, m, 1] each (`ray_start: auto`).

    A ray that misses the box is followed for the length of its side, around the point nearest to the middle, so that it
    does not depend on others. The official code follows it from the smallest to the largest of the depths at which the
    batch's other rays enter the box. Either way it meets what a point beside all planes is, in another thickness.
    """
    if rendering.near is not None and rendering.far is not None:
        return rendering.near, rendering.far
    near, far = box_limits(origins, directions, rendering.box)
    missed = far <= near
    middle = -(origins * directions).sum(-1, keepdim=True)
    return near.where(~missed, middle - rendering.box / 2), far.where(~missed, middle + rendering.box / 2)


def _columns(linear: Linear, x: Tensor) -> Tensor:
    """The linear map of each column: [n, inputs, m] -> [n, outputs, m]."""
    weight, bias = linear.scaled()
    return torch.baddbmm(bias.view(1, -1, 1), weight.expand(len(x), -1, -1), x)


def _drawn(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(tuple(shape), generator=generator, device=generator.device).to(like)
