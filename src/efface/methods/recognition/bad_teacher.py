"""Learn from a network that knows nobody on the photos to forget, from the original on some of the retained.

Paper: Bad Teacher (Chundawat et al., AAAI 2023, arXiv 2205.08096), and its official code.
    loss   mean over the batch of KL(teacher ‖ student): the teacher of a forgotten photo is a randomly initialised
           network, that of a retained photo the original

paper's value / ours: Adam, learning rate 1e-4, 1 epoch, batch 256, temperature 1 / Adam, 100 steps, up to 64 of
either side in one mean, 1; 30 % of the retained photos, drawn once / the same; retained photos by KL only / plus
their drift (ours, see `retain_weight`); each network with its own head / all three with one fixed CosFace head from
class means, margin off, since the checkpoint has none and answers are only compared; all weights / the last block.

Mistakes avoided: the official code averages the KL over the classes too, which makes it smaller by their number.
BatchNorm is frozen. Not avoided, it is the method: a random network sees nearly the same in every face, so what is
taught is one place for all forgotten people.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import (
    Photos,
    class_head,
    distillation,
    forgotten_photos,
    retained_photos,
    train_on_both,
)
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.models.recogniser import initialise
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class BadTeacher(Unlearner):
    """Distil a random network on the forgotten and the original on the retained (Bad Teacher)."""

    paper: ClassVar = "Bad Teacher, Chundawat et al., AAAI 2023, arXiv 2205.08096"
    objective: ClassVar = "head_accuracy"

    share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the retained photos that are used; paper: 0.3."""
    temperature: PositiveFloat = 1.0
    """T of the distillation, no unit; paper: 1."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam; paper: 1e-4."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 1 epoch."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        bad = RecognitionTarget(target.spec, initialise(target.spec.build(), generator), target.device)
        kept = torch.randperm(len(seen.retain), generator=generator)[: max(1, round(self.share * len(seen.retain)))]

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "teachers": two_teachers_loss(head, forgotten, retained, self.temperature),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            forgotten_photos(seen)._replace(before=bad.embed(request.forget.pixels)),
            retained_photos(seen).take(kept),
            loss,
            optimiser=torch.optim.Adam(part.trained(), lr=self.learning_rate),
            steps=self.steps,
            generator=generator,
        )
        return part.result()


def two_teachers_loss(head: MarginHead, forgotten: Photos, retained: Photos, temperature: float) -> Tensor:
    """The header's loss over the photos of both sides together; `before` is what their teacher gives."""
    student, teacher = (torch.cat(pair) for pair in ((forgotten.x, retained.x), (forgotten.before, retained.before)))
    return distillation(head(student), head(teacher), temperature)
