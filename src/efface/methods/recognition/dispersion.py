"""Scatter a person's embeddings over the sphere, keep everybody else's where they were.

Paper: M. Zakharov, "Face Identity Unlearning for Retrieval via Embedding Dispersion", arXiv 2512.13317 (2025).
From the paper: the goal (photos of a forgotten person no longer rank above other people's, other rankings stay), the
two losses' names, `uniform` and `hard`, and that they act on the forgotten people only. Its formulas and
hyper-parameters were not available to us, so everything below is our own definition and no value here is the paper's.

For photos i ≠ j of one forgotten person, unit embeddings x, c_ij = cos(x_i, x_j), floor f:
    uniform   log mean_ij exp(−t·‖x_i − x_j‖²)   with ‖x_i − x_j‖² = 2 − 2·max(c_ij, f)   (ours, after Wang & Isola)
    hard      mean_i max_j max(c_ij, f)                                                     (ours)
    both      uniform + hard                                                                (ours)
    mean      mean_ij max(c_ij, f)                                                          (ours, an ablation)
    floor     mean_ij max(f − c_ij, 0) over seen photos, weight 1                           (ours)
    retain    retain_weight · mean (1 − cos(now, before)) over retained photos              (ours)
f is the mean cosine of different retained people: strangers' level. A person pushed below it is marked as erased.

Mistakes avoided:
- `mean` is at its optimum while photos sit in tight groups that cancel out, each of which still finds the others;
- training only on the seen photos scatters these far better than unseen ones. So each batch repeats them with the
  difference between two photos of a retained person added to the features (`variations`): guesses at unseen photos;
- without the retain term strangers are accepted an order of magnitude more often;
- strong augmentation does not help: a smooth network cannot send nearly equal inputs far apart.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.errors import EffaceError
from efface.methods.seen import LastBlocks, Seen, drift, same_person
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Dispersion(Unlearner):
    """Scatter a person's embeddings over the sphere (after Zakharov 2025, arXiv 2512.13317)."""

    paper: ClassVar = "Zakharov 2025, arXiv 2512.13317 (losses as defined by us)"
    objective: ClassVar = "pair_cosine"

    loss: Literal["both", "uniform", "hard", "mean"] = "both"
    """Which dispersion; paper: uniform and hard."""
    temperature: PositiveFloat = 2.0
    """t of the uniform loss, no unit; paper: not known to us."""
    retain_weight: NonNegativeFloat = 80.0
    """Weight of the retain term, no unit; 0 leaves it out; paper: not known to us."""
    variations: NonNegativeInt = 3
    """Guesses at unseen photos per seen photo in a batch; 0 for none; paper: none."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: not known to us."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam; paper: not known to us."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: not known to us."""
    people: PositiveInt = 8
    """Forgotten people in a batch, at most; paper: not known to us."""
    photos: PositiveInt = 5
    """Photos of each of them in a batch, at most; paper: not known to us."""
    retained: NonNegativeInt = 100
    """Retained photos in a batch, at most; paper: not known to us."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        self._check(seen)
        floor = impostor_mean(seen.before, seen.start)

        def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
            return seen.draw(
                generator,
                people=self.people,
                photos=self.photos,
                retained=self.retained if self.retain_weight else 0,
                variations=self.variations,
            )

        def loss(features: Tensor, labels: Tensor, before: Tensor, real: Tensor) -> dict[str, Tensor]:
            embeddings = part(features)
            forgotten = int((labels >= 0).sum())  # they come first, and of them the photos as they are
            photos = int(real[:forgotten].sum())
            own, people = embeddings[:forgotten], labels[:forgotten]
            return {
                **dispersion_terms(own, people, floor, self.loss, self.temperature),
                "floor": floor_term(own[:photos], people[:photos], floor),
                "retain": self.retain_weight * drift(embeddings[forgotten:], before[forgotten:]),
            }

        optimiser = torch.optim.Adam(part.trained(), lr=self.learning_rate, fused=True)
        training.fit(part, draw, loss, optimiser=optimiser, steps=self.steps, generator=generator)
        return part.result()

    def _check(self, seen: Seen) -> None:
        """Raise EffaceError unless a batch holds a pair of each of its people."""
        single = int(seen.labels.bincount().min()) < 2
        paired = bool((seen.count > 1).any())  # variations are differences of such a person's photos
        if single and not paired:
            raise EffaceError(
                "found one seen photo of a person to forget and of every retained person, expected two of either; "
                "add photos"
            )
        if single and self.variations == 0:
            raise EffaceError("forget: found a person with one seen photo, expected two; or set variations above 0")
        if self.photos * (self.variations + 1) < 2:
            raise EffaceError(
                f"photos {self.photos}, variations {self.variations}: found one photo of each person in a batch, "
                "expected photos × (variations + 1) of at least 2; raise photos"
            )
        if self.variations and not paired:
            more = "" if self.photos > 1 else " and photos above 1"
            raise EffaceError(
                f"retain: found no person with two seen photos, expected one; or set variations to 0{more}"
            )


def dispersion_terms(
    embeddings: Tensor, labels: Tensor, floor: float, loss: str = "both", temperature: float = 2.0
) -> dict[str, Tensor]:
    """The losses of the header by name, each the mean over the people in the batch.

    embeddings: unit [n, d]. labels: int64 [n], at least two photos each. floor: cosine, −1 … 1.
    """
    same = same_person(labels)
    member = F.one_hot(labels.unique(return_inverse=True)[1]).to(embeddings)  # photo × person
    photos = member.sum(0)
    raised = (embeddings @ embeddings.T).clamp(min=floor)

    def mean_of_pairs(values: Tensor) -> Tensor:
        """By person."""
        return (values.masked_fill(~same, 0).sum(1) @ member) / (photos * (photos - 1))

    terms: dict[str, Tensor] = {}
    if loss in ("uniform", "both"):
        terms["uniform"] = mean_of_pairs((-temperature * (2 - 2 * raised)).exp()).log().mean()
    if loss in ("hard", "both"):
        nearest = raised.masked_fill(~same, -1).max(dim=1).values
        terms["hard"] = ((nearest @ member) / photos).mean()
    if loss == "mean":
        terms["mean"] = mean_of_pairs(raised).mean()
    return terms


def floor_term(embeddings: Tensor, labels: Tensor, floor: float) -> Tensor:
    """How far pairs of photos of one person lie below the floor: mean over the pairs of all people; 0 without any."""
    same = same_person(labels)
    return (floor - (embeddings @ embeddings.T)[same]).clamp(min=0).sum() / max(int(same.sum()), 1)


def impostor_mean(embeddings: Tensor, people: Tensor) -> float:
    """Mean cosine over all pairs of photos of different people, without listing the pairs.

    embeddings: unit [n, d]. people: int64 [n], whose photo each is. Raises EffaceError for fewer than two people.
    """
    _, label, sizes = people.unique(return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise EffaceError(f"retain: found {len(sizes)} people, expected at least 2 to measure how alike strangers are")
    unit = embeddings.double()
    sums = unit.new_zeros(len(sizes), unit.shape[1]).index_add_(0, label, unit)
    alike = unit.sum(0).square().sum() - sums.square().sum()
    return float(alike / (len(unit) ** 2 - sizes.square().sum()))
