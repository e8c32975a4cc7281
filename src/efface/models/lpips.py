"""LPIPS, how different two pictures look (Zhang et al. 2018, arXiv 1801.03924, equation 1), on VGG-16 (Simonyan and
Zisserman 2015, arXiv 1409.1556).

The weights do not come with efface: VGG-16's as torchvision publishes them (`features.N.weight`), and the learned
weights of LPIPS 0.1 (`lin0.model.1.weight` … `lin4`). Either is named with its sha256, which is checked.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.layout import filled
from efface.models.weights import read

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of VGG-16 between one halving and the next."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What pictures of −1 … 1 are taken minus of, and divided by, as published."""


class Lpips(nn.Module):
    """Distances [n], from 0, of pictures [n, 3, h, w] of −1 … 1, at least 16 pixels wide."""

    def __init__(self, stages: Sequence[tuple[int, int]] = STAGES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        inputs = 3
        for channels, count in stages:
            layers += [nn.MaxPool2d(2)] if layers else []
            for _ in range(count):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            self.ends.append(len(layers))
        self.vgg = nn.Sequential(*layers)
        for k, (channels, _) in enumerate(stages):
            self.add_module(f"lin{k}", _Weighed(channels))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What each stage sees of pictures, of unit length at each place; with gradient."""
        shift, scale = (torch.tensor(v).to(pictures).view(3, 1, 1) for v in (SHIFT, SCALE))
        x = (pictures - shift) / scale
        found = []
        start = 0
        for end in self.ends:
            x = self.vgg[start:end](x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
            start = end
        return found

    def forward(self, first: Tensor, second: Tensor | list[Tensor]) -> Tensor:
        """second: pictures, or what `features` gave."""
        others = self.features(second) if isinstance(second, Tensor) else second
        stages = zip(self.features(first), others, strict=True)
        return torch.stack([self._weighed(k, (a - b).square()) for k, (a, b) in enumerate(stages)]).sum(0)

    def _weighed(self, k: int, squares: Tensor) -> Tensor:
        layer: Any = self.get_submodule(f"lin{k}")
        return layer(squares).mean((1, 2, 3))


class _Weighed(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))  # published: a dropout, first

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


@dataclass(frozen=True, kw_only=True)
class LpipsFiles:
    """Where a user's own LPIPS weights lie: two files, each with its sha256 (64 hexadecimal digits)."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    vgg: Path
    """VGG-16, as torchvision publishes it; its classifier is not looked at."""
    vgg_sha256: str
    linear: Path
    """The learned weights of LPIPS 0.1 for VGG-16."""
    linear_sha256: str

    def load(self, device: torch.device) -> Lpips:
        """The network, at rest. Raises EffaceError for a file that is another one, or does not fit."""
        with torch.device("meta"):
            network = Lpips()
        convolutions = {n: t for n, t in _read(self.vgg, self.vgg_sha256).items() if n.startswith("features.")}
        filled(network.vgg, self.vgg, {n.removeprefix("features."): t for n, t in convolutions.items()})
        learned = _read(self.linear, self.linear_sha256)
        for k in range(len(network.ends)):
            own = {n.removeprefix(f"lin{k}."): t for n, t in learned.items() if n.startswith(f"lin{k}.")}
            filled(network.get_submodule(f"lin{k}"), self.linear, own)
        return network.to(device).eval().requires_grad_(False)


def _read(path: Path, expected: str) -> dict[str, Tensor]:
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); expected the weights of LPIPS") from error
    if found != expected.strip().lower():
        raise EffaceError(f"{path}: found the sha256 {found}, expected {expected}; fetch the file again, or correct it")
    return read(path)
