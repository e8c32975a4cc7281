"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958): a generator of pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.models.gan_model import GanModel, Parts, read_parts

_HERE = Path(__file__).parent / "stylegan2-weights"


@dataclass(frozen=True, kw_only=True)
class StyleGan2(GanModel):
    """A generator of pictures. The one that comes with efface draws people who never existed, 128 px; Apache-2.0."""

    shipped: ClassVar = _HERE if _HERE.is_dir() else None
    origin: ClassVar = "efface, efface train configs/train/stylegan2.yaml; or NVIDIA's, by efface convert"
    licence: ClassVar = "Apache-2.0; NVIDIA's: NVIDIA Source Code License, research only"
    commercial: ClassVar = "unknown"

    def load(self, weights: Path) -> Parts:
        return read_parts(weights, "stylegan2")
