"""GUIDE's settings, which the methods with its losses have in common (Seo et al., CVPR 2024, arXiv 2405.09879)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
from torch import Tensor

from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights
from efface.methods.replacements import Lengths, length_unit, replacements
from efface.models.lpips import LpipsFiles
from efface.targets.gan import GanTarget


@dataclass(frozen=True, kw_only=True)
class GuideSettings:
    """Fields of such a method, before its own."""

    distance: PositiveFloat = 30.0
    """d: how far beyond the average latent the replacement lies, in `lengths`; GUIDE: 30."""
    lengths: Lengths = "w"
    """Of d and α: w, W+'s own units; mean, multiples of this generator's mean ‖w − w_avg‖ (ours); GUIDE: w."""
    apart: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Largest cosine of two people's directions; nearer ones are turned apart; ours, GUIDE: none (1)."""
    reach: NonNegativeFloat = 15.0
    """α, at most: how far around the person adjacent latents lie, in `lengths`; GUIDE: 15."""
    adjacent: NonNegativeInt = 2
    """Adjacent latents in a step; GUIDE: 2."""
    preserved: NonNegativeInt = 2
    """Latents of people who never existed, which are to be drawn as before, in a step; GUIDE: 2."""
    retained: NonNegativeInt = 0
    """Retained people's latents beside them in a step, where the request has any; GUIDE: 0."""
    weights: Weights = field(default_factory=Weights)
    """Of the terms: planes, perceptual, identity, adjacency, preserved; GUIDE: 0.01, 1, 0.1, 1, 1."""
    views: Views = field(default_factory=Views)
    """Cameras: yaw ±degrees, pitch radians, count; GUIDE: 15, -0.2, any yaw."""
    lpips: LpipsFiles | None = None
    """LPIPS weights: vgg, vgg_sha256, linear, linear_sha256; none: features of the shipped recogniser; GUIDE: LPIPS."""

    def replacements(self, target: GanTarget, request: RebuildRequest) -> Tensor:
        """w_t [people, rows, w_dim], whom the student is to draw in place of each person."""
        return replacements(target, request, self.distance, self.lengths, self.apart)

    def losses(
        self,
        target: GanTarget,
        student: GanTarget,
        request: RebuildRequest,
        goals: Tensor,
        goals_near: Callable[[Tensor], Tensor] | None = None,
    ) -> Rebuilding:
        """Of a student who is to draw the goals [people, rows, w_dim]; goals_near as `Rebuilding` takes it."""
        return Rebuilding(
            target,
            student,
            request,
            goals,
            weights=self.weights,
            views=self.views,
            lpips=self.lpips,
            goals_near=goals_near,
            reach=self.reach * length_unit(target, self.lengths),
            adjacent=self.adjacent,
            preserved=self.preserved,
            retained=self.retained,
        )
