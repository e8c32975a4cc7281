"""A small real diffusion model for tests and `--tiny` runs: the layout of `shipped` with 16 channels everywhere, 64 px
pictures, conditioned on the tiny recogniser's embedding. Trained on drawn people only
(efface.testing.train_tiny_diffusion)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.models.diffusion.shipped import ShippedDiffusion
from efface.models.diffusion_model import DiffusionModel, Parts, Window

WEIGHTS = Path(__file__).parents[2] / "testing" / "tiny-diffusion"
"""Folder of the weights that come with efface, with their card."""


@dataclass(frozen=True, kw_only=True)
class TinyDiffusion(DiffusionModel):
    """The small diffusion model of the tests: 64 px, trained on drawn people, knows no real face; Apache-2.0."""

    shipped: ClassVar = WEIGHTS
    origin: ClassVar = "efface, python -m efface.testing.train_tiny_diffusion, on drawn people"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"
    embedding_size: ClassVar = 64
    recogniser: ClassVar = "tiny"
    size: ClassVar = 64
    window: ClassVar = Window(left=0, top=0, side=64)
    aligned: ClassVar = True
    steps: ClassVar = 8
    guidance: ClassVar = 2.0

    def load(self, weights: Path) -> Parts:
        """Read a folder in the layout of `shipped`."""
        return ShippedDiffusion().load(weights)

    def save(self, parts: Parts, folder: Path, source: Path, **extra: str) -> None:
        """Write a folder in the layout of `shipped`."""
        ShippedDiffusion().save(parts, folder, source, **extra)
