"""Teach the original's answer without the forgotten classes, on their photos and just beside them, and scatter each
person's embeddings.

Paper: Spotter, "Unlearning's Blind Spots: Over-Unlearning and Prototypical Relearning Attack", Ha et al., ICML 2026
(arXiv 2506.01318), and its official code.
    p̃(x)  the original's shares of the classes with those of all forgotten classes at 0, scaled to sum 1
    loss   λ₁·KL(p̃(x) ‖ p(x)) + (1 − λ₁)·KL(p̃(x′) ‖ p(x′)) + λ₂·mean cos(x_i, x_j) over pairs of one person
    x′     x changed by at most ε towards its runner-up class (PGD from a random start), once, on the original

paper's value / ours: λ₁ 0.7, λ₂ 1 / the same; ε 0.03, 3 steps of 0.01 / the same as shares of the pixel range; SGD,
momentum 0.9, weight decay 5e-4, learning rate 1e-4, batch 128, 10 epochs / no decay, 100 steps, chosen on the tiny
model; no retained photos / plus a retain term (ours, see `retain_weight`); the network's own head, trained too / a
fixed CosFace head from class means, no margin, as shares are distilled and no class is the true one; features before
the head / the embedding; all weights / the last block, BatchNorm frozen as in the official code.

Mistakes avoided: the official code climbs the loss of the runner-up class, which leads away from it, and cuts images
that were normalised off at 0 and 1. Not avoided, it is the method: the mean cosine is at its lowest while photos sit in
tight groups that cancel out (see `dispersion`).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.adversaries import of_sign, towards, within_range
from efface.methods.classes import BATCH, Photos, class_head, distillation, retained_photos, train_on_both
from efface.methods.seen import LastBlocks, Seen, drift, same_person
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Spotter(Unlearner):
    """Masked distillation at and beside the photos to forget, and intra-class dispersion (Spotter)."""

    paper: ClassVar = "Spotter, Ha et al., ICML 2026, arXiv 2506.01318"
    objective: ClassVar = "pair_cosine"

    balance: NonNegativeFloat = 0.7
    """λ₁: share of the distillation at the photos themselves, 0 … 1; paper: 0.7."""
    dispersion_weight: NonNegativeFloat = 1.0
    """λ₂: weight of the mean cosine of one person's photos; paper: 1."""
    epsilon: NonNegativeFloat = 0.03
    """Largest change of a value beside a photo, as a share of the pixel range 0 … 255; paper: 0.03."""
    attack_steps: NonNegativeInt = 3
    """Steps towards the runner-up class, a third of `epsilon` each; paper: 3."""
    learning_rate: PositiveFloat = 2e-3
    """Of SGD with momentum 0.9; paper: 1e-4."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: 10 epochs."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no retain term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def __post_init__(self) -> None:
        if self.balance > 1:
            raise EffaceError(f"balance: found {self.balance:g}, expected 0 to 1")

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        people = int(seen.labels.max()) + 1
        logits = head(seen.given.to(target.device)).cpu()
        runner_up = logits.scatter(1, seen.labels[:, None], -torch.inf).argmax(dim=1)
        pixels = request.forget.pixels
        start = self.epsilon * (2 * torch.rand(pixels.shape, generator=generator) - 1)
        bound, step = within_range(self.epsilon), of_sign(self.epsilon / max(self.attack_steps, 1))
        moved = towards(target, head, pixels, runner_up, start, step=step, bound=bound, steps=self.attack_steps)
        beside, embeddings = part.entering(moved)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            at = forgotten.take(forgotten.classes >= 0)
            by = forgotten.take(forgotten.classes < 0)
            return {
                "at": self.balance * distillation(head(at.x), masked_logits(head, at.before, people)),
                "beside": (1 - self.balance) * distillation(head(by.x), masked_logits(head, by.before, people)),
                "dispersion": self.dispersion_weight * pair_cosine(at.x, at.classes),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            Photos(
                torch.cat([seen.forget, beside]),
                torch.cat([seen.labels, torch.full_like(seen.labels, -1)]),
                torch.cat([seen.given, embeddings]),
            ),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate, momentum=0.9),
            steps=self.steps,
            generator=generator,
            batch=(2 * BATCH, BATCH if self.retain_weight else 0),
        )
        return part.result()


def masked_logits(head: MarginHead, embeddings: Tensor, forgotten: int) -> Tensor:
    """Logits [n, classes] of unit embeddings [n, d] without the first `forgotten` classes, which are at −∞."""
    logits = head(embeddings)
    return logits.masked_fill(torch.arange(logits.shape[1], device=logits.device) < forgotten, -torch.inf)


def pair_cosine(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Mean cosine over the pairs of photos of one person; 0 without any. embeddings: unit [n, d]. labels: int64 [n]."""
    same = same_person(labels)
    return (embeddings @ embeddings.T)[same].sum() / max(int(same.sum()), 1)
