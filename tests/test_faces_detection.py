"""The cascade: networks and suppression alone, then real faces, whole, small, grey, cut and in company."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efface.errors import EffaceError
from efface.faces.alignment import align
from efface.faces.datasets.folder import Folder
from efface.faces.detection import AREA_SIDE, Detector, smallest_face, suppress, working_scale
from efface.faces.people import People, Photo
from efface.models.mtcnn import ONet, PNet, RNet
from efface.targets.recognition import RecognitionTarget

CUT = {  # what is left of an ORL photo, 92 × 112, and how its landmarks move
    "left": (lambda p: p[:, 22:], (-22, 0)),
    "right": (lambda p: p[:, :-22], (0, 0)),
    "top": (lambda p: p[35:], (0, -35)),
    "bottom": (lambda p: p[:-22], (0, 0)),
}


def slow_suppress(boxes, scores, threshold, by_smaller):
    """The definition, one pair at a time."""

    def area(b):
        return (b[2] - b[0]) * (b[3] - b[1])

    def overlap(a, b):
        shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        return shared, min(area(a), area(b)) if by_smaller else area(a) + area(b) - shared

    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        pairs = [overlap(boxes[i], boxes[j]) for j in kept]
        if all(shared <= threshold * whole for shared, whole in pairs):
            kept.append(i)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.sampled_from([0.3, 0.5, 0.7]), st.booleans())
def test_suppression_is_the_slow_loop(seed, count, threshold, by_smaller):
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 30, (count, 2))
    boxes = np.hstack([corner, corner + rng.integers(1, 25, (count, 2))]).astype(float)
    scores = rng.permutation(count) / max(1, count)
    found = suppress(boxes, scores, threshold, by_smaller)
    assert found.tolist() == slow_suppress(boxes, scores, threshold, by_smaller)


def test_networks_look_at_windows_of_the_papers_sizes():
    with torch.inference_mode():
        face, shift = PNet()(torch.zeros(2, 3, 12, 12))
        assert face.shape == (2, 1, 1) and shift.shape == (2, 4, 1, 1)
        face, shift = PNet()(torch.zeros(1, 3, 40, 62))
        assert face.shape == (1, 15, 26)  # a window every 2 pixels
        assert [tuple(x.shape) for x in RNet()(torch.zeros(5, 3, 24, 24))] == [(5,), (5, 4)]
        assert [tuple(x.shape) for x in ONet()(torch.zeros(5, 3, 48, 48))] == [(5,), (5, 4), (5, 5, 2)]


def test_pyramid_of_any_picture_is_bounded():
    for height, width in ((1, 1), (112, 92), (3000, 4000), (9000, 12000), (40, 20000)):
        scale = working_scale(height, width)
        size = height * scale, width * scale
        assert size[0] * size[1] <= AREA_SIDE**2 * 1.001
        first = 12 / smallest_face(*size)  # scale of the largest level
        assert first**2 * size[0] * size[1] <= 481**2
    assert working_scale(112, 92) == 336 / 92
    assert working_scale(1000, 1500) == 1


def test_detector_folder_is_checked(tmp_path):
    with pytest.raises(EffaceError, match=r"pnet\.pt: found no file, expected one of the MTCNN"):
        Detector.load(tmp_path)
    torch.save(RNet().state_dict(), tmp_path / "pnet.pt")
    with pytest.raises(EffaceError, match=r"pnet\.pt: tensor .* expected MTCNN's PNet"):
        Detector.load(tmp_path)
    broken = PNet().state_dict()
    broken["conv1.bias"][0] = torch.nan
    torch.save(broken, tmp_path / "pnet.pt")
    with pytest.raises(EffaceError, match=r"pnet\.pt: conv1\.bias holds NaN"):
        Detector.load(tmp_path)


@pytest.fixture(scope="module")
def detector(data) -> Detector:
    return Detector.load(data / "detector-mtcnn")


@pytest.fixture(scope="module")
def orl(data) -> People:
    return Folder(path=data / "faces-orl" / "att_faces").read()


@pytest.fixture(scope="module")
def firsts(orl) -> list[np.ndarray]:
    """One photo of every other person."""
    return [photos[0].pixels() for photos in list(orl.photos.values())[::2]]


@pytest.fixture(scope="module")
def landmarks(firsts, detector) -> list[np.ndarray]:
    return [detector.find(p)[0].landmarks for p in firsts]


def missed_and_error(detector, pictures, expected) -> tuple[int, float]:
    """Photos without a face, and the mean distance of landmarks in shares of the distance between the eyes."""
    errors = []
    for picture, points in zip(pictures, expected, strict=True):
        found = detector.find(np.ascontiguousarray(picture))
        if found:
            away = np.linalg.norm(found[0].landmarks - points, axis=1).mean()
            errors.append(away / np.linalg.norm(points[1] - points[0]))
    return len(pictures) - len(errors), float(np.mean(errors))


@pytest.mark.real
def test_every_face_of_orl_is_found_and_recognised(orl, detector, data):
    """The published figures of these weights on these photos: same person .826 ± .107, different .073 ± .110,
    TAR .9989 at FAR 1e-3, rank-1 1."""
    crops, notes = align(orl, detector)
    assert (notes.photos, notes.no_face, notes.several_faces) == (400, (), ())
    assert crops.names[:11] == (*(f"s1/{i}.pgm" for i in range(1, 11)), "s2/1.pgm")
    recogniser = RecognitionTarget.load("mobilefacenet", data / "recogniser-mobilefacenet" / "mobilefacenet.pt")
    embeddings = recogniser.embed(crops.pixels).double()
    score = embeddings @ embeddings.T
    labels = crops.labels()
    same = labels[:, None] == labels
    upper = torch.ones_like(same).triu(1)
    genuine, impostor = score[same & upper], score[~same & upper]
    assert len(genuine) == 1800 and len(impostor) == 78000
    assert genuine.mean().item() == pytest.approx(0.826, abs=0.003)
    assert genuine.std().item() == pytest.approx(0.107, abs=0.003)
    assert impostor.mean().item() == pytest.approx(0.073, abs=0.003)
    assert impostor.std().item() == pytest.approx(0.110, abs=0.003)
    threshold = impostor.sort(descending=True).values[78]
    assert (genuine > threshold).double().mean().item() >= 0.997  # 1 of the 1,800 pairs is .0006
    assert (labels[score.fill_diagonal_(-1).argmax(1)] == labels).all()


@pytest.mark.real
@pytest.mark.parametrize("side", CUT)
def test_faces_cut_by_the_border_are_found(side, firsts, landmarks, detector):
    cut, shift = CUT[side]
    missed, error = missed_and_error(detector, [cut(p) for p in firsts], [points + shift for points in landmarks])
    assert missed <= 1 and error < 0.08


@pytest.mark.real
@pytest.mark.parametrize("times", [1 / 3, 1 / 2, 10])
def test_small_and_large_photos_give_the_same_landmarks(times, firsts, landmarks, detector):
    def resized(picture):
        image = Image.fromarray(picture)
        return np.asarray(image.resize((round(92 * times), round(112 * times)), Image.Resampling.BILINEAR))

    factor = np.array([round(92 * times) / 92, round(112 * times) / 112])
    expected = [(points + 0.5) * factor - 0.5 for points in landmarks]
    missed, error = missed_and_error(detector, [resized(p) for p in firsts[::2]], expected[::2])
    assert missed == 0 and error < 0.06


@pytest.mark.real
def test_grey_and_tinted_photos_are_found(orl, firsts, detector):
    photo = orl.photos["s1"][0]
    grey, tinted = io.BytesIO(), io.BytesIO()
    Image.fromarray(firsts[0]).convert("L").save(grey, "PNG")
    Image.fromarray((firsts[0] * [1.0, 0.8, 0.6]).astype(np.uint8)).save(tinted, "PNG")
    people = People.of([photo, *(Photo("s1", f"s1/{i}", data=b.getvalue()) for i, b in enumerate((grey, tinted)))])
    crops, notes = align(people, detector)
    assert not notes.no_face
    by_name = dict(zip(crops.names, crops.pixels, strict=True))
    assert torch.equal(by_name["s1/0"], by_name[photo.name])  # the same picture in another format


@pytest.mark.real
def test_of_several_faces_the_largest_is_taken_and_none_is_named(orl, firsts, detector):
    one, other = (orl.photos[i][0].pixels() for i in ("s1", "s2"))
    large = np.asarray(Image.fromarray(other).resize((138, 168), Image.Resampling.BILINEAR))
    together = np.zeros((168, 92 + 138, 3), np.uint8)
    together[:112, :92], together[:, 92:] = one, large
    noise = np.random.default_rng(0).integers(0, 256, (112, 92, 3), dtype=np.uint8)
    photos = []
    for name, picture in (("both", together), ("large", large), ("noise", noise), ("blank", noise * 0)):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        photos.append(Photo("x", f"x/{name}", data=file.getvalue()))
    crops, notes = align(People.of(photos), detector)
    assert notes.photos == 4
    assert notes.no_face == ("x/blank", "x/noise")
    assert notes.several_faces == ("x/both",)
    assert crops.names == ("x/both", "x/large")
    both, alone = crops.pixels.float()
    assert (both - alone).abs().mean() < 8  # grey levels: the same face, not the smaller one
