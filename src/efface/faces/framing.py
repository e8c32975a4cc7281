"""From photos to pictures in which every face lies in the same place, with what is around it: what a generator is
trained on."""

from collections.abc import Sequence

import numpy as np
import torch

from efface.errors import EffaceError
from efface.faces.alignment import AlignmentNotes, alignment_of, check_aligned, warp
from efface.faces.crops import SIZE, Crops
from efface.faces.detection import Detector
from efface.faces.people import People, Photo
from efface.progress import Tick


def frame(
    people: People,
    size: int,
    left: float,
    top: float,
    side: float,
    detector: Detector | None = None,
    tick: Tick | None = None,
) -> tuple[Crops, AlignmentNotes]:
    """Every photo turned, scaled and cut to `size` × `size` pixels, so that the 112 × 112 ArcFace template lies at
    (left, top) and is `side` wide there: uint8 [n, 3, size, size]; beyond a photo's border, the border's pixels.

    detector: not needed where the photos are aligned already (only the template's part is known then) or know their
    alignment. tick: told 1 after each photo. Raises EffaceError as `alignment.align`.
    """
    photos = [photo for group in people.photos.values() for photo in group]
    pixels = torch.empty((len(photos), 3, size, size), dtype=torch.uint8)
    kept: list[Photo] = []
    no_face, several = [], []
    for photo in photos:
        found = photo.pixels()
        matrix, faces = _placed(photo, found, people.aligned, detector)
        if matrix is None:
            no_face.append(photo.name)
        else:
            whole = moved(left, top, side) @ np.vstack([matrix, [0, 0, 1]])
            pixels[len(kept)] = torch.from_numpy(warp(found, whole, size)).permute(2, 0, 1)
            kept.append(photo)
        if faces > 1:
            several.append(photo.name)
        if tick:
            tick(1)
    if not kept:
        raise EffaceError(f"found no face in any of {len(photos)} photos, expected one in each; check the photos")
    framed = Crops(pixels[: len(kept)], tuple(p.identity for p in kept), tuple(p.name for p in kept))
    return framed, AlignmentNotes(len(photos), tuple(no_face), tuple(several))


def _placed(
    photo: Photo, pixels: np.ndarray, aligned: bool, detector: Detector | None
) -> tuple[np.ndarray | None, int]:
    """(the matrix [2, 3] that maps a photo to the template or None without a face, how many faces were found)."""
    if photo.alignment is not None:
        return np.reshape(photo.alignment, (2, 3)), 1
    if aligned:
        check_aligned(photo, pixels)
        scale = SIZE / pixels.shape[0]
        return np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]]), 1
    if detector is None:
        raise EffaceError(
            f"detector: found none, and the photos ({photo.name}, ...) are not aligned crops; give "
            "--detector FOLDER (YAML: detector) with MTCNN's pnet.pt, rnet.pt and onet.pt"
        )
    faces = detector.find(pixels)
    return (alignment_of(faces[0].landmarks), len(faces)) if faces else (None, 0)


def moved(left: float, top: float, side: float) -> np.ndarray:
    """[2, 3]: the template's pixels to those of the frame; a pixel's centre is a whole number in both."""
    scale = side / SIZE
    return np.array([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])


def template_in(pictures: torch.Tensor, place: Sequence[int]) -> torch.Tensor:
    """The template's part of framed pictures [n, 3, size, size], float32 [n, 3, 112, 112], with gradient. place: (left,
    top, side) in pixels."""
    left, top, side = place
    crop = pictures[..., top : top + side, left : left + side].float()
    if side != SIZE:
        resize = torch.nn.functional.interpolate
        crop = resize(crop, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return crop
