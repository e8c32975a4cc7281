"""The judge that comes with efface: of another family than the recognisers that are unlearned, so that it does not
share their blind spots. A plain network without shortcuts in the manner of VGG (Simonyan and Zisserman 2014, arXiv
1409.1556; with BatchNorm), 56 × 56 pixels, BGR, generalised-mean pooling in place of a flattened map, 96-d embedding,
936,704 parameters."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser, weights_beside

EMBEDDING = 96
"""Length of the embedding."""


class Judge(nn.Module):
    """float32 [n, 3, 56, 56] -> embeddings [n, 96], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(*_layer(3, 32, side=5, stride=2), *_layer(32, 48), nn.MaxPool2d(2))  # 14 × 14
        self.block2 = nn.Sequential(*_layer(48, 64), *_layer(64, 64))
        self.block3 = nn.Sequential(*_layer(64, 96), nn.MaxPool2d(2))  # 7 × 7
        self.block4 = nn.Sequential(*_layer(96, 128), *_layer(128, 192))
        self.block5 = nn.Sequential(*_layer(192, 256), _GeneralisedMean())
        self.linear = nn.Linear(256, EMBEDDING, bias=False)
        self.output = nn.BatchNorm1d(EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block5(self.block4(self.block3(self.block2(self.block1(x)))))
        return self.output(self.linear(x))


class _GeneralisedMean(nn.Module):
    """(mean of xᵖ)^(1/p) over the picture, p = 3: Radenović et al. 2018, arXiv 1711.02512, equation 3. In float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float().clamp(min=1e-4).pow(3).mean((2, 3)).pow(1 / 3)


def _layer(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


@dataclass(frozen=True, kw_only=True)
class JudgeRecogniser(Recogniser):
    """The judge of efface: 96-d, 56 px BGR, no residual network, other rendered people and seed; Apache-2.0."""

    shipped: ClassVar = weights_beside(__file__)
    convention: ClassVar = InputConvention(size=56, channels="BGR")
    embedding_size: ClassVar = EMBEDDING
    origin: ClassVar = "efface, efface train configs/train/judge.yaml, on rendered people"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"
    output: ClassVar = ("linear", "output")
    blocks: ClassVar = (("block1",), ("block2",), ("block3",), ("block4",), ("block5",), ("linear", "output"))

    def build(self) -> nn.Module:
        return Judge()
