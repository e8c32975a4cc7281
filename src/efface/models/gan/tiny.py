"""A tiny tri-plane generator with random weights, for tests and `--tiny` runs (`efface.testing.tiny_gan`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.models.gan_model import GanModel, Parts, read_parts

WEIGHTS = Path(__file__).parents[2] / "testing" / "tiny-gan"
"""Folder of the weights that come with efface, with their card."""


@dataclass(frozen=True, kw_only=True)
class TinyGan(GanModel):
    """The tiny tri-plane generator of dry runs: 32 px, random weights, draws blots and no face; Apache-2.0."""

    shipped: ClassVar = WEIGHTS
    origin: ClassVar = "efface, efface.testing.tiny_gan, random weights"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"

    def load(self, weights: Path) -> Parts:
        return read_parts(weights, "eg3d")
