"""From where a framed photo was taken: the camera that sees the average face's landmarks where the photo has them.

Framing turns, scales and moves a photo so that its five landmarks come as near as they can to the template's, so the
template says nothing of yaw. What does is how the landmarks as they were found differ from it: a nose that is off the
middle between the eyes is a head that is turned. They come with the photo (rendered ones know theirs) or from a
detector; an aligned crop alone has lost them.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.faces.alignment import alignment_of
from efface.faces.detection import Detector
from efface.faces.framing import moved
from efface.faces.people import Photo
from efface.models.rays import FIELD, intrinsics

STEPS = 100
"""Of Gauss and Newton's method, at most."""


def cameras_of(
    photos: Iterable[Photo], face: Tensor, size: int, left: float, top: float, side: float,
    detector: Detector | None = None, field: float = FIELD,
) -> Tensor:  # fmt: skip
    """Cameras float32 [n, 25] of photos that are framed as `framing.frame` does.

    face: [5, 3], the average face's landmarks in the world (`Parts.face`). size, left, top, side: those of the framing.
    detector: for photos that do not know their landmarks. field: of view of a framed photo, degrees. Raises EffaceError
    for a photo without a face, or without landmarks where there is no detector.
    """
    points = face.cpu().double().numpy()
    found = []
    for photo in photos:
        five = _landmarks(photo, detector)
        matrix = alignment_of(five) if photo.alignment is None else np.reshape(photo.alignment, (2, 3))
        whole = moved(left, top, side) @ np.vstack([matrix, [0, 0, 1]])
        framed = five @ whole[:, :2].T + whole[:, 2]
        found.append(camera_of((framed + 0.5) / size, points, field))
    return torch.from_numpy(np.array(found, np.float32).reshape(-1, 25))


def camera_of(five: np.ndarray, face: np.ndarray, field: float = FIELD) -> np.ndarray:
    """The camera float64 [25] (models/rays.py) that sees the points face [n, 3] nearest to five [n, 2], in sides of the
    picture, by least squares over its rotation and its place; the focal length follows from the field of view and the
    principal point is the middle. n is at least 4."""
    inner = intrinsics(field).double().numpy()
    focal = inner[0, 0]
    wanted = (five - 0.5) / focal
    middle = face.mean(0)
    turn = np.diag([1.0, -1.0, -1.0])  # from the front: y down, z away
    spread = np.linalg.norm((face - middle)[:, :2]) / np.linalg.norm(wanted - wanted.mean(0))
    place = np.array([*wanted.mean(0) * spread, spread]) - turn @ middle
    damping, error = 1e-3, np.inf
    for _ in range(STEPS):
        seen = face @ turn.T + place
        off = (seen[:, :2] / seen[:, 2:] - wanted).ravel()
        slope = _slopes(seen, face @ turn.T)
        square = slope.T @ slope
        step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -slope.T @ off)
        turned, moved_to = _rotation(step[:3]) @ turn, place + step[3:]
        after = face @ turned.T + moved_to
        reached = np.square(after[:, :2] / after[:, 2:] - wanted).sum() if (after[:, 2] > 0).all() else np.inf
        if reached > np.square(off).sum():
            damping *= 10
            if damping > 1e10:
                break
            continue
        turn, place, damping = turned, moved_to, damping / 10
        if error - reached < 1e-16:
            break
        error = reached
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = turn.T, -turn.T @ place
    return np.concatenate([pose.ravel(), inner.ravel()])


def _landmarks(photo: Photo, detector: Detector | None) -> np.ndarray:
    """Pixels (x, y) float64 [5, 2]."""
    if photo.five is not None:
        return np.reshape(photo.five, (5, 2))
    if detector is None:
        raise EffaceError(
            f"{photo.name}: found neither its landmarks nor a detector, expected one to tell from where it was taken; "
            "give --detector FOLDER (YAML: detector) with MTCNN's pnet.pt, rnet.pt and onet.pt"
        )
    faces = detector.find(photo.pixels())
    if not faces:
        raise EffaceError(f"{photo.name}: found no face, expected one; give another photo")
    return faces[0].landmarks.astype(np.float64)


def _slopes(seen: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """How the points in the picture move, [2n, 6], as the camera's rotation vector and place do. seen, turned: [n, 3],
    the points in the camera's axes, and before it was moved."""
    x, y, z = seen.T
    one, none = np.ones_like(x), np.zeros_like(x)
    across = np.stack([np.stack([one, none, -x / z], 1), np.stack([none, one, -y / z], 1)], 1) / z[:, None, None]
    a, b, c = turned.T
    cross = np.stack([np.stack([none, c, -b], 1), np.stack([-c, none, a], 1), np.stack([b, -a, none], 1)], 1)
    return (across @ np.concatenate([cross, np.tile(np.eye(3), (len(x), 1, 1))], 2)).reshape(-1, 6)


def _rotation(vector: np.ndarray) -> np.ndarray:
    """[3, 3], around a vector by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
