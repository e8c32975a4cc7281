"""The renderer: geometry, determinism, what the pictures show."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba")

from efface.faces.rendering import raster
from efface.faces.rendering.body import EYE, Body, Shadow
from efface.faces.rendering.camera import ORIGIN, UNIT, Camera
from efface.faces.rendering.heads import Heads
from efface.faces.rendering.noise import value
from efface.faces.rendering.shot import Shot, draw_shot
from efface.faces.rendering.studio import Studio

SIZE = 128


@pytest.fixture(scope="module")
def studio(data: Path) -> Studio:
    return Studio(Heads.load(data / "heads-ict" / "ict_model.npz"))


def shots(count: int) -> list[Shot]:
    names = tuple(f"{n}_{s}" for n in ("eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeBlink") for s in "LR")
    return [draw_shot(np.random.default_rng(i), (*names, *_names()), 0.2) for i in range(count)]


def _names() -> tuple[str, ...]:
    from efface.faces.rendering.shot import PRESETS

    both = sorted({n for preset in PRESETS.values() for n in preset})
    return tuple(n for name in both for n in ([name] if name.startswith("jaw") else [f"{name}_L", f"{name}_R"]))


def by_the_numbers(camera: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """EG3D's convention, written out: homogeneous world -> camera -> intrinsics -> pixels."""
    world, intrinsics = camera[:16].astype(float).reshape(4, 4), camera[16:].astype(float).reshape(3, 3)
    homogeneous = np.concatenate([(points - ORIGIN) / UNIT, np.ones((len(points), 1))], 1)
    seen = (np.linalg.inv(world) @ homogeneous.T)[:3]
    flat = intrinsics @ seen
    return (flat[:2] / flat[2]).T * size - 0.5


def test_the_25_numbers_are_a_camera_of_right_angles_that_sees_the_face_upright() -> None:
    for shot in shots(40):
        camera = Camera.of(shot)
        world = camera.numbers()[:16].reshape(4, 4)
        turn = world[:3, :3].astype(float)
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-6)
        assert np.linalg.det(turn) == pytest.approx(1, abs=1e-5)
        assert world[3].tolist() == [0, 0, 0, 1]
        # the person's left is on the picture's right, up is up, the face is in front of the camera
        marks = np.array([[-3.0, 3.4, 9.0], [3.0, 3.4, 9.0], [0.0, -3.4, 11.0]])
        right, left, mouth = camera.pixels(marks, SIZE)
        assert right[0] < left[0] and mouth[1] > (right[1] + left[1]) / 2
        np.testing.assert_allclose(camera.pixels(marks, SIZE), by_the_numbers(camera.numbers(), marks, SIZE), atol=0.02)


def test_positive_yaw_shows_the_persons_left_side() -> None:
    shot = next(s for s in shots(50) if s.yaw > 0.5)
    place = Camera.of(shot).place
    assert place[0] > 10


