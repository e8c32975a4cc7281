"""Climb the classification loss on the photos to forget, and keep the boundaries around them and the weights that
matter little to them.

Paper: L2UL, "Learning to Unlearn: Instance-wise Unlearning for Pre-trained Classifiers", Cha et al., AAAI 2024 (arXiv
2301.11578), and its official code.
    x_adv  targeted L2 attack (PGD from a random start) on a photo to forget, towards a random wrong class y_adv
    loss   (Σ CE(x_adv, y_adv) − Σ CE(x, y)) / (photos of both) + λ/2 · Σ_w (1 − Ω_w)·(w − w₀)²
    Ω      |∂‖logits‖ / ∂w| on the photos to forget (MAS), min-max scaled within each weight tensor

paper's value / ours: ε 4, 100 attack steps of 0.1, 20 to 200 attacks on a photo / ε 4, 10 steps of 1, 2 attacks, for
the time they take; SGD, momentum 0.9, weight decay 1e-4, learning rate 1e-3, until no photo is recognised / the same
without decay, 100 steps, a photo pulls as long as it is recognised; λ 1 (10 in places) / 1; no retained photos / plus a
retain term (ours, see `retain_weight`); the network's own head / a fixed CosFace head from class means, since the
checkpoint has none, margin on in training, off in the attack, in Ω and in asking who is recognised; all weights / the
last block, BatchNorm frozen.

Mistakes avoided: where the random class is the true one the official code attacks the middle class, even if that is the
true one; it measures Ω of a batch in training mode, which moves BatchNorm's statistics, and scales a tensor of equal Ω
by 1 / 0.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.adversaries import of_length, towards, within_length
from efface.methods.classes import BATCH, Photos, class_head, retained_photos, train_on_both, wrong_labels
from efface.methods.importance import of_outputs
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class L2ul(Unlearner):
    """Ascent on the forgotten, descent on their adversarial photos, weights held by importance (L2UL)."""

    paper: ClassVar = "L2UL, Cha et al., AAAI 2024, arXiv 2301.11578"
    objective: ClassVar = "head_accuracy"

    adversaries: PositiveInt = 2
    """Attacks on each photo; paper: 20 to 200."""
    epsilon: PositiveFloat = 4.0
    """Longest change of a photo, L2, in units of the pixel range; paper: 4."""
    attack_steps: PositiveInt = 10
    """Steps of an attack; paper: 100."""
    attack_step: PositiveFloat = 1.0
    """Length of one of them, L2, in units of the pixel range; paper: 0.1."""
    importance_weight: NonNegativeFloat = 1.0
    """λ, the weight of the importance penalty; paper: 1."""
    learning_rate: PositiveFloat = 1e-3
    """Of SGD with momentum 0.9; paper: 1e-3."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: until no photo is recognised."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no retain term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        classes = len(head.weight)
        free = [freedom(sensitivity) for sensitivity in of_outputs(part, head, seen.forget)]
        given = [p.detach().clone() for p in part.trained()]
        pixels = request.forget.pixels.repeat(self.adversaries, 1, 1, 1)
        goals = wrong_labels(seen.labels.repeat(self.adversaries), classes, generator)
        start = self.epsilon / math.sqrt(pixels[0].numel()) * torch.randn(pixels.shape, generator=generator)
        bound, step = within_length(self.epsilon), of_length(self.attack_step)
        attacked = towards(target, head, pixels, goals, start, step=step, bound=bound, steps=self.attack_steps)
        features, embeddings = part.entering(attacked)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            held = zip(free, part.trained(), given, strict=True)
            return {
                "forget": both_ways(head, forgotten.x, forgotten.classes),
                "importance": self.importance_weight
                / 2
                * torch.stack([(f * (w - g) ** 2).sum() for f, w, g in held]).sum(),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            Photos(
                torch.cat([seen.forget, features]),
                torch.cat([seen.labels, goals + classes]),
                torch.cat([seen.given, embeddings]),
            ),
            retained_photos(seen),
            loss,
            optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate, momentum=0.9),
            steps=self.steps,
            generator=generator,
            batch=(BATCH, BATCH if self.retain_weight else 0),
        )
        return part.result()


def both_ways(head: MarginHead, embeddings: Tensor, classes: Tensor) -> Tensor:
    """Cross-entropy of attacked photos minus that of those to forget that are still recognised, over all photos.

    embeddings: [n, d]. classes: int64 [n], for an attacked photo the class it was led to plus the number of classes.
    """
    attacked, wanted = classes >= len(head.weight), classes % len(head.weight)
    recognised = head(embeddings.detach()).argmax(dim=1) == wanted
    signs = torch.where(attacked, 1.0, -recognised.float())
    return (signs * F.cross_entropy(head(embeddings, wanted), wanted, reduction="none")).mean()


def freedom(sensitivity: Tensor) -> Tensor:
    """1 − Ω of the header: 0 for the weight that matters most to the forgotten, 1 for the one that does least."""
    least = sensitivity.min()
    return 1 - (sensitivity - least) / (sensitivity.max() - least).clamp(min=1e-12)
