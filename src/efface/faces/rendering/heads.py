"""The morphable head: ICT-FaceKit's face model (Li et al. 2020, https://github.com/ICT-VGL/ICT-FaceKit, MIT)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from efface.errors import EffaceError


@dataclass(frozen=True)
class Heads:
    """A base mesh, identity modes and expression shapes. Lengths in cm; x to the person's left, y up, z forward."""

    base: np.ndarray
    """Vertices of the mean face, float32 [V, 3]."""
    identity: np.ndarray
    """Offsets of the identity modes, each of unit variance, float32 [modes, V, 3]."""
    expression: np.ndarray
    """Offsets of the expression shapes at weight 1, float32 [shapes, V, 3]."""
    expressions: tuple[str, ...]
    """Their names, as `jawOpen`."""
    triangles: np.ndarray
    """Vertex numbers, int32 [T, 3]."""
    corners: np.ndarray
    """Rows of `uv` of each triangle's corners, int32 [T, 3]."""
    uv: np.ndarray
    """Texture coordinates, float32 [U, 2]."""
    material: np.ndarray
    """Index into `materials` of each triangle, uint8 [T]."""
    materials: tuple[str, ...]
    """Their names, as `M_Face`."""
    landmarks: np.ndarray
    """Vertex numbers of the 68 landmarks, int64 [68]."""

    @classmethod
    def load(cls, path: Path) -> "Heads":
        """Read the packed file (ict_model.npz)."""
        try:
            with np.load(path, allow_pickle=False) as z:
                f32 = np.float32
                return cls(
                    z["base"].astype(f32), z["ids"].astype(f32), z["ex"].astype(f32),
                    tuple(map(str, z["ex_names"])), z["tri"].astype(np.int32), z["tri_uv"].astype(np.int32),
                    z["uv"].astype(f32), z["tri_mat"], tuple(map(str, z["mats"])), z["lm68"],
                )  # fmt: skip
        except (OSError, KeyError, ValueError) as error:
            raise EffaceError(f"{path}: not a packed head model ({error})") from error
