"""IResNet (Duta et al. 2020, arXiv 2004.04989) as InsightFace publishes it for ArcFace: pre-activated residual blocks
with PReLU, BatchNorm before the flattened linear map and after it, 512-d embedding."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser

COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
"""Depth -> residual blocks of the four stages."""
EMBEDDING = 512
"""Length of the embedding."""


class IResNet(nn.Module):
    """float32 [n, 3, 112, 112] -> embeddings [n, 512], not normalised."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1 = _conv3(3, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        first, second, third, fourth = COUNTS[depth]
        self.layer1 = _stage(64, 64, first)
        self.layer2 = _stage(64, 128, second)
        self.layer3 = _stage(128, 256, third)
        self.layer4 = _stage(256, 512, fourth)
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING)
        self.features.weight.requires_grad_(False)  # fixed at 1 in the original training: see `fixed`

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))


class _Block(nn.Module):
    """BatchNorm, convolution, BatchNorm, PReLU, convolution, BatchNorm; the stride is in the second convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv3(inputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = _conv3(outputs, outputs, stride)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(y)) + (x if self.downsample is None else self.downsample(x))


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """The first block halves the side."""
    return nn.Sequential(_Block(inputs, outputs, 2), *(_Block(outputs, outputs, 1) for _ in range(count - 1)))


def _conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


@dataclass(frozen=True, kw_only=True)
class IResNetRecogniser(Recogniser):
    """IResNet of InsightFace (arcface_torch `.pth`): 512-d, RGB, (x − 127.5) / 127.5; weights non-commercial."""

    depth: Literal[18, 34, 50, 100] = 50
    """Layers: 24.0, 34.1, 43.6 or 65.2 million parameters."""

    convention: ClassVar = InputConvention()
    embedding_size: ClassVar = EMBEDDING
    origin: ClassVar = "https://github.com/deepinsight/insightface, recognition/arcface_torch (or your own training)"
    licence: ClassVar = "of the published weights: non-commercial research only"
    commercial: ClassVar = "no"
    output: ClassVar = ("fc", "features")
    fixed: ClassVar = ("features.weight",)

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        stages = ((f"layer{s}.{i}",) for s, count in enumerate(COUNTS[self.depth], 1) for i in range(count))
        return (("conv1", "bn1", "prelu"), *stages, ("bn2", "fc", "features"))

    def build(self) -> nn.Module:
        return IResNet(self.depth)
