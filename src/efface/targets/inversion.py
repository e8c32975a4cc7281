"""Photos inverted by optimisation: without an encoder, or beyond what one finds.

Stage 1 of PTI (Roich et al. 2022, arXiv 2106.05744): a latent is sought whose picture is the photo, in W (one row for
all layers) or in W+ (a row for each), from the average latent or another start; stage 2, pivotal tuning: the generator
is tuned until it draws the photo at that latent.

PTI's value / ours: 450 steps of Adam at 5e-3, then at most 350 at 3e-4 / the same; LPIPS / the target's distance of
features, or LPIPS; noise on w and noise maps that are optimised too / none, everything is deterministic; one photo /
several of a person from their cameras together; stops at LPIPS .06 / the caller's steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.models.encoder import scaled
from efface.models.rays import check as check_cameras
from efface.models.stylegan2 import check_shape
from efface.progress import Tick
from efface.targets.gan import GanTarget
from efface.targets.perceptual import FeatureDistance

Space = Literal["w", "w+"]
"""One row for all layers, or a row for each."""
TOGETHER = 8
"""People who are inverted at once."""


@dataclass(frozen=True, eq=False)
class Shots:
    """Framed photos of people, and from where each was taken."""

    pixels: Tensor
    """uint8 [m, 3, s, s], framed as `GanTarget.framing` says."""
    cameras: Tensor
    """float32 [m, 25] (`faces.pose`); a generator of pictures ignores them."""
    people: Tensor
    """int64 [m], whom each shows, from 0: everybody has at least one photo."""

    def __post_init__(self) -> None:
        check_shape("photos", self.pixels, len(self.people), 3, "s", "s")
        check_shape("cameras", self.cameras, len(self.people), 25)
        if self.pixels.dtype != torch.uint8:
            raise EffaceError(f"found photos of {self.pixels.dtype}, expected uint8, 0 to 255")
        if not len(self.people) or self.people.unique().tolist() != list(range(self.count)):
            raise EffaceError(
                f"found photos of the people {self.people.unique().tolist()}, expected some of each, counted from 0"
            )

    @property
    def count(self) -> int:
        """Number of people."""
        return int(self.people.max()) + 1

    def of(self, people: Tensor) -> "Shots":
        """Those of some people, counted anew."""
        rows = torch.isin(self.people, people)
        again = torch.full((self.count,), -1).index_put((people,), torch.arange(len(people)))
        return Shots(self.pixels[rows], self.cameras[rows], again[self.people[rows]])


def optimised(
    target: GanTarget,
    shots: Shots,
    *,
    space: Space = "w+",
    start: Tensor | None = None,
    steps: int = 450,
    rate: float = 5e-3,
    perceptual: float = 1.0,
    pixels: float = 1.0,
    distance: Any = None,
    tick: Tick | None = None,
) -> tuple[Tensor, Tensor]:
    """(latents w [people, rows, w_dim], what the loss is there [people]).

    start: [people, rows, w_dim]; None: the average latent. In W, its first row. rate: of Adam, in W's own units.
    perceptual, pixels: weights of the distance of features, and of the mean squared difference of pictures of −1 … 1.
    distance: as FeatureDistance, which is the default. tick: told the people who are done. Nothing is drawn at random,
    and nobody's latent depends on who else is inverted. Raises EffaceError where shapes do not fit.
    """
    begin = target.w_average.expand(shots.count, -1, -1) if start is None else start.to(target.device)
    target.check(begin)
    check_shape("start", begin, shots.count, "rows", "w_dim")
    if target.turns:
        check_cameras(shots.cameras)
    found, losses = [], []
    for people in torch.arange(shots.count).split(TOGETHER):
        some = shots.of(people)
        loss = _loss(target, some, perceptual, pixels, distance)
        rows = begin[people.to(begin.device)].detach()
        free = (rows[:, :1] if space == "w" else rows).clone().requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=rate)
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            loss(target, free.expand_as(rows)).sum().backward()
            optimiser.step()
        w = free.detach().expand_as(rows).clone()
        with torch.no_grad():
            losses.append(loss(target, w))
        found.append(w)
        if tick:
            tick(len(people))
    return torch.cat(found), torch.cat(losses)


def tuned(
    target: GanTarget,
    shots: Shots,
    w: Tensor,
    *,
    steps: int = 350,
    rate: float = 3e-4,
    perceptual: float = 1.0,
    pixels: float = 1.0,
    distance: Any = None,
) -> GanTarget:
    """A copy of the target whose generator draws these photos at the pivots w [people, rows, w_dim], as near as `steps`
    bring it; all but the mapping is tuned, for everybody together. Raises EffaceError where shapes do not fit."""
    target.check(w)
    check_shape("w", w, shots.count, "rows", "w_dim")
    if target.turns:
        check_cameras(shots.cameras)
    twin = target.clone()
    generator = twin.parts.generator
    generator.requires_grad_(True)
    twin.backbone.mapping.requires_grad_(False)
    loss = _loss(target, shots, perceptual, pixels, distance)
    optimiser = torch.optim.Adam([p for p in generator.parameters() if p.requires_grad], lr=rate)
    pivots = w.detach().to(target.device)
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(twin, pivots).mean().backward()
        optimiser.step()
    for parameter in generator.parameters():
        parameter.grad = None
    generator.requires_grad_(False)
    return twin


def _loss(
    target: GanTarget, shots: Shots, perceptual: float, pixels: float, distance: Any
) -> Callable[[GanTarget, Tensor], Tensor]:
    """The mean over a person's photos of their distance from what a target draws of w: (target, w [people, …]) ->
    [people]."""
    metric = FeatureDistance(target.recogniser) if distance is None else distance
    wanted = scaled(shots.pixels.to(target.device), target.size)
    cameras, people = shots.cameras.to(target.device), shots.people.to(target.device)
    counts = torch.bincount(people)
    with torch.no_grad():
        seen = metric.features(wanted)

    def loss(drawer: GanTarget, w: Tensor) -> Tensor:
        # planes once for each latent
        pictures = drawer.render(drawer.planes(w)[people], w[people], cameras)
        each = perceptual * metric(pictures, seen) + pixels * (pictures - wanted).square().mean((1, 2, 3))
        return torch.zeros(len(w), device=w.device).index_add(0, people, each) / counts

    return loss
