"""Round the weights to int8, as a phone would run them.

Source: symmetric quantisation per channel, Krishnamoorthi 2018 (arXiv 1806.08342), section 2. Simulated in torch:
    w -> s · round(w / s),  s = max |w| / (2^(bits − 1) − 1) of each output channel,
for the weights of every convolution and linear map. Folding the BatchNorm that follows scales an output channel as a
whole, so it would round the same numbers. Not simulated: activations (they stay float32), biases and BatchNorm (float32
too), and the sums of an integer kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.metrics.protocol import Evaluation


@dataclass(frozen=True, kw_only=True)
class Quantisation(Attack):
    """Rounding the weights to int8 undoes the forgetting."""

    access: ClassVar = "the weights"
    control: ClassVar = "retained people under the same rounded weights"

    bits: Annotated[int, Field(ge=2, le=16)] = 8
    """Of a weight."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        twin = subject.target.clone()
        for module in twin.network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.data = rounded(module.weight.data, self.bits)
        space = Evaluation(subject.split, twin.embed(subject.crops.pixels), subject.evaluation.frozen)
        yield from recognised(f"bits={self.bits}", space, space.searches, space.frozen.impostors)


def rounded(weight: Tensor, bits: int) -> Tensor:
    """The nearest weights [out, ...] that so many bits hold, symmetric about 0, a scale for each output channel."""
    rows = weight.flatten(1)
    scale = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    steps = torch.where(scale > 0, rows / scale, 0.0).round()
    return (steps * scale).view_as(weight)
