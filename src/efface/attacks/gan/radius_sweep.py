"""The neighbourhood of the person's latent: what a method did at one point may not hold beside it.

Latents at growing distance from the person's own, towards people who never existed, as GUIDE's adjacent ones (Seo et
al., CVPR 2024, arXiv 2405.09879). At radius 0 it is the person's own. The stranger was not forgotten, so what is drawn
of theirs is a ceiling; of who was forgotten, the person is drawn at no radius. The sweep is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from efface.attacks.attack import Attack, Outcome
from efface.attacks.rebuilding import Rebuilder
from efface.errors import EffaceError


@dataclass(frozen=True, kw_only=True)
class RadiusSweep(Attack[Rebuilder]):
    """Latents around the person's own draw the person."""

    access: ClassVar = "the model, and the latent of the photo that the method was given"
    control: ClassVar = "strangers who were never given to the method, by latents around their own"

    radii: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
    """Distances in W+, in mean distances of people who never existed from the average latent."""
    draws: PositiveInt = 2
    """Latents at each radius."""

    def attempt(self, subject: Rebuilder) -> Iterator[Outcome]:
        meant = [person for person in subject.sought() for _ in range(self.draws)]
        for radius, latents in self.around(subject):
            yield from subject.judged(f"radius={radius:g}", subject.views(latents), meant)

    def around(self, subject: Rebuilder) -> Iterator[tuple[float, Tensor]]:
        """Each radius, and the latents [people · draws, rows, w_dim] that lie there, person after person."""
        samples, average = subject.sources.samples, subject.target.w_average.cpu()
        people = subject.sought()
        if len(samples) < self.draws:
            raise EffaceError(
                f"radius_sweep: found {len(samples)} people who never existed, expected at least {self.draws}, one for "
                "each direction; draw more samples"
            )
        unit = float((samples - average).flatten(1).norm(dim=1).mean())
        own = subject.sources.of(people).repeat_interleave(self.draws, 0)
        chosen = [
            torch.randperm(len(samples), generator=subject.generator(f"radius {p}"))[: self.draws] for p in people
        ]
        ways = F.normalize((samples[torch.cat(chosen)] - own).flatten(1), dim=1).view_as(own)
        for radius in self.radii:
            yield radius, own + radius * unit * ways
