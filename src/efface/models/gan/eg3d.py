"""EG3D (Chan et al. 2022, arXiv 2112.07945): a generator of faces that can be turned around."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.models.gan_model import GanModel, Parts, read_parts

_HERE = Path(__file__).parent / "eg3d-weights"


@dataclass(frozen=True, kw_only=True)
class Eg3d(GanModel):
    """A tri-plane generator. The one that comes with efface draws people who never existed, 128 px; Apache-2.0."""

    shipped: ClassVar = _HERE if _HERE.is_dir() else None
    origin: ClassVar = "efface, efface train configs/train/eg3d.yaml; or NVIDIA's, by efface convert"
    licence: ClassVar = "Apache-2.0; NVIDIA's: NVIDIA Source Code License, research only"
    commercial: ClassVar = "unknown"

    def load(self, weights: Path) -> Parts:
        return read_parts(weights, "eg3d")
