"""Photos changed a little, pixel by pixel, towards another class of a frozen recogniser."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.methods.classes import BATCH
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget

Step = Callable[[Tensor], Tensor]
"""Of a change, or of a slope, [n, 3, 112, 112], in units of the pixel range: what may be taken of it."""


def towards(
    target: RecognitionTarget,
    head: MarginHead,
    pixels: Tensor,
    goals: Tensor,
    start: Tensor,
    *,
    step: Step,
    bound: Step,
    steps: int,
) -> Tensor:
    """Projected gradient descent of CE(head(target(x)), goal) by the pixels: float32 [n, 3, 112, 112], 0 … 255.

    pixels: uint8 [n, 3, 112, 112]. goals: int64 [n], the classes to lead to. start: the change to begin with, in units
    of the pixel range. step: step(slope) -> the change of one step, which is subtracted. bound: bound(change) -> the
    change allowed in all.
    """
    found = []
    for crops, wanted, begun in zip(pixels.split(BATCH), goals.split(BATCH), start.split(BATCH), strict=True):
        clean, wanted = crops.to(target.device, torch.float32) / 255, wanted.to(target.device)
        change = bound(begun.to(target.device))
        for _ in range(steps):
            x = (clean + change).clamp(0, 1).requires_grad_(True)
            loss = F.cross_entropy(head(target.forward(255 * x)), wanted, reduction="sum")
            change = bound(x.detach() - clean - step(torch.autograd.grad(loss, x)[0]))
        found.append(255 * (clean + change).clamp(0, 1).cpu())
    return torch.cat(found)


def within_length(longest: float) -> Step:
    """Of each photo's change: no longer than this, L2."""
    return lambda change: change * (longest / change.flatten(1).norm(dim=1).clamp(min=longest))[:, None, None, None]


def of_length(length: float) -> Step:
    """Of each photo's slope: its direction, this long, L2."""
    return lambda slope: slope * (length / slope.flatten(1).norm(dim=1).clamp(min=1e-12))[:, None, None, None]


def within_range(largest: float) -> Step:
    """Of each value's change: no larger than this."""
    return lambda change: change.clamp(-largest, largest)


def of_sign(size: float) -> Step:
    """Of each value's slope: its sign, this large."""
    return lambda slope: size * slope.sign()
