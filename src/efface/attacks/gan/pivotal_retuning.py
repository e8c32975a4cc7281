"""Teach the generator the person again: pivotal tuning (PTI, Roich et al. 2022, arXiv 2106.05744).

A pivot in W is searched for the attacker's photos, and the generator is tuned until it draws them there; what is judged
are views that the photos do not show. Tuning can teach a generator anybody, so it is read against the stranger: what
comes back sooner than the stranger was still inside. Each person is tuned alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from efface.attacks.attack import Attack, Outcome
from efface.attacks.rebuilding import Rebuilder
from efface.targets.inversion import optimised, tuned


@dataclass(frozen=True, kw_only=True)
class PivotalRetuning(Attack[Rebuilder]):
    """Tuning the generator on a few photos of the person brings the person back."""

    access: ClassVar = "the weights, and photos that the method may have seen, the given one first"
    control: ClassVar = "strangers who were never given to the method, by as many photos of their own"

    photos: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 3)
    """Of each person; those who have fewer are tuned on these."""
    pivot_steps: NonNegativeInt = 450
    """Of the search for the pivot in W; PTI: 450."""
    pivot_rate: PositiveFloat = 5e-3
    """Of its Adam, in W's own units; PTI: 5e-3."""
    steps: PositiveInt = 350
    """Of the tuning; PTI: at most 350."""
    learning_rate: PositiveFloat = 3e-4
    """Of its Adam; PTI: 3e-4."""

    def attempt(self, subject: Rebuilder) -> Iterator[Outcome]:
        people = subject.sought()
        for count in self.photos:
            views = []
            shots = subject.shots(people, count)
            pivots, _ = optimised(subject.target, shots, space="w", steps=self.pivot_steps, rate=self.pivot_rate)
            for i in range(len(people)):
                pivot = pivots[i : i + 1]
                twin = tuned(
                    subject.target, shots.of(torch.tensor([i])), pivot, steps=self.steps, rate=self.learning_rate
                )
                views.append(subject.views(pivot, twin))
            yield from subject.judged(f"photos={count}", torch.cat(views), people)
