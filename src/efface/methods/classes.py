"""What methods made for classifiers need of a recogniser that has no classifier: a head, losses and training against
it."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
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
    labels = torch.cat([seen.labels, retained_classes(seen)])
    head = head_from_class_means(torch.cat([seen.given, seen.before]), labels, int(labels.max()) + 1)
    head.scale = SCALE
    return head.requires_grad_(False)


def retained_classes(seen: Seen) -> Tensor:
    """int64 [m]: the class of each retained photo in `class_head`."""
    return seen.start.unique(return_inverse=True)[1] + int(seen.labels.max()) + 1


class Photos(NamedTuple):
    """Photos of one side, the forgotten or the retained: all of them, or those of a batch."""

    x: Tensor
    """Features [n, ...] as they enter the trained part; in a loss the unit embeddings [n, d], with gradient."""
    classes: Tensor
    """int64 [n]: the class that belongs to each (its own, a random or an adversarial one)."""
    before: Tensor
    """Unit embeddings [n, d] under the original model, or whatever teacher a method takes."""

    def take(self, rows: Tensor) -> "Photos":
        """Those at these positions."""
        return Photos(self.x[rows], self.classes[rows], self.before[rows])


def forgotten_photos(seen: Seen, classes: Tensor | None = None) -> Photos:
    """The seen photos of the forgotten with their own classes, or with those given."""
    return Photos(seen.forget, seen.labels if classes is None else classes, seen.given)


def retained_photos(seen: Seen) -> Photos:
    """The seen photos of the retained with their own classes."""
    return Photos(seen.retain, retained_classes(seen), seen.before)


def train_on_both(
    part: LastBlocks,
    forgotten: Photos,
    retained: Photos,
    loss: Callable[[Photos, Photos], dict[str, Tensor]],
    *,
    optimiser: torch.optim.Optimizer,
    steps: int,
    generator: torch.Generator,
    batch: tuple[int, int] = (BATCH, BATCH),
    outputs: Callable[[Tensor], Tensor] | None = None,
    schedule: Callable[[int], float] | None = None,
) -> None:
    """Minimise the terms of `loss(forgotten, retained)`, which is given embeddings of a batch of either side.

    batch: photos of the forgotten and of the retained, at most; either may be 0. outputs: what makes the loss's `x` of
    features; where None, `part`. schedule: as in `training.fit`.
    """

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = [torch.randperm(len(s.x), generator=generator)[:most] for s, most in zip(sides, batch, strict=True)]
        one, other = (side.take(r) for side, r in zip(sides, rows, strict=True))
        kept = torch.arange(len(one.x) + len(other.x)) >= len(one.x)
        return *(torch.cat(pair) for pair in zip(one, other, strict=True)), kept

    def terms(x: Tensor, classes: Tensor, before: Tensor, kept: Tensor) -> dict[str, Tensor]:
        both = Photos((outputs or part)(x), classes, before)
        return loss(both.take(~kept), both.take(kept))

    sides = (forgotten, retained)
    training.fit(part, draw, terms, optimiser=optimiser, steps=steps, generator=generator, schedule=schedule)


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
    train_on_both(
        part,
        forgotten_photos(seen, goals),
        retained_photos(seen),
        lambda forgotten, retained: {
            "forget": loss(forgotten.x, forgotten.classes),
            "retain": retain_weight * drift(retained.x, retained.before),
        },
        optimiser=torch.optim.SGD(part.trained(), lr=learning_rate, momentum=0.9),
        steps=steps,
        generator=generator,
        batch=(BATCH, BATCH if retain_weight else 0),
    )
    return part.result()


def wrong_labels(true: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """A random class int64 [n] for each of the labels `true` [n], never the label itself."""
    drawn = torch.randint(classes - 1, true.shape, generator=generator)
    return drawn + (drawn >= true)


def bounded_ascent(head: MarginHead, embeddings: Tensor, true: Tensor, most: float) -> Tensor:
    """Minus the cross-entropy with the margin, over photos whose plain cross-entropy is below `most`; mean over all.

    embeddings: [n, d]. true: int64 [n].
    """
    climbing = F.cross_entropy(head(embeddings.detach()), true, reduction="none") < most
    return -(F.cross_entropy(head(embeddings, true), true, reduction="none") * climbing).mean()


def mixture_loss(head: MarginHead, forgotten: Photos, retained: Photos) -> Tensor:
    """Cross-entropy with the margin over the photos of both sides together, each to its class."""
    classes = torch.cat([forgotten.classes, retained.classes])
    return F.cross_entropy(head(torch.cat([forgotten.x, retained.x]), classes), classes)


def distillation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T²·KL(teacher ‖ student) of softmax(logits / T), summed over classes, mean over photos; 0 for none.

    student, teacher: logits [n, classes]; a teacher's may be −∞, which leaves that class out.
    """
    wanted = F.softmax(teacher / temperature, dim=-1)
    found = F.log_softmax(student / temperature, dim=-1)
    return temperature**2 * F.kl_div(found, wanted, reduction="sum") / max(len(student), 1)
