"""From photos to aligned crops: find the faces, take the largest, warp it once to the ArcFace template."""

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from efface.errors import EffaceError
from efface.faces.cache import CropCache, Found
from efface.faces.crops import SIZE, Crops
from efface.faces.detection import Detector
from efface.faces.people import People, Photo
from efface.progress import Tick

VERSION = 2
"""Counted up whenever detection or alignment gives other crops, so that older cached ones are not used."""

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where the five landmarks go in a 112×112 crop, pixels (x, y), the first pixel's centre being (0, 0)
(Deng et al. 2019, ArcFace, arXiv 1801.07698; InsightFace's values)."""


@dataclass(frozen=True)
class AlignmentNotes:
    """What became of the photos: nothing is dropped without being named here."""

    photos: int
    """How many there were."""
    no_face: tuple[str, ...] = ()
    """Names of the photos in which no face was found; they have no crop."""
    several_faces: tuple[str, ...] = ()
    """Names of the photos with more than one face; the crop is of the largest."""


def align(
    people: People,
    detector: Detector | None = None,
    cache: CropCache | None = None,
    tick: Tick | None = None,
    pixels: torch.Tensor | None = None,
) -> tuple[Crops, AlignmentNotes]:
    """The crops of all photos in the order of `people`, and what was found on the way.

    detector: not needed where the photos are aligned already or know their alignment. tick: told 1 after each photo.
    pixels: where the crops go, uint8 [photos, 3, 112, 112]; None makes room in memory.
    Raises EffaceError for a photo that cannot be read (naming its file), for photos that need a detector where none is
    given, and where no face is found in any photo.
    """
    photos = [photo for group in people.photos.values() for photo in group]
    if pixels is None:
        pixels = torch.empty((len(photos), 3, SIZE, SIZE), dtype=torch.uint8)
    kept, no_face, several = [], [], []
    for photo in photos:
        if people.aligned:
            found = Found(1, read_aligned(photo))
        elif photo.alignment is not None:
            found = Found(1, warp(photo.pixels(), np.reshape(photo.alignment, (2, 3))))
        elif detector is not None:
            found = align_photo(photo, detector, cache)
        else:
            raise EffaceError(
                f"detector: found none, and the photos ({photo.name}, ...) are not aligned crops; give "
                "--detector FOLDER (YAML: detector) with MTCNN's pnet.pt, rnet.pt and onet.pt"
            )
        if found.crop is None:
            no_face.append(photo.name)
        else:
            pixels[len(kept)] = torch.from_numpy(found.crop.copy()).permute(2, 0, 1)
            kept.append(photo)
        if found.faces > 1:
            several.append(photo.name)
        if tick:
            tick(1)
    if not kept:
        raise EffaceError(f"found no face in any of {len(photos)} photos, expected one in each; check the photos")
    crops = Crops(pixels[: len(kept)], tuple(p.identity for p in kept), tuple(p.name for p in kept))
    return crops, AlignmentNotes(len(photos), tuple(no_face), tuple(several))


def align_photo(photo: Photo, detector: Detector, cache: CropCache | None = None) -> Found:
    """The largest face of one photo, aligned; from the cache where it holds the photo's content."""
    photo = replace(photo, data=photo.encoded())  # read once
    key = content_key(photo, detector)
    found = cache.get(key) if cache else None
    if found is None:
        pixels = photo.pixels()
        faces = detector.find(pixels)
        crop = warp(pixels, alignment_of(faces[0].landmarks)) if faces else None
        found = Found(len(faces), crop)
        if cache:
            cache.put(key, found)
    return found


def content_key(photo: Photo, detector: Detector) -> str:
    """64 hexadecimal digits that stand for the photo's bytes, the detector's weights and this code's version."""
    parts = hashlib.sha256(photo.encoded()).hexdigest(), detector.digest, str(VERSION)
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def read_aligned(photo: Photo) -> np.ndarray:
    """A photo that is an aligned crop already -> uint8 [112, 112, 3]; another size is resized if it is square."""
    pixels = photo.pixels()
    check_aligned(photo, pixels)
    if len(pixels) == SIZE:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def check_aligned(photo: Photo, pixels: np.ndarray) -> None:
    """Raise EffaceError where the pixels [height, width, 3] of a photo are no square, as an aligned crop is."""
    height, width = pixels.shape[:2]
    if height != width:
        raise EffaceError(
            f"{photo.path or photo.name}: found {width}×{height} pixels, expected an aligned crop, {SIZE}×{SIZE}; "
            "align the photos with efface align"
        )


def alignment_of(five: np.ndarray) -> np.ndarray:
    """The matrix [2, 3] that maps a photo with these five landmarks [5, 2] to the template."""
    return similarity(five, TEMPLATE)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity [2, 3] (rotation, one scale, shift; no mirroring) that maps source [n, 2] to target [n, 2] with
    the least squared error: Umeyama 1991, IEEE TPAMI 13(4), equations 40–42, in closed form for the plane."""
    p = source - source.mean(0)
    q = target - target.mean(0)
    spread = (p**2).sum()
    a = (p * q).sum() / spread
    b = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.hstack([turn, (target.mean(0) - turn @ source.mean(0))[:, None]])


def warp(pixels: np.ndarray, matrix: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The crop uint8 [size, size, 3] whose pixel at `matrix @ (x, y, 1)` is the picture's at (x, y).

    Bilinear, beyond the border the border's pixels; where the picture is shrunk k times, each pixel of the crop is the
    mean of ⌈k⌉ × ⌈k⌉ (at most 16 × 16) evenly spaced samples of its area, against aliasing.
    """
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    samples = min(16, max(1, math.ceil(math.sqrt(abs(np.linalg.det(inverse[:, :2]))) - 1e-6)))
    inner = (np.arange(samples) + 0.5) / samples - 0.5
    y, x = np.mgrid[:size, :size].astype(np.float64)
    total = np.zeros((size, size, 3))
    for dy in inner:
        for dx in inner:
            points = inverse[:, :2] @ np.stack([x.ravel() + dx, y.ravel() + dy]) + inverse[:, 2:]
            total += _bilinear(pixels, *points).reshape(size, size, 3)
    return np.rint(total / samples**2).astype(np.uint8)


def _bilinear(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values float64 [n, 3] of a picture [h, w, 3] at points [n], the border repeated outwards."""
    height, width = pixels.shape[:2]
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = x.astype(int), y.astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = pixels[top, left] * (1 - u) + pixels[top, right] * u
    lower = pixels[bottom, left] * (1 - u) + pixels[bottom, right] * u
    return upper * (1 - v) + lower * v
