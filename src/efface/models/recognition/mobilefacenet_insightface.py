"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573) as InsightFace trains it (`get_mbf`): PReLU, twice the channels of
the paper, 512-d embedding. 2,059,520 parameters."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser

EMBEDDING = 512
"""Length of the embedding."""


class MobileFaceNetInsightFace(nn.Module):
    """float32 [n, 3, 112, 112] -> embeddings [n, 512], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                _ConvBlock(3, 128, 3, stride=2),
                _ConvBlock(128, 128, 3, groups=64),
                _DepthWise(128, 128, 128, stride=2),
                _Residual(128, 128, 4),
                _DepthWise(128, 256, 256, stride=2),
                _Residual(256, 256, 6),
                _DepthWise(256, 256, 512, stride=2),
                _Residual(256, 256, 2),
            ]
        )
        self.conv_sep = _ConvBlock(256, 512, 1)
        self.features = _Embedding(512)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))


class _ConvBlock(nn.Module):
    """Convolution, BatchNorm and, if not `linear`, PReLU; the side is kept, or halved by stride 2."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 0 if kernel == 7 else kernel // 2  # 7 × 7 takes in the whole map
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
        )
        if not linear:
            self.layers.append(nn.PReLU(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _DepthWise(nn.Module):
    """Expand, depthwise 3 × 3, project without activation; `skip` adds the input."""

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int = 1, skip: bool = False) -> None:
        super().__init__()
        self.skip = skip
        self.layers = nn.Sequential(
            _ConvBlock(inputs, hidden, 1),
            _ConvBlock(hidden, hidden, 3, stride, groups=hidden),
            _ConvBlock(hidden, outputs, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skip else self.layers(x)


class _Residual(nn.Module):
    def __init__(self, channels: int, hidden: int, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_DepthWise(channels, channels, hidden, skip=True) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Embedding(nn.Module):
    """Depthwise 7 × 7 over the whole map, linear map, BatchNorm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _ConvBlock(channels, channels, 7, groups=channels, linear=True),
            nn.Flatten(),
            nn.Linear(channels, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@dataclass(frozen=True, kw_only=True)
class MobileFaceNetInsightFaceRecogniser(Recogniser):
    """MobileFaceNet of InsightFace (arcface_torch `.pth`): 512-d, RGB, (x − 127.5) / 127.5; weights non-commercial."""

    convention: ClassVar = InputConvention()
    embedding_size: ClassVar = EMBEDDING
    origin: ClassVar = "https://github.com/deepinsight/insightface, recognition/arcface_torch (or your own training)"
    licence: ClassVar = "of the published weights: non-commercial research only"
    commercial: ClassVar = "no"
    output: ClassVar = ("features.layers.2", "features.layers.3")
    blocks: ClassVar = (
        ("layers.0", "layers.1"),
        ("layers.2",),
        *((f"layers.3.layers.{i}",) for i in range(4)),
        ("layers.4",),
        *((f"layers.5.layers.{i}",) for i in range(6)),
        ("layers.6",),
        *((f"layers.7.layers.{i}",) for i in range(2)),
        ("conv_sep", "features"),
    )

    def build(self) -> nn.Module:
        return MobileFaceNetInsightFace()
