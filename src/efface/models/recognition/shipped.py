"""The recogniser that comes with efface: a small residual network of dense 3×3 convolutions (they train eleven times
faster than depthwise ones on a CPU), 64 × 64 pixels, 128-d embedding, 1,108,000 parameters.

Its blocks are IResNet's (Duta et al. 2020, arXiv 2004.04989) with a leaky ReLU of slope 1/4 in place of the PReLU,
which starts at the same slope and whose gradient took half of a training step.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser, weights_beside

STAGES = ((32, 2), (64, 4), (128, 2))
"""(channels, blocks) of each stage; the first block of each halves the side, from 32 to 4."""
EMBEDDING = 128
"""Length of the embedding."""


class Shipped(nn.Module):
    """float32 [n, 3, 64, 64] -> embeddings [n, 128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        (first, a), (second, b), (third, c) = STAGES
        self.stem = nn.Sequential(_conv3(3, first, 2), nn.BatchNorm2d(first), nn.LeakyReLU(0.25))
        self.stage1 = _stage(first, first, a)
        self.stage2 = _stage(first, second, b)
        self.stage3 = _stage(second, third, c)
        self.bn = nn.BatchNorm2d(third)
        self.linear = nn.Linear(third * 16, EMBEDDING, bias=False)
        self.output = nn.BatchNorm1d(EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.output(self.linear(self.bn(x).flatten(1)))


class _Block(nn.Module):
    """BatchNorm, convolution, BatchNorm, leaky ReLU, convolution (with the stride), BatchNorm, and the input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv3(inputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.LeakyReLU(0.25)
        self.conv2 = _conv3(outputs, outputs, stride)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    return nn.Sequential(_Block(inputs, outputs, 2), *(_Block(outputs, outputs, 1) for _ in range(count - 1)))


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


@dataclass(frozen=True, kw_only=True)
class ShippedRecogniser(Recogniser):
    """The recogniser of efface: 128-d, 64 px, trained on rendered people who never existed; Apache-2.0."""

    shipped: ClassVar = weights_beside(__file__)
    convention: ClassVar = InputConvention(size=64)
    embedding_size: ClassVar = EMBEDDING
    origin: ClassVar = "efface, efface train configs/train/recogniser.yaml, on rendered people"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"
    output: ClassVar = ("linear", "output")
    blocks: ClassVar = (
        ("stem",),
        *((f"stage{s}.{i}",) for s, (_, count) in enumerate(STAGES, 1) for i in range(count)),
        ("bn", "linear", "output"),
    )

    def build(self) -> nn.Module:
        return Shipped()
