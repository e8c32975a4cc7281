"""What every identity-conditioned diffusion model states about itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from efface.models.schedule import Schedule


class Tokens(Protocol):
    """What turns face embeddings into what the denoising network attends to; an nn.Module."""

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Tokens [n, k, c] of unit embeddings [n, d]."""
        ...

    def unconditioned(self, count: int) -> Tensor:
        """Tokens [count, k, c] of nobody: what guidance moves away from."""
        ...


class Pictures(Protocol):
    """The auto-encoder; an nn.Module."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents [n, c, h, w], scaled as the denoising network wants them, of pictures float32 [n, 3, H, W] in
        −1 … 1."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """The way back; values may lie a little outside −1 … 1."""
        ...


@dataclass
class Parts:
    """A loaded model."""

    unet: Any
    """diffusers' UNet2DConditionModel: unet(z, t, encoder_hidden_states=tokens).sample."""
    projector: Any
    """`Tokens`."""
    autoencoder: Any
    """`Pictures`."""
    schedule: Schedule

    def modules(self) -> tuple[nn.Module, ...]:
        """The three networks."""
        return self.unet, self.projector, self.autoencoder


@dataclass(frozen=True)
class Window:
    """Where the aligned face lies in a generated picture, of which each is aligned the same way."""

    left: int
    top: int
    side: int
    """Pixels of the picture."""


class DiffusionModel(ABC):
    """A kind of model: how its published files are read and written. Subclasses are frozen dataclasses, one a file in
    `models/diffusion/`."""

    shipped: ClassVar[Path | None] = None
    """Folder of the weights that come with efface, where there are any."""
    origin: ClassVar[str]
    """Where the published weights come from."""
    licence: ClassVar[str]
    """Licence of the published weights, SPDX identifier or words."""
    commercial: ClassVar[Literal["yes", "no", "unknown"]]
    """Whether the published weights may be used commercially."""
    embedding_size: ClassVar[int]
    """Length of the embedding that conditions it."""
    recogniser: ClassVar[str]
    """Name of the recogniser whose embeddings condition it."""
    size: ClassVar[int]
    """Side of a generated picture in pixels."""
    window: ClassVar[Window]
    """Where the face of a generated picture is, for losses that need gradients through it and for pictures in which
    no detector looks for the face."""
    aligned: ClassVar[bool]
    """True where every generated picture is aligned, so that no detector is needed to recognise it."""
    steps: ClassVar[int]
    """Sampling steps that its authors use."""
    guidance: ClassVar[float]
    """Guidance scale that its authors use; 1 is none."""
    bf16: ClassVar[bool] = False
    """Whether pictures are drawn in bf16 where a CPU multiplies it natively; True where that was measured to change
    nobody's likeness."""

    @property
    def name(self) -> str:
        """The registered name: that of the file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def load(self, weights: Path) -> Parts:
        """Read a folder of the published layout. Raises EffaceError naming what is missing or of another shape."""

    @abstractmethod
    def save(self, parts: Parts, folder: Path, source: Path, **extra: str) -> None:
        """Write the model into an existing folder, in the layout it came in; weights of the UNet as float32.

        source: the folder that the unchanged parts are copied from. extra: for the headers."""

    def recogniser_weights(self, weights: Path) -> Path | None:
        """The recogniser's file in the folder; None: the one that comes with efface."""
        return None


def frozen(parts: Parts, device: torch.device) -> Parts:
    """The same on a device, in evaluation mode, nothing requiring a gradient."""
    for module in parts.modules():
        module.to(device).eval().requires_grad_(False)
    return parts
