"""What every unlearning method is given and gives back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from efface.errors import EffaceError
from efface.faces.crops import Crops


@dataclass(frozen=True)
class Request:
    """An erasure request for a recogniser: photos that the method may use, and no others."""

    forget: Crops
    """Seen photos of the people to forget; never empty."""
    retain: Crops
    """Seen photos of the retained people."""

    def __post_init__(self) -> None:
        if not len(self.forget):
            raise EffaceError("forget: found no photo, expected at least one photo of each person to forget")
        both = sorted(set(self.forget.identities) & set(self.retain.identities))
        if both:
            raise EffaceError(f"found {', '.join(both)} among forget and retain, expected each person in one of them")


class Unlearner(ABC):
    """An unlearning method: a frozen dataclass whose fields are its hyper-parameters."""

    paper: ClassVar[str]
    """Source: authors, year, arXiv number or venue; "ours" where it is."""
    control: ClassVar[bool] = False
    """True for what is not meant to forget (noise, head-only edits): it must not lower unseen TAR."""
    objective: ClassVar[
        Literal["pair_cosine", "head_accuracy", "anchor_noise", "nobody_noise", "denoising_error", "rebuilding", "none"]
    ]
    """What the method itself moves on the seen photos of the forgotten. Of a recogniser: their mean pairwise cosine, or
    the accuracy of the classifier head on them, falls. Of a diffusion model: the noise predicted for them goes towards
    what the original predicts for their anchor, or for nobody (the unconditional branch), or its error on their own
    pictures grows. Of a face generator: what it draws of their latents moves away from what it drew, further than that
    of others. The contract tests hold it to that."""

    @abstractmethod
    def unlearn(self, target: Any, request: Any, generator: torch.Generator) -> Any:
        """A new target without the forgotten people of the request: `Request` for a recogniser, `DrawRequest` for a
        diffusion model, `RebuildRequest` for a face generator. `target` is never changed; every random draw is from
        `generator` (CPU)."""
