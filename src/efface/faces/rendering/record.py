"""What is known of a rendered photo."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PhotoRecord:
    """Everything that was decided for one photo. Picture coordinates are in pixels (x, y) of the photo, the first
    pixel's centre being (0, 0)."""

    person: str
    """Name, as `person-017`."""
    photo: int
    """Number of the photo among the person's photos, from 0."""
    camera: np.ndarray
    """float32 [25]: the 4×4 camera-to-world matrix row by row (OpenCV axes: x right, y down, z forward; world: y up,
    the face looks along +z, 1 unit = 40 cm), then the 3×3 intrinsics row by row, in units of the picture's side, its
    upper left corner being (0, 0) (EG3D, Chan et al. 2022, arXiv 2112.07945)."""
    landmarks: np.ndarray
    """float32 [68, 2]: the iBUG 68 landmarks, projected (hidden ones too)."""
    five: np.ndarray
    """float32 [5, 2]: left eye of the picture, right eye, tip of the nose, mouth's left and right corner."""
    alignment: np.ndarray
    """float32 [2, 3]: maps the photo to the 112 × 112 ArcFace template."""
    expression: dict[str, float]
    """Weights of the expression shapes that are not 0, by name."""
    light: dict[str, list[float]]
    """`key` and `fill`: direction towards the light in the world (unit, 3 numbers) and its RGB strength (3);
    `ambient`: RGB strength (3)."""
    glasses: bool
