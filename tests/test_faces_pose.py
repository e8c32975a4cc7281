"""From where a framed photo was taken."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE
from efface.faces.datasets.people import PACK
from efface.faces.detection import Detection, Detector
from efface.faces.people import Photo
from efface.faces.pose import camera_of, cameras_of
from efface.faces.rendering.reading import album
from efface.models import rays
from efface.models.gan_model import triangulated

FACE = np.array(
    [[-0.08, 0.02, 0.23], [0.08, 0.02, 0.23], [0, -0.06, 0.33], [-0.066, -0.156, 0.25], [0.066, -0.156, 0.25]]
)


def seen(camera: np.ndarray, face: np.ndarray = FACE) -> np.ndarray:
    """Where points lie in a camera's picture, in its sides."""
    pose, inner = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    local = np.linalg.inv(pose) @ np.vstack([face.T, np.ones(len(face))])
    flat = inner @ local[:3]
    return (flat[:2] / flat[2]).T


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.0, 1.0), st.floats(-0.5, 0.5), st.floats(-0.8, 0.8), st.floats(2.2, 3.5))
def test_a_camera_is_found_again_by_what_it_sees(yaw, pitch, roll, radius):
    camera = rays.camera(yaw, pitch, radius=radius)[0].double().numpy()
    pose = camera[:16].reshape(4, 4)
    cos, sin = np.cos(roll), np.sin(roll)
    pose[:3, :3] = pose[:3, :3] @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    found = camera_of(seen(camera), FACE)
    assert np.abs(found - camera).max() < 1e-4
    rays.check(torch.from_numpy(found[None]))


def test_landmarks_that_fit_no_camera_give_the_nearest(generator):
    off = 0.01 * torch.randn(5, 2, generator=generator).double().numpy()
    wanted = seen(rays.camera(0.4)[0].double().numpy()) + off
    found = camera_of(wanted, FACE)
    least = np.square(seen(found) - wanted).sum()
    for axis in range(3):
        for step in (-1e-3, 1e-3):
            moved = found.copy()
            moved[3 + 4 * axis] += step
            assert np.square(seen(moved) - wanted).sum() > least


def pack(start: int, stop: int):
    """Some photos of the pack and the cameras that they were rendered by."""
    found = list(album(PACK))[start:stop]
    return [photo for photo, _ in found], np.stack([record.camera for _, record in found]).astype(float), found


def yaws(cameras: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(-cameras[:, 2], -cameras[:, 10]))


def test_rendered_photos_tell_their_yaw():
    _, cameras, found = pack(0, 240)
    five = (np.stack([record.five for _, record in found]).astype(float) + 0.5) / 128
    face = torch.from_numpy(np.stack([triangulated(cameras, five[:, i]) for i in range(5)]))
    photos, truth, _ = pack(600, 720)
    told = cameras_of(photos, face, 128, 8, 12, 112)
    assert told.dtype == torch.float32 and told.shape == (120, 25)
    rays.check(told)
    off = np.abs(yaws(told.numpy()) - yaws(truth))
    assert np.abs(yaws(truth)).max() > 45 and off.mean() < 4 and off.max() < 15, (off.mean(), off.max())


class Found(Detector):
    """Finds what it is given."""

    def __init__(self, *landmarks: np.ndarray) -> None:
        self.faces = [Detection(np.zeros(4), 1.0, five) for five in landmarks]

    def find(self, pixels: np.ndarray) -> list[Detection]:
        return self.faces


def test_a_photo_of_ones_own_takes_its_landmarks_from_the_detector():
    file = io.BytesIO()
    Image.new("RGB", (200, 200)).save(file, "png")
    photo = Photo("me", "me/1.png", data=file.getvalue())
    five = TEMPLATE * 1.5 + [10, 20]  # the template itself, larger: it looks straight ahead
    face = torch.from_numpy(FACE)
    place = (128, 8, 12, 112)
    (camera,) = cameras_of([photo], face, *place, detector=Found(five))
    (same,) = cameras_of([Photo("me", "me/1.png", five=tuple(five.ravel()))], face, *place)
    assert torch.equal(camera, same) and abs(yaws(camera.numpy()[None])[0]) < 3
    with pytest.raises(EffaceError, match=r"me/1\.png: found neither its landmarks nor a detector"):
        cameras_of([photo], face, *place)
    with pytest.raises(EffaceError, match=r"me/1\.png: found no face, expected one"):
        cameras_of([photo], face, *place, detector=Found())
    assert cameras_of([], face, *place).shape == (0, 25)