def test_fill_covers_what_a_triangle_covers_and_keeps_the_nearest() -> None:
    screen = np.array([[1, 1, 0.5], [1, 9, 0.5], [9, 1, 0.5], [0, 0, 1], [0, 4, 1], [4, 0, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    depth, index, weights = raster.buffers(12, 12)
    raster.fill(screen, triangles, depth, index, weights, False)
    y, x = np.mgrid[:12, :12]
    near, far = x + y <= 4, (x >= 1) & (y >= 1) & (x + y <= 10)
    np.testing.assert_array_equal(index, np.where(near, 1, np.where(far, 0, -1)))
    np.testing.assert_allclose(depth, np.where(near, 1, np.where(far, 0.5, 0)), atol=1e-6)


def test_culling_drops_triangles_that_turn_their_back() -> None:
    screen = np.array([[1, 1, 1], [1, 9, 1], [9, 1, 1]], np.float32)
    covered = []
    for corners in ([0, 1, 2], [0, 2, 1]):
        depth, index, weights = raster.buffers(12, 12)
        raster.fill(screen, np.array([corners], np.int32), depth, index, weights, True)
        covered.append(int((index >= 0).sum()))
    assert sorted(covered) == [0, 45]


def test_weights_are_perspective_correct() -> None:
    camera_points = np.array([[-1.0, -1.0, 2.0], [-1.0, 1.0, 6.0], [1.0, -1.0, 3.0]])
    w = 1 / camera_points[:, 2]
    screen = np.stack([32 + 30 * camera_points[:, 0] * w, 32 + 30 * camera_points[:, 1] * w, w], 1).astype(np.float32)
    depth, index, weights = raster.buffers(64, 64)
    raster.fill(screen, np.array([[0, 1, 2]], np.int32), depth, index, weights, False)
    rows, columns = np.nonzero(index == 0)
    second, third = weights[rows, columns].astype(float).T
    found = (1 - second - third)[:, None] * camera_points[0] + second[:, None] * camera_points[1]
    found += third[:, None] * camera_points[2]
    np.testing.assert_allclose(32 + 30 * found[:, 0] / found[:, 2], columns, atol=1e-2)
    np.testing.assert_allclose(32 + 30 * found[:, 1] / found[:, 2], rows, atol=1e-2)


def test_normals_of_a_ball_point_outwards() -> None:
    from scipy.spatial import ConvexHull

    points = np.random.default_rng(0).normal(size=(600, 3))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    hull = ConvexHull(points)
    triangles = hull.simplices.astype(np.int32)
    outward = np.einsum(
        "ij,ij->i",
        np.cross(*(points[triangles[:, k]] - points[triangles[:, 0]] for k in (1, 2))),
        points[triangles[:, 0]],
    )
    triangles[outward < 0] = triangles[outward < 0][:, ::-1]
    out = np.empty_like(points)
    raster.normals(points, triangles, out)
    assert (out * points).sum(1).min() > 0.95


def test_noise_is_the_same_everywhere_smooth_and_within_bounds() -> None:
    assert value(0.5, 1.25, -3.75, 7) == pytest.approx(value(0.5, 1.25, -3.75, 7), abs=0)
    values = np.array([value(x, 0.3, 0.7, 1) for x in np.linspace(-5, 5, 2001)])
    assert np.abs(values).max() <= 1 and values.std() > 0.15
    assert np.abs(np.diff(values)).max() < 0.02
    assert value(0.5, 0.5, 0.5, 1) != value(0.5, 0.5, 0.5, 2)


def test_a_shadow_map_knows_what_lies_above() -> None:
    roof = np.array([[-5, 5, -3], [5, 5, -3], [5, 5, 7], [-5, 5, 7]], np.float32)
    shadow = Shadow.towards(np.array([0, 1, 0], np.float32), 96)
    shadow.add(roof, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    below, beside, above = np.array([[0, 0, 2.0]]), np.array([[9, 0, 2.0]]), np.array([[0, 8, 2.0]])
    assert [float(shadow.lit(p, 0.1)[0]) for p in (below, beside, above)] == [0, 1, 1]


# with the real head


@pytest.mark.real
def test_landmarks_lie_where_the_picture_shows_their_vertices(studio: Studio) -> None:
    """Half a pixel of the photo: the picture's own samples of the triangles around a landmark against the camera's
    25 numbers."""
    from efface.faces.rendering.studio import Model

    worst, checked = 0.0, 0
    for person in range(3):
        who = studio.person(person)
        model = Model.of(studio.body, studio.zones, who)
        for photo in range(4):
            shot = studio.shot(person, photo, who)
            points = model.posed(shot)
            ((_, record),) = studio.photos(person, [photo], SIZE)
            marks = studio.body.heads.landmarks
            expected = by_the_numbers(record.camera, points[marks].astype(float), SIZE)
            np.testing.assert_allclose(record.landmarks, expected, atol=0.02)
            side = SIZE * 8
            camera = Camera.of(shot)
            screen = np.empty_like(points)
            raster.project(
                points, camera.axes.astype(np.float32), camera.place.astype(np.float32),
                np.float32(camera.focal * side), np.float32(side / 2 - 0.5), np.float32(side / 2 - 0.5), screen,
            )  # fmt: skip
            depth, index, weights = raster.buffers(side, side)
            raster.fill(screen, studio.body.triangles, depth, index, weights, True)
            for mark, at in zip(marks, record.landmarks, strict=True):
                around = np.flatnonzero((studio.body.triangles == mark).any(1))
                rows, columns = np.nonzero(np.isin(index, around))
                if len(rows) == 0:
                    continue  # hidden
                share = np.array(
                    [
                        _share(studio.body.triangles[index[r, c]], mark, weights[r, c])
                        for r, c in zip(rows, columns, strict=True)
                    ]
                )
                if share.max() < 0.9:
                    continue  # its very corner is hidden
                best = share.argmax()
                shown = (np.array([columns[best], rows[best]]) + 0.5) / 8 - 0.5
                worst, checked = max(worst, float(np.abs(shown - at).max())), checked + 1
    assert checked > 300
    assert worst < 0.5


def _share(corners: np.ndarray, vertex: int, weights: np.ndarray) -> float:
    return float([1 - weights.sum(), *weights][list(corners).index(vertex)])


@pytest.mark.real
def test_the_same_numbers_give_the_same_bytes(studio: Studio, data: Path) -> None:
    again = Studio(Heads.load(data / "heads-ict" / "ict_model.npz"))
    list(again.photos(5, [3, 1]))  # what was rendered before changes nothing
    first = {r.photo: b for b, r in studio.photos(2, range(4))}
    second = {r.photo: b for b, r in again.photos(2, [3, 0])}
    assert first[0] == second[0] and first[3] == second[3]
    assert first[0] != first[1]
    other = next(iter(Studio(Heads.load(data / "heads-ict" / "ict_model.npz"), seed=1).photos(2, [0])))[0]
    assert other != first[0]


@pytest.mark.real
def test_views_are_of_the_same_moment(studio: Studio) -> None:
    """The photo is what it is without views; the first view has its camera, all have its face and plain grey behind."""
    ((plain, _),) = studio.photos(2, [1], 96)
    (photo, *views) = studio.photos(2, [1], 96, views=3)
    assert photo[0] == plain and [record.photo for _, record in (photo, *views)] == [4, 5, 6, 7]
    assert all(record.expression == photo[1].expression and record.light == photo[1].light for _, record in views)
    same = [bool((record.camera == photo[1].camera).all()) for _, record in views]
    assert same == [True, False, False]
    pixels = [np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) for jpeg, _ in (photo, *views)]
    corners = np.stack([picture[:4, :4] for picture in pixels[1:]])
    assert np.abs(corners - corners.mean()).max() < 4
    middle = np.s_[30:66, 30:66]
    assert np.abs(pixels[0][middle] - pixels[1][middle]).mean() < 6 < np.abs(pixels[1] - pixels[2])[middle].mean()


@pytest.mark.real
def test_the_head_has_no_holes(studio: Studio) -> None:
    """Seen from anywhere, every pixel within the head's outline shows the head."""
    from scipy.ndimage import binary_fill_holes

    body: Body = studio.body
    for shot in shots(8):
        camera = Camera.of(shot)
        screen = np.empty_like(body.heads.base)
        raster.project(
            body.heads.base, camera.axes.astype(np.float32), camera.place.astype(np.float32),
            np.float32(camera.focal * 256), np.float32(127.5), np.float32(127.5), screen,
        )  # fmt: skip
        depth, index, weights = raster.buffers(256, 256)
        raster.fill(screen, body.triangles, depth, index, weights, True)
        covered = index >= 0
        assert not (binary_fill_holes(covered) & ~covered).any()
        assert covered[-1].sum() > 60  # the shoulders go on beyond the lower edge


@pytest.mark.real
def test_eyes_turn_with_the_gaze(studio: Studio) -> None:
    """The brightest and darkest things of the eye move: the iris, seen from the front, lies where the person looks."""
    from dataclasses import replace

    from efface.faces.rendering.studio import Model, render

    who = studio.person(1)
    model = Model.of(studio.body, studio.zones, who)
    calm = replace(
        studio.shot(1, 0, who),
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        expression={},
        middle=(0.0, 0.0),
        glasses=False,
        noise=0.0,
        blur=0.0,
    )
    middles = []
    for side in (-0.4, 0.0, 0.4):
        shot = replace(calm, gaze=(side, 0.0))
        points = model.posed(shot)
        picture = render(model, points, shot, 512)[0].mean(2)
        ball = Camera.of(shot).pixels(points[studio.body.triangles[studio.body.part == EYE].ravel()].astype(float), 512)
        left = ball[ball[:, 0] > 256]
        x0, x1 = int(left[:, 0].min()), int(left[:, 0].max())
        y = int(left[:, 1].mean())
        band = picture[y - 3 : y + 4, x0:x1].mean(0)
        dark = np.clip(np.sort(band)[len(band) // 4] - band, 0, None)
        middles.append(float((dark * np.arange(len(band))).sum() / dark.sum()))
    assert middles[0] < middles[1] < middles[2]


@pytest.mark.real
def test_photos_differ_as_they_should(studio: Studio) -> None:
    records = [r for p in range(12) for _, r in studio.photos(p, range(6), 64)]
    yaws = np.array([np.degrees(np.arctan2(r.camera[3], r.camera[11])) for r in records])
    assert np.abs(yaws).max() <= 75 and yaws.std() > 12
    assert sum(bool(r.expression) for r in records) > 30
    for record in records:
        assert record.landmarks.shape == (68, 2) and record.five.shape == (5, 2)
        assert np.isfinite(record.camera).all()


@pytest.mark.real
def test_the_alignment_puts_the_five_landmarks_onto_the_template(studio: Studio) -> None:
    from efface.faces.alignment import TEMPLATE

    for jpeg, record in studio.photos(0, range(6)):
        assert Image.open(io.BytesIO(jpeg)).size == (128, 128)
        placed = np.concatenate([record.five, np.ones((5, 1))], 1) @ record.alignment.T
        assert np.abs(placed - TEMPLATE).mean() < 9
        assert np.abs((placed - TEMPLATE).mean(0)).max() < 1e-2
