"""From a photo instead of from noise: the photo's latent is noised part of the way, and the model goes on from there
with the person's own condition (SDEdit, Meng et al. 2022, arXiv 2108.01073).

A method that only trains where z is pure noise leaves this way open. At a low strength the picture is the photo,
whoever is in it. Two controls tell the photo's likeness from the model's: the same photo and noise with nobody's tokens
(`tokens=nobody`, ours), which no method is asked to change, and a stranger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from efface.attacks.attack import Attack, Outcome
from efface.attacks.drawing import Sitter

Strength = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Img2img(Attack[Sitter]):
    """A noised photo of the person is denoised to the person."""

    access: ClassVar = "the model, and the photos that the method was given"
    control: ClassVar = (
        "strangers who were never given to the method, from photos of their own; nobody, from the same photos"
    )

    strengths: tuple[Strength, ...] = (0.3, 0.5, 0.7, 0.9)
    """Share of the sampling steps that is left to do: 1 begins at noise, as plain drawing does."""

    def attempt(self, subject: Sitter) -> Iterator[Outcome]:
        target, draws = subject.target, subject.draws
        schedule, steps = target.parts.schedule, target.spec.steps
        names = [one.person for one in subject.sought()]
        own = torch.stack([subject.subjects.condition(p) for p in names])
        tokens = target.condition(own).repeat_interleave(draws, dim=0)
        asked = {"": target.weighted(tokens), ",tokens=nobody": target.weighted(target.unconditioned(len(tokens)), 1)}
        photos = [subject.photos(p) for p in names]
        clean = torch.cat([target.encode(some[torch.arange(draws) % len(some)]) for some in photos])
        people = [name for name in names for _ in range(draws)]
        noise = subject.noise(names, draws)
        for strength in self.strengths:
            begin = torch.full((len(clean),), schedule.first(steps, strength))
            z = schedule.noised(clean, noise, begin.to(clean.device))
            for whom, weighted in asked.items():
                pixels = target.draw_from(weighted, z, strength=strength)
                yield from subject.judged(f"strength={strength:g}{whom}", pixels, people)
