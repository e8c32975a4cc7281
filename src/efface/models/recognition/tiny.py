"""A small real recogniser for tests and `--tiny` runs: four dense convolutions on 40 × 40 pixels, 64-d embedding,
94,640 parameters. Trained on drawn people only (efface.testing.train_tiny)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser


class Tiny(nn.Module):
    """float32 [n, 3, 40, 40] -> embeddings [n, 64], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = _conv_bn_prelu(3, 24)  # 20 × 20
        self.block2 = _conv_bn_prelu(24, 48)  # 10 × 10
        self.block3 = _conv_bn_prelu(48, 64)  # 5 × 5
        self.block4 = _conv_bn_prelu(64, 48)  # 3 × 3
        self.linear = nn.Linear(48 * 9, 64, bias=False)
        self.bn = nn.BatchNorm1d(64)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block4(self.block3(self.block2(self.block1(x))))
        return self.bn(self.linear(x.flatten(1)))


def _conv_bn_prelu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)
    )


WEIGHTS = Path(__file__).parents[2] / "testing" / "tiny.safetensors"
"""Weights that come with efface; their card is beside them."""


@dataclass(frozen=True, kw_only=True)
class TinyRecogniser(Recogniser):
    """The small recogniser of the tests: 64-d, trained on drawn people, knows no real face; Apache-2.0."""

    shipped: ClassVar = WEIGHTS
    convention: ClassVar = InputConvention(size=40)
    embedding_size: ClassVar = 64
    origin: ClassVar = "efface, python -m efface.testing.train_tiny, on drawn people"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"
    output: ClassVar = ("linear", "bn")
    blocks: ClassVar = (("block1",), ("block2",), ("block3",), ("block4",), ("linear", "bn"))

    def build(self) -> nn.Module:
        return Tiny()
