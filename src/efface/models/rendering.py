"""How a tri-plane generator is rendered: what its weights do not say and its training fixed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efface.errors import EffaceError
from efface.models.rays import PIVOT, RADIUS
from efface.models.stylegan2 import Noise


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """The defaults are those of EG3D's faces at 512 pixels. Distances are in world units. Raises EffaceError where a
    number is out of range."""

    neural_resolution: int = 128
    """Side in pixels of what the rays see, before super-resolution."""
    near: float | None = 2.25
    """Distance of the first sample from the camera; None: where the ray enters the box."""
    far: float | None = 3.3
    """Of the last; None: where it leaves the box."""
    box: float = 1.0
    """Side of the cube that the planes span."""
    samples: int = 48
    """Along each ray."""
    importance_samples: int = 48
    """More of them where the first met something; 0 is none."""
    disparity: bool = False
    """Whether samples are even in 1 / distance instead of in distance."""
    white_background: bool = False
    """Whether a ray that meets nothing is white instead of black."""
    pivot: tuple[float, float, float] = PIVOT
    """What cameras look at."""
    radius: float = RADIUS
    """Their distance from the origin."""
    conditioning: float = 1.0
    """What the camera that conditions the mapping is multiplied by; 0 leaves it out."""
    noise: Noise = "none"
    """Of the super-resolution's layers."""

    def __post_init__(self) -> None:
        numbers = [
            v for v in (self.near, self.far, self.box, self.radius, self.conditioning, *self.pivot) if v is not None
        ]
        if not all(map(math.isfinite, numbers)):
            raise EffaceError(f"rendering: found {numbers}, expected finite numbers")
        if (self.near is None) != (self.far is None) or (self.near is not None and not 0 < self.near < (self.far or 0)):
            raise EffaceError(
                f"rendering: found near {self.near} and far {self.far}, expected 0 < near < far, or none of either for "
                "the limits of the box"
            )
        least = 4 if self.importance_samples else 2
        for name, low in (("neural_resolution", 1), ("samples", least), ("importance_samples", 0)):
            if getattr(self, name) < low:
                raise EffaceError(f"rendering: found {name} {getattr(self, name)}, expected at least {low}")
        for name in ("box", "radius"):
            if getattr(self, name) <= 0:
                raise EffaceError(f"rendering: found {name} {getattr(self, name):g}, expected a number above 0")

    @classmethod
    def published(cls, options: Mapping[str, Any], neural_resolution: int) -> "Rendering":
        """From the `rendering_kwargs` of an official network. Raises EffaceError for one that efface cannot render."""
        for name, known in (("clamp_mode", "softplus"), ("decoder_lr_mul", 1), ("sr_antialias", True)):
            if options.get(name, known) != known:
                raise EffaceError(
                    f"rendering: found {name} {options[name]!r}, expected {known!r}; give another network"
                )
        taken = {ours: options[theirs] for theirs, ours in _PUBLISHED.items() if theirs in options}
        taken |= {n: None for n in ("near", "far") if taken.get(n) == "auto"}
        if "pivot" in taken:
            taken["pivot"] = tuple(taken["pivot"])
        if options.get("c_gen_conditioning_zero"):
            taken["conditioning"] = 0.0
        return cls(neural_resolution=neural_resolution, **taken)


_PUBLISHED = {
    "ray_start": "near",
    "ray_end": "far",
    "box_warp": "box",
    "depth_resolution": "samples",
    "depth_resolution_importance": "importance_samples",
    "disparity_space_sampling": "disparity",
    "white_back": "white_background",
    "avg_camera_pivot": "pivot",
    "avg_camera_radius": "radius",
    "c_scale": "conditioning",
    "superresolution_noise_mode": "noise",
}
"""Official names of the fields."""
