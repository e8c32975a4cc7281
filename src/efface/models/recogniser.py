"""What every face recogniser states about itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class InputConvention:
    """How a network wants an aligned crop: resize to `size`, order the channels, then (x − mean) / std."""

    size: int = 112
    """Side in pixels."""
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """Per channel in the network's order, on the 0–255 scale."""
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    """Per channel in the network's order, on the 0–255 scale."""


class Recogniser(ABC):
    """A kind of recogniser: how to build its network and what its checkpoints mean.

    Subclasses are frozen dataclasses, one a file in `models/recognition/`; fields are what varies (a depth, say).
    """

    convention: ClassVar[InputConvention]
    embedding_size: ClassVar[int]
    """Length of the embedding (before normalisation)."""
    origin: ClassVar[str]
    """Where the published weights come from."""
    shipped: ClassVar[Path | None] = None
    """Weights that come with efface, where there are any."""
    licence: ClassVar[str]
    """Licence of the published weights, SPDX identifier or words."""
    commercial: ClassVar[Literal["yes", "no", "unknown"]]
    """Whether the published weights may be used commercially; unknown where their training photos leave it open."""
    output: ClassVar[tuple[str | None, str]]
    """Names of the last linear map (Conv2d 1×1 or Linear; None if there is none) and of the BatchNorm after it, or of
    the linear map alone as (None, name)."""
    blocks: ClassVar[tuple[tuple[str, ...], ...]]
    """Groups of names of modules that together hold all weights, in order from input to output; what follows the last
    residual block is one group. These are the blocks of "the last k blocks", so the network's forward pass only calls
    these modules one after the other, and flattens: what it computed in between would be computed twice where training
    begins at a later block."""
    fixed: ClassVar[tuple[str, ...]] = ()
    """State-dict names of parameters that are never trained."""

    @property
    def name(self) -> str:
        """The registered name: that of the file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def build(self) -> nn.Module:
        """A freshly initialised network: float32 [n, 3, size, size] -> embeddings [n, embedding_size], not
        normalised. Its state-dict names and shapes are those of the published checkpoint."""

    def of(self, weights: Path) -> "Recogniser":
        """The same, completed by what its weights file says (most know all beforehand and are returned as they are).
        Raises EffaceError where the file does not say it."""
        return self

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename what a published file holds to the network's state-dict names (most need nothing). Only names may
        change: the way back, for saving in the published format, follows from the tensors being the same objects.
        Names that already are the network's stay."""
        return tensors


def weights_beside(file: str) -> Path | None:
    """The safetensors file of a network's own name in the folder of its module; None where it has not come along."""
    path = Path(file).with_suffix(".safetensors")
    return path if path.is_file() else None


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Draw the weights of a network anew, from `generator` alone, and return it: convolutions and linear maps normal
    with variance 2 / fan-in (He et al. 2015, arXiv 1502.01852), biases 0, BatchNorm at rest, PReLU 0.25."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            drawn = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
            module.weight.copy_(drawn)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(0.25)
    return network
