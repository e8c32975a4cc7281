"""MobileFaceNet (Chen et al. 2018, arXiv 1804.07573) as published by foamliu: inverted residuals with ReLU6, a
depthwise 7×7 convolution in place of pooling, 128-d embedding. 999,936 parameters."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser

STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels, blocks, stride of the first block) of each stage: table 1 of the paper."""


class MobileFaceNet(nn.Module):
    """float32 [n, 3, 112, 112] -> embeddings [n, 128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu6(3, 64, 3, stride=2)
        self.dw_conv = _SeparableConv(64)
        self.conv2 = _conv_bn_relu6(128, 512, 1)
        self.gdconv = _GlobalDepthwiseConv(512, 7)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)
        blocks, inputs = [], 64
        for expansion, channels, count, stride in STAGES:
            for i in range(count):
                blocks.append(_InvertedResidual(inputs, channels, expansion, stride if i == 0 else 1))
                inputs = channels
        self.features = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(self.dw_conv(self.conv1(x)))
        return self.bn(self.conv3(self.gdconv(self.conv2(x)))).flatten(1)


class _SeparableConv(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.depthwise(x)).relu()
        return self.bn2(self.pointwise(x)).relu()


class _GlobalDepthwiseConv(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.depthwise(x))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _conv_bn_relu6(inputs, hidden, 1),
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.skip else self.conv(x)


def _conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


@dataclass(frozen=True, kw_only=True)
class MobileFaceNetRecogniser(Recogniser):
    """MobileFaceNet of foamliu: 128-d, RGB, ImageNet mean and standard deviation; Apache-2.0.

    Trained on a refined MS-Celeb-1M (3,804,846 faces, 85,164 identities), a data set since withdrawn.
    """

    convention: ClassVar = InputConvention(channels="RGB", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    embedding_size: ClassVar = 128
    origin: ClassVar = (
        "https://github.com/foamliu/MobileFaceNet, commit a6cc9032a659b615f477833e1a70b5e7931bcccc; trained on a "
        "refined MS-Celeb-1M (a data set since withdrawn)"
    )
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "unknown"
    output: ClassVar = ("conv3", "bn")
    blocks: ClassVar = (
        ("conv1", "dw_conv"),
        *((f"features.{i}",) for i in range(15)),
        ("conv2", "gdconv", "conv3", "bn"),
    )

    def build(self) -> nn.Module:
        return MobileFaceNet()
