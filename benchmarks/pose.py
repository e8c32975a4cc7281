"""How well a photo's five landmarks tell from where it was taken.

    python -m benchmarks.pose      ten seconds on one core

The last PHOTOS photos of the pack, turned by up to 60°, whose cameras are known; the average face is that of the first
240. Prints by how much the yaw is off, in degrees.
"""

import numpy as np
import torch

from efface.faces.datasets.people import PACK
from efface.faces.pose import cameras_of
from efface.faces.rendering.reading import album
from efface.models.gan_model import GanModel, triangulated

PHOTOS, FACE = 840, 240


def yaws(cameras: np.ndarray) -> np.ndarray:
    """Degrees [n] of cameras [n, 25]."""
    return np.degrees(np.arctan2(-cameras[:, 2], -cameras[:, 10]))


def main() -> None:
    """Measure and print."""
    photos, records = zip(*album(PACK), strict=True)
    cameras = np.stack([record.camera for record in records]).astype(np.float64)
    size, place = GanModel.size, GanModel.window
    five = (np.stack([record.five for record in records]).astype(np.float64) + 0.5) / size
    face = np.stack([triangulated(cameras[:FACE], five[:FACE, i]) for i in range(5)])
    found = cameras_of(photos[-PHOTOS:], torch.from_numpy(face), size, place.left, place.top, place.side)
    off = np.abs(yaws(found.numpy()) - yaws(cameras[-PHOTOS:]))
    print(f"{PHOTOS} photos: yaw off by {off.mean():.1f}° in the mean, {off.max():.1f}° at most")


if __name__ == "__main__":
    main()
