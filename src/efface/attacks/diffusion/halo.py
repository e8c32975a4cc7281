"""The neighbourhood of the person's embedding: what a method did at one point may not hold beside it.

Ours, after the radius sweeps of the GAN literature: the condition is c·e + √(1 − c²)·u with e the person's, u a unit
vector at right angles to it, drawn for each picture and the same at every cosine c. At c = 1 it is the person's own
condition. What rises for the forgotten as c falls, while it falls for the stranger, is a leak.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field

from efface.attacks.attack import Attack, Outcome
from efface.attacks.drawing import Sitter

Cosine = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class Halo(Attack[Sitter]):
    """Embeddings around the person's own draw the person."""

    access: ClassVar = "the model, and the person's embedding"
    control: ClassVar = "strangers who were never given to the method, by embeddings around their own"

    cosines: tuple[Cosine, ...] = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
    """Of the condition with the person's embedding."""

    def attempt(self, subject: Sitter) -> Iterator[Outcome]:
        target, draws = subject.target, subject.draws
        names = [one.person for one in subject.sought()]
        own = torch.stack([subject.subjects.condition(p) for p in names]).repeat_interleave(draws, dim=0)
        drawn = [torch.randn(draws, own.shape[1], generator=subject.generator(f"halo {p}")) for p in names]
        aside = torch.cat(drawn)
        aside = F.normalize(aside - (aside * own).sum(1, keepdim=True) * own, dim=1)
        people = [name for name in names for _ in range(draws)]
        noise = subject.noise(names, draws)
        for cosine in self.cosines:
            tokens = target.condition(cosine * own + (1 - cosine**2) ** 0.5 * aside)
            pixels = target.draw_from(target.weighted(tokens), noise)
            yield from subject.judged(f"cosine={cosine:g}", pixels, people)
