"""How much each weight matters to some photos, measured by gradients photo by photo, and training that only some of the
weights take part in."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.methods.seen import LastBlocks
from efface.models.heads import MarginHead

PIECE = 1 << 22
"""Numbers that are counted at once."""


def importance(
    part: LastBlocks, features: Tensor, measured: Callable[[Tensor, int], tuple[Tensor, Tensor]], power: int
) -> list[Tensor]:
    """Mean over photos of Σ_k weight_k·|∂value_k / ∂w|^power, for each of `part.trained()`, on its device.

    features: [n, ...] as they enter the trained part; n at least 1. measured: measured(unit embedding [1, d], position
    of the photo) -> values [k], with gradient, and their weights [k], without.

    Squares are taken of each photo's own gradient: that of a batch's mean shrinks as its photos disagree.
    """
    trained = part.trained()
    total = [torch.zeros_like(p) for p in trained]
    for position, photo in enumerate(features.split(1)):
        values, weights = measured(part(photo.to(part.clone.device)), position)
        for value, weight in zip(values, weights, strict=True):
            for sums, gradient in zip(total, torch.autograd.grad(value, trained, retain_graph=True), strict=True):
                sums += weight * gradient.abs().pow(power)
    return [sums / len(features) for sums in total]


def of_true_class(part: LastBlocks, head: MarginHead, features: Tensor, classes: Tensor) -> list[Tensor]:
    """Diagonal of the empirical Fisher information: mean of (∂CE(true class, margin on) / ∂w)².

    classes: int64 [n]. The margin leaves a gradient to photos that the head is sure of.
    """

    def measured(embedding: Tensor, position: int) -> tuple[Tensor, Tensor]:
        own = classes[position : position + 1].to(embedding.device)
        return F.cross_entropy(head(embedding, own), own, reduction="none"), torch.ones_like(embedding[:, 0])

    return importance(part, features, measured, power=2)


def of_all_classes(part: LastBlocks, head: MarginHead, features: Tensor) -> list[Tensor]:
    """Diagonal of the Fisher information: mean of Σ_y p_y (∂ log p_y / ∂w)², no margin, as no class is the true one."""

    def measured(embedding: Tensor, position: int) -> tuple[Tensor, Tensor]:
        log_shares = F.log_softmax(head(embedding), dim=-1)[0]
        return log_shares, log_shares.detach().exp()

    return importance(part, features, measured, power=2)


def of_outputs(part: LastBlocks, head: MarginHead, features: Tensor) -> list[Tensor]:
    """Sensitivity of the outputs: mean of |∂‖logits‖₂ / ∂w| (MAS, Aljundi et al., ECCV 2018), no margin.

    Of the logits, as the norm of a unit embedding does not change.
    """

    def measured(embedding: Tensor, position: int) -> tuple[Tensor, Tensor]:
        return head(embedding).norm(dim=-1), torch.ones_like(embedding[:, 0])

    return importance(part, features, measured, power=1)


def largest(values: Sequence[Tensor], share: float) -> list[Tensor]:
    """For each of the tensors, float32, one of its shape, bool: True for the `share` of all their numbers with the
    largest size, at least one number. Of equal ones the first count.

    The bits of numbers that are not negative, read as an integer, rise with them: the smallest size that is marked is
    found by two counts of 16 bits each, piece by piece, so that beside the masks nothing as long as the values is held.
    """
    count = max(1, round(share * sum(value.numel() for value in values)))
    high = _last_marked((bits >> 16 for bits in _sizes(values)), count)
    rest = count - high.above
    low = _last_marked(((bits & 0xFFFF)[bits >> 16 == high.value] for bits in _sizes(values)), rest)
    smallest, equal = high.value << 16 | low.value, rest - low.above
    masks = [torch.empty_like(value, dtype=torch.bool, memory_format=torch.contiguous_format) for value in values]
    pieces = (piece for mask in masks for piece in mask.view(-1).split(PIECE))
    for piece, bits in zip(pieces, _sizes(values), strict=True):
        ties = bits == smallest
        ties &= ties.cumsum(0) <= equal
        equal -= int(ties.sum())
        torch.logical_or(bits > smallest, ties, out=piece)
    return masks


class _Marked(NamedTuple):
    value: int
    """The smallest of the marked ones."""
    above: int
    """How many are larger."""


def _last_marked(pieces: Iterable[Tensor], count: int) -> _Marked:
    """Of the `count` largest of integers 0 … 65535."""
    numbers = sum((piece.bincount(minlength=1 << 16).cpu() for piece in pieces), torch.zeros(1 << 16, dtype=torch.long))
    reached = numbers.flip(0).cumsum(0)  # from the largest down
    place = int((reached < count).sum())
    value = len(numbers) - 1 - place
    return _Marked(value, int(reached[place] - numbers[value]))


def _sizes(values: Sequence[Tensor]) -> Iterator[Tensor]:
    """The bits of the sizes as int32, at most `PIECE` of them at a time, in order."""
    for value in values:
        for piece in value.flatten().split(PIECE):
            yield piece.float().abs().view(torch.int32)


@contextmanager
def only(parameters: Sequence[Tensor], masks: Sequence[Tensor]) -> Iterator[None]:
    """Inside the block, the gradient of each parameter is multiplied by its mask."""
    handles = [p.register_hook(mask.mul) for p, mask in zip(parameters, masks, strict=True)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
