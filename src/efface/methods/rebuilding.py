"""What a method for a GAN face generator is given."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from efface.errors import EffaceError


@dataclass(frozen=True)
class RebuildRequest:
    """An erasure request for a face generator: one latent of each person, of one photo or drawn at random."""

    people: tuple[str, ...]
    """Who is to be forgotten; never empty."""
    latents: Tensor
    """w [people, rows, w_dim], one of each."""
    retain: Tensor
    """w [n, rows, w_dim] of photos of retained people, which a method may use; n may be 0."""
    earlier: Tensor = field(default_factory=lambda: torch.empty(0))
    """w [n, rows, w_dim] of people whom the model has forgotten already, in that order, so that nobody gets one of
    their replacements; empty where there are none, or where nothing of them was kept."""

    def __post_init__(self) -> None:
        if not self.people:
            raise EffaceError("forget: found nobody, expected at least one person to forget")
        if len(set(self.people)) < len(self.people):
            raise EffaceError(f"forget: found {', '.join(self.people)}, expected each person once")
        if self.latents.dim() != 3 or len(self.latents) != len(self.people):
            raise EffaceError(
                f"latents: found the shape {list(self.latents.shape)}, expected [{len(self.people)}, rows, w_dim], one "
                "a person"
            )
        for latents in (self.latents, self.retain, self.earlier):
            if not torch.isfinite(latents).all():
                raise EffaceError("w: found NaN or infinity, expected finite numbers; invert the photos anew")
