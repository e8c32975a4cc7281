"""Another latent than the encoder's: whoever holds the weights searches W+ for one that draws the person's photo.

As stage 1 of PTI (Roich et al. 2022, arXiv 2106.05744), which searches W; the image2stylegan literature searches W+
(Abdal et al. 2019, arXiv 1904.03189), where far more faces can be drawn, so the control says how much of anybody comes
back this way. Begun from the average latent, from the person's own and from people who never existed; `best` is, for
each person, the start that ends nearest to the attacker's photo. Several starts are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from efface.attacks.attack import Attack, Outcome
from efface.attacks.rebuilding import Rebuilder
from efface.targets.inversion import Space, optimised


@dataclass(frozen=True, kw_only=True)
class LatentOptimisation(Attack[Rebuilder]):
    """A latent is searched that draws the person's photo."""

    access: ClassVar = "the weights, and the photo that the method was given"
    control: ClassVar = "strangers who were never given to the method, each by a photo of their own"

    space: Space = "w+"
    """w+: a row for each layer; w: one for all."""
    steps: PositiveInt = 450
    """Of Adam; PTI: 450."""
    learning_rate: PositiveFloat = 5e-3
    """In W's own units; PTI: 5e-3."""
    photos: PositiveInt = 1
    """Of each person, at most."""
    starts: NonNegativeInt = 2
    """People who never existed from whose latents the search begins too."""

    def attempt(self, subject: Rebuilder) -> Iterator[Outcome]:
        people, target = subject.sought(), subject.target
        shots = subject.shots(people, self.photos)
        others = target.sample(self.starts, subject.generator("starts")).cpu()
        begins = {"average": target.w_average.cpu().expand(len(people), -1, -1), "own": subject.sources.of(people)}
        begins |= {f"other{i}": one.expand(len(people), -1, -1) for i, one in enumerate(others, 1)}
        found = {
            name: optimised(target, shots, space=self.space, start=start, steps=self.steps, rate=self.learning_rate)
            for name, start in begins.items()
        }
        nearest = torch.stack([loss for _, loss in found.values()]).argmin(0)
        latents = torch.stack([w for w, _ in found.values()])
        best = latents[nearest, torch.arange(len(people), device=latents.device)]
        for name, w in [*((name, w) for name, (w, _) in found.items()), ("best", best)]:
            yield from subject.judged(f"start={name}", subject.views(w), people)
