"""What methods made for classifiers need of a recogniser that has no classifier: a head, and a step against it."""

from collections.abc import Callable

import torch
from torch import Tensor

from efface import training
from efface.errors import EffaceError
from efface.methods.seen import LastBlocks, Seen, drift
from efface.models.heads import MarginHead, head_from_class_means
from efface.targets.recognition import RecognitionTarget

SCALE = 32.0
"""s of the head: see `class_head`."""
BATCH = 64
"""Photos of the forgotten, and of the retained, in a batch: the batch size of the official code for VGGFace2."""


def class_head(seen: Seen) -> MarginHead:
    """A CosFace head (s = 32, m = 0.35) whose rows are the normalised class means of the seen photos.

    Classes 0 … are the people to forget in order of appearance, after them the retained people. s is half of CosFace's
    64: class means fit their own photos so well that at 64 the gradient of the true class is 0 even with the margin.
    The head is fixed: one that could move would take up what the network is to do, and it is thrown away afterwards.
    Raises EffaceError where nobody is retained (a classifier of the forgotten alone has nowhere to send them).
    """
    if not len(seen.before):
        raise EffaceError("retain: found nobody, expected retained people; this method needs a classifier of both")
    forgotten = int(seen.labels.max()) + 1
    retained = seen.start.unique(return_inverse=True)[1] + forgotten
    labels = torch.cat([seen.labels, retained])
    head = head_from_class_means(torch.cat([seen.given, seen.before]), labels, int(labels.max()) + 1)
    head.scale = SCALE
    return head.requires_grad_(False)


def train_against_head(
    part: LastBlocks,
    seen: Seen,
    loss: Callable[[Tensor, Tensor], Tensor],
    goals: Tensor,
    *,
    learning_rate: float,
    steps: int,
    retain_weight: float,
    generator: torch.Generator,
) -> RecognitionTarget:
    """SGD with momentum 0.9 on `loss(embeddings [b, d], goals [b])` of the seen photos of the forgotten plus
    `retain_weight` times the drift of the retained; returns the clone that was trained.

    goals: int64 [n], the class that belongs to each photo to forget (its own, a random or an adversarial one).
    """

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(goals), generator=generator)[:BATCH]
        kept = torch.randperm(len(seen.retain), generator=generator)[: BATCH if retain_weight else 0]
        nothing = seen.before.new_zeros(len(rows), seen.before.shape[1])
        return (
            torch.cat([seen.forget[rows], seen.retain[kept]]),
            torch.cat([goals[rows], torch.full((len(kept),), -1)]),
            torch.cat([nothing, seen.before[kept]]),
        )

    def terms(features: Tensor, wanted: Tensor, before: Tensor) -> dict[str, Tensor]:
        embeddings, kept = part(features), wanted < 0
        return {
            "forget": loss(embeddings[~kept], wanted[~kept]),
            "retain": retain_weight * drift(embeddings[kept], before[kept]),
        }

    optimiser = torch.optim.SGD(part.trained(), lr=learning_rate, momentum=0.9)
    training.fit(part, draw, terms, optimiser=optimiser, steps=steps, generator=generator)
    return part.result()
