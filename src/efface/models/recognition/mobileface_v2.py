"""MobileFace Identification V2 of becauseofAI, an MXNet network written out from its graph: inverted residuals with
ReLU6, the map flattened into one linear layer, 256-d embedding. The published graph takes raw 0–255 and normalises
itself; here its (x − 127.5) · 0.0078125 is the input convention, to the same bits as 0.0078125 is 1 / 128."""

import re
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser

EPSILON = 1e-3
"""BatchNorm's: MXNet's default, as the graph states none."""
STAGES = (32, 32, 64, 128)
"""Channels of each stage of three blocks; the first of them halves the side and has no skip."""


class MobileFaceV2(nn.Module):
    """float32 [n, 3, 112, 112] -> embeddings [n, 256], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(32, EPSILON)
        self.relu6 = nn.ReLU6()
        blocks, inputs = [], 32
        for channels in STAGES:
            for stride in (2, 1, 1):
                blocks.append(_InvertedResidual(inputs, channels, stride))
                inputs = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc5 = nn.Linear(128 * 4 * 4, 256, bias=False)
        self.fc5_bn = nn.BatchNorm1d(256, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.relu6(self.bn1(self.conv1(x))))
        return self.fc5_bn(self.fc5(x.flatten(1)))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = 3 * inputs
        self.skip = stride == 1
        self.expand = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(hidden, EPSILON)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, padding=1, groups=hidden, bias=False)
        self.depthwise_bn = nn.BatchNorm2d(hidden, EPSILON)
        self.project = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.project_bn = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand_bn(self.expand(x)).clamp(0, 6)
        y = self.depthwise_bn(self.depthwise(y)).clamp(0, 6)
        y = self.project_bn(self.project(y))
        return x + y if self.skip else y


@dataclass(frozen=True, kw_only=True)
class MobileFaceV2Recogniser(Recogniser):
    """MobileFace V2 (MXNet `.params`): 256-d, BGR, (x − 127.5) / 128; MIT; its training set is not stated."""

    convention: ClassVar = InputConvention(channels="BGR", std=(128.0, 128.0, 128.0))
    embedding_size: ClassVar = 256
    origin: ClassVar = (
        "https://github.com/becauseofAI/MobileFace, commit 128cea33b928dc9bb6d1963202b57a97f5661ccf; training set not "
        "stated"
    )
    licence: ClassVar = "MIT"
    commercial: ClassVar = "unknown"
    output: ClassVar = ("fc5", "fc5_bn")
    blocks: ClassVar = (("conv1", "bn1", "relu6"), *((f"blocks.{i}",) for i in range(12)), ("fc5", "fc5_bn"))

    def build(self) -> nn.Module:
        return MobileFaceV2()

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {_renamed(name): tensor for name, tensor in tensors.items()}


_LAYERS = ("expand", "depthwise", "project")
_KINDS = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}


def _renamed(name: str) -> str:
    """MXNet's name -> ours, for example `arg:batchnorm7_gamma` -> `blocks.2.depthwise_bn.weight`."""
    found = re.fullmatch(r"(?:arg|aux):(\w+?)_(weight|bias|gamma|beta|moving_mean|moving_var)", name)
    if not found:
        return name
    module, kind = found[1], _KINDS[found[2]]
    numbered = re.fullmatch(r"(convolution|batchnorm)(\d+)", module)
    if numbered:
        block, layer = divmod(int(numbered[2]), 3)
        module = f"blocks.{block}.{_LAYERS[layer]}" + ("_bn" if numbered[1] == "batchnorm" else "")
    return f"{module}.{kind}"
