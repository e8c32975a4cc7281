"""The camera of a photo, and its 25 numbers."""

from dataclasses import dataclass

import numpy as np

from efface.faces.rendering.shot import Shot

UNIT = 40.0
"""Centimetres in one unit of the recorded camera's world."""
ORIGIN = np.array([0.0, 2.7, 0.0])
"""Of that world, in head space (cm)."""
PIVOT = np.array([0.0, 2.7, 6.0])
"""What the camera looks at and turns around, head space (cm)."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in head space (cm)."""

    axes: np.ndarray
    """Rows: right, down, forward; float64 [3, 3]."""
    place: np.ndarray
    """float64 [3]."""
    focal: float
    """In sides of the picture; the principal point is its middle."""

    @classmethod
    def of(cls, shot: Shot) -> "Camera":
        """Yaw and pitch move the camera on a sphere around PIVOT; roll turns it around its own axis."""
        side, up = np.sin(shot.yaw), np.sin(shot.pitch)
        back = np.array([side * np.cos(shot.pitch), up, np.cos(shot.yaw) * np.cos(shot.pitch)])
        right = np.array([np.cos(shot.yaw), 0, -side])
        down = np.cross(-back, right)
        pivot = PIVOT + shot.middle[0] * right - shot.middle[1] * down
        cos, sin = np.cos(shot.roll), np.sin(shot.roll)
        axes = np.stack([cos * right - sin * down, sin * right + cos * down, -back])
        return cls(axes, pivot + shot.distance * back, shot.distance / shot.field)

    def numbers(self) -> np.ndarray:
        """Camera-to-world 4×4 and intrinsics 3×3, row by row, float32 [25] (EG3D's form; see PhotoRecord)."""
        world = np.eye(4)
        world[:3, :3], world[:3, 3] = self.axes.T, (self.place - ORIGIN) / UNIT
        intrinsics = np.array([[self.focal, 0, 0.5], [0, self.focal, 0.5], [0, 0, 1]])
        return np.concatenate([world.ravel(), intrinsics.ravel()]).astype(np.float32)

    def pixels(self, points: np.ndarray, size: int) -> np.ndarray:
        """Head-space points [n, 3] -> pixels (x, y) [n, 2] of a picture of this size, the first pixel's centre being
        (0, 0)."""
        seen = (points - self.place) @ self.axes.T
        return (self.focal * seen[:, :2] / seen[:, 2:] + 0.5) * size - 0.5
