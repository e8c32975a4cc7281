"""Whom a face generator draws in place of the people to forget: a latent for each.

GUIDE (Seo et al., CVPR 2024, arXiv 2405.09879) goes from the person through the average latent and beyond it:
w_t = w_avg − d·w_id / ‖w_id‖, w_id = w_u − w_avg, one norm over all numbers of W+. Two people who are alike so get
nearly the same face; that such targets are turned apart is ours.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.rebuilding import RebuildRequest
from efface.targets.gan import GanTarget

Lengths = Literal["w", "mean"]
"""What lengths of W+ are given in: its own units, as published; or multiples of `mean_length` (ours)."""
SAMPLES = 1000
"""Latents by which the mean length is measured."""


def length_unit(target: GanTarget, lengths: Lengths) -> float:
    """What lengths of W+ are multiplied by: 1, or the mean ‖w − w_avg‖ over people who never existed, which is the
    same number for a generator every time."""
    if lengths == "w":
        return 1.0
    drawn = target.sample(SAMPLES, torch.Generator().manual_seed(0)) - target.w_average
    return float(drawn.flatten(1).norm(dim=1).mean())


def unit_offsets(target: GanTarget, latents: Tensor) -> Tensor:
    """w_id / ‖w_id‖ of latents [n, rows, w_dim]. Raises EffaceError where a latent is the average itself."""
    offsets = latents.to(target.device) - target.w_average
    norms = offsets.flatten(1).norm(dim=1)
    if (norms <= 1e-6 * target.w_average.norm().clamp(min=1)).any():
        raise EffaceError(
            f"latents: found the average latent at {int(norms.argmin())}, expected a person's; it leads away from "
            "nobody: invert the photo"
        )
    return offsets / norms.view(-1, 1, 1)


def beyond_average(target: GanTarget, directions: Tensor, distance: float) -> Tensor:
    """Latents at this distance from the average, opposite to directions [n, rows, w_dim], which may have any length."""
    units = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1)
    return target.w_average - distance * units


def kept_apart(target: GanTarget, directions: Tensor, largest: float) -> Tensor:
    """Unit directions [n, rows, w_dim] like the given unit ones, no two of which have a cosine above `largest` (0 … 1).

    From the first to the last: one that is nearer than that to one before it is turned, by the smallest angle that
    does, towards a person who never existed, made orthogonal to it and to all before it. Person i is turned towards
    sample i of a fixed seed: a target depends on the people before it and on nothing else, so that whoever forgets
    people one after another, naming the earlier ones, finds the same targets again.
    """
    asides = (target.sample(len(directions), torch.Generator().manual_seed(1)) - target.w_average).flatten(1)
    found: list[Tensor] = []
    for one, aside in zip(directions.flatten(1), asides, strict=True):
        if found:
            before = torch.stack(found)
            nearest = (before @ one).max()
            if nearest > largest:
                basis = torch.linalg.qr(torch.cat([before, one[None]]).T).Q
                aside = F.normalize(aside - basis @ (basis.T @ aside), dim=0)
                cosine = largest / nearest
                one = cosine * one + (1 - cosine.square()).sqrt() * aside
        found.append(one)
    return torch.stack(found).view_as(directions)


def replacements(target: GanTarget, request: RebuildRequest, distance: float, lengths: Lengths, apart: float) -> Tensor:
    """GUIDE's w_t [people, rows, w_dim] of a request's people, apart from each other and from those of `earlier`."""
    directions = kept_apart(target, unit_offsets(target, in_order(target, request)), apart)
    return beyond_average(target, directions[len(request.earlier) :], distance * length_unit(target, lengths))


def in_order(target: GanTarget, request: RebuildRequest) -> Tensor:
    """w [n, rows, w_dim] of the earlier people, then of those of the request."""
    people = request.latents.to(target.device)
    return torch.cat([request.earlier.to(target.device), people]) if len(request.earlier) else people
