"""Geometry of the alignment, and what becomes of photos that cannot be aligned."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE, align, similarity, warp
from efface.faces.detection import Detector
from efface.faces.people import People, Photo
from efface.models.mtcnn import ONet, PNet, RNet


def least_squares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity as a linear system in (a, b, shift x, shift y)."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, right, down = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


def turn(scale: float, degrees: float, right: float, down: float) -> np.ndarray:
    """Crop -> photo: the similarity that a test wants undone."""
    a = np.deg2rad(degrees)
    return np.array([[scale * np.cos(a), -scale * np.sin(a), right], [scale * np.sin(a), scale * np.cos(a), down]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_similarity_is_the_least_squares_one(seed, count):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(50, 30, (2, count, 2))
    np.testing.assert_allclose(similarity(source, target), least_squares(source, target), rtol=1e-6, atol=1e-6)


def test_similarity_never_mirrors():
    mirrored = TEMPLATE * [-1, 1]
    assert np.linalg.det(similarity(mirrored, TEMPLATE)[:, :2]) > 0


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.7, 6.3])
@pytest.mark.parametrize("degrees", [0, -25, 140])
def test_landmarks_come_back_within_a_tenth_of_a_pixel(scale, degrees):
    """Five blurred dots at the template's places, painted into a photo by a known similarity; blur in crop pixels."""
    side = round(112 * scale * 1.5)
    to_photo = turn(scale, degrees, 0, 0)
    to_photo[:, 2] = side / 2 - apply(to_photo, np.array([[56.0, 56.0]]))[0]
    y, x = np.mgrid[:side, :side]
    back = np.linalg.inv(np.vstack([to_photo, [0, 0, 1]]))[:2]
    at = apply(back, np.stack([x.ravel(), y.ravel()], 1)).reshape(side, side, 2)
    light = sum(np.exp(-((at - p) ** 2).sum(-1) / (2 * 2.5**2)) for p in TEMPLATE)
    photo = np.repeat(np.rint(250 * light).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)

    crop = warp(photo, similarity(apply(to_photo, TEMPLATE), TEMPLATE)).astype(float)[..., 0]

    for px, py in TEMPLATE:
        left, top = round(px) - 7, round(py) - 7
        window = crop[top : top + 15, left : left + 15]
        v, u = np.mgrid[top : top + 15, left : left + 15]
        centre = np.array([(window * u).sum(), (window * v).sum()]) / window.sum()
        assert np.linalg.norm(centre - [px, py]) < 0.1


def test_identity_warp_changes_nothing():
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert (warp(picture, np.eye(2, 3)) == picture).all()


def test_shrinking_averages_instead_of_aliasing():
    board = (np.indices((1120, 1120)).sum(0) % 2 * 255).astype(np.uint8)
    crop = warp(np.repeat(board[..., None], 3, axis=2), turn(0.1, 17, 0, 0))
    inside = crop[40:60, 40:60].astype(float)
    assert abs(inside.mean() - 127.5) < 3 and inside.std() < 6


def test_beyond_the_border_the_border_is_repeated():
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, 0], picture[:, -1], picture[0] = 200, 100, 50
    crop = warp(picture, np.array([[1.0, 0, 40], [0, 1, 40]]))
    assert (crop[45:60, :40] == 200).all() and (crop[45:, 70:] == 100).all() and (crop[:40] == 50).all()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def blind() -> Detector:
    """A detector with weights of zero, which never sees a face."""
    networks = PNet(), RNet(), ONet()
    for network in networks:
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
    return Detector(*networks, digest="0" * 64)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)


def test_aligned_photos_are_taken_as_they_are(picture):
    double = np.kron(picture, np.ones((2, 2, 1), np.uint8))
    people = People.of([Photo("a", "a/1", data=png(picture)), Photo("b", "b/1", data=png(double))], aligned=True)
    ticks = []
    crops, notes = align(people, tick=ticks.append)
    assert crops.identities == ("a", "b") and crops.names == ("a/1", "b/1") and ticks == [1, 1]
    assert (crops.pixels[0].permute(1, 2, 0).numpy() == picture).all()
    assert crops.pixels.shape == (2, 3, 112, 112)
    assert notes.photos == 2 and not notes.no_face and not notes.several_faces


def test_aligned_photos_must_be_square(picture):
    people = People.of([Photo("a", "a/1", data=png(picture[:100]))], aligned=True)
    with pytest.raises(EffaceError, match="a/1: found 112×100 pixels, expected an aligned crop"):
        align(people)


def test_photos_that_need_a_detector_say_so(picture):
    with pytest.raises(EffaceError, match=r"detector: found none.*give --detector FOLDER"):
        align(People.of([Photo("a", "a/1", data=png(picture))]))


def test_corrupt_photo_is_named(picture, tmp_path):
    path = tmp_path / "broken.png"
    path.write_bytes(png(picture)[:2000])
    with pytest.raises(EffaceError, match=r"broken\.png: not a readable picture") as error:
        align(People.of([Photo("a", "a/broken.png", path)]), blind())
    assert "\n" not in str(error.value)


def test_no_face_anywhere_is_an_error(picture):
    photos = [Photo("a", "a/1", data=png(picture)), Photo("a", "a/2", data=png(picture[:1, :1]))]
    with pytest.raises(EffaceError, match="found no face in any of 2 photos"):
        align(People.of(photos), blind())
