"""InsightFace's RecordIO: records written byte by byte as MXNet writes them, then read; and each way to break them."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface.errors import EffaceError
from efface.faces.datasets.recordio import RecordIO

MAGIC = struct.pack("<I", 0xCED7230A)


def encoded(tone: int, comment: bytes = b"") -> bytes:
    """A JPEG of one tone, 112 × 112; comment: bytes in its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), (tone, tone, tone)).save(buffer, "JPEG", comment=comment)
    return buffer.getvalue()


def packed(label: float | list[float], key: int, picture: bytes = b"") -> bytes:
    """IRHeader and picture, as mx.recordio.pack: a list of labels stands after the header, whose flag is its length."""
    if isinstance(label, list):
        return struct.pack("<IfQQ", len(label), 0, key, 0) + struct.pack(f"<{len(label)}f", *label) + picture
    return struct.pack("<IfQQ", 0, label, key, 0) + picture


def record(body: bytes) -> bytes:
    """One record of dmlc's RecordIO: cut wherever the magic number stands at a multiple of four bytes."""
    cuts = [i for i in range(0, len(body) - 3, 4) if body[i : i + 4] == MAGIC]
    starts, ends = [0, *(c + 4 for c in cuts)], [*cuts, len(body)]
    out = b""
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = 0 if not cuts else 1 if i == 0 else 3 if i == len(cuts) else 2
        piece = body[start:end]
        out += MAGIC + struct.pack("<I", part << 29 | len(piece)) + piece + b"\0" * (-len(piece) % 4)
    return out


def write(root: Path, bodies: dict[int, bytes], classes: str | None = None) -> Path:
    rec, idx = b"", ""
    for key, body in bodies.items():
        idx += f"{key}\t{len(rec)}\n"
        rec += record(body)
    (root / "train.rec").write_bytes(rec)
    (root / "train.idx").write_text(idx)
    if classes is not None:
        (root / "property").write_text(classes)
    return root


TONES = {1: (0, 10), 2: (0, 20), 3: (1, 30), 4: (1, 40), 5: (1, 50), 6: (10, 60)}
"""Key -> label, tone."""


def with_identities() -> dict[int, bytes]:
    """As CASIA-WebFace and MS1M come: record 0 says that keys 7 … 9 are identities, each with its photos' range."""
    photos = {key: packed(label, key, encoded(tone)) for key, (label, tone) in TONES.items()}
    ranges = {7: packed([1, 3], 7), 8: packed([3, 6], 8), 9: packed([6, 7], 9)}
    return {0: packed([7, 10], 0)} | photos | ranges


def fails(root: Path, *words: str) -> None:
    with pytest.raises(EffaceError) as caught:
        RecordIO(path=root).read()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def check(root: Path) -> None:
    people = RecordIO(path=root).read()
    assert people.aligned
    assert {who: [p.name for p in own] for who, own in people.photos.items()} == {
        "0": ["0/1", "0/2"],
        "1": ["1/3", "1/4", "1/5"],
        "10": ["10/6"],
    }
    for own in people.photos.values():
        for photo in own:
            pixels = photo.pixels()
            tone = TONES[int(photo.name.split("/")[1])][1]
            assert pixels.shape == (112, 112, 3) and np.abs(pixels.astype(int) - tone).max() <= 2


@pytest.mark.parametrize("classes", [None, "11,112,112", "11,112,112\n"])
def test_with_records_about_identities(tmp_path: Path, classes: str | None):
    check(write(tmp_path, with_identities(), classes))


def test_without_records_about_identities(tmp_path: Path):
    check(write(tmp_path, {key: packed(label, key, encoded(tone)) for key, (label, tone) in TONES.items()}))


def test_with_labels_as_lists(tmp_path: Path):
    """Newer packs give each photo a list whose first label is the identity; long ones hold landmarks too."""
    bodies = {k: packed([label, *range(20)], k, encoded(tone)) for k, (label, tone) in TONES.items()}
    check(write(tmp_path, {0: packed([7, 10], 0)} | bodies))
    people = RecordIO(path=write(tmp_path, {k - 1: body for k, body in bodies.items()})).read()  # record 0 is a photo
    assert sum(map(len, people.photos.values())) == 6


def test_photos_are_spans_of_the_file(tmp_path: Path):
    people = RecordIO(path=write(tmp_path, with_identities())).read()
    photo = people.photos["1"][0]
    assert photo.data is None and photo.path == tmp_path / "train.rec" and photo.span is not None
    assert photo.encoded() == encoded(30)


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_that_holds_the_magic_number_is_joined(tmp_path: Path, count: int):
    """RecordIO takes the number out at multiples of four bytes and cuts the record there."""
    for shift in range(4):  # one of the shifts puts it on a multiple of four
        picture = encoded(30, comment=b"x" * shift + (MAGIC + b"four") * count)
        body = packed(1, 3, picture)
        root = write(tmp_path, with_identities() | {3: body})
        cut = record(body) != MAGIC + struct.pack("<I", len(body)) + body + b"\0" * (-len(body) % 4)
        photo = RecordIO(path=root).read().photos["1"][0]
        assert photo.encoded() == picture and (photo.data is not None) == cut
        check(root)
        if cut:
            return
    pytest.fail("no shift cut the record")


def test_missing_files(tmp_path: Path):
    fails(tmp_path / "absent", "found nothing", "train.rec and train.idx")
    fails(tmp_path, "train.rec: found nothing")
    write(tmp_path, with_identities())
    fails(tmp_path / "train.rec", "found a file", "expected a folder")
    (tmp_path / "train.idx").unlink()
    fails(tmp_path, "train.idx: found nothing")
    (tmp_path / "train.idx").write_text("")
    fails(tmp_path, "train.idx: found an empty file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0\n", ["line 1", "key<tab>offset"]),
        ("0\t0\n1\t-4\n", ["line 2", "key<tab>offset"]),
        ("1\t4\n", ["something else at byte 4", "record 1"]),
        ("1\t99999999999\n", ["something else at byte 99,999,999,999"]),
        ("1\t" + "9" * 30 + "\n", ["something else at byte 999,"]),
        ("0\t0\n1\t40\n", ["found 1 photos in the index, expected 6"]),
    ],
)
def test_an_index_that_does_not_fit(tmp_path: Path, text: str, words: list[str]):
    (write(tmp_path, with_identities()) / "train.idx").write_text(text)
    fails(tmp_path, *words)


def test_a_file_cut_short(tmp_path: Path):
    write(tmp_path, {key: packed(label, key, encoded(tone)) for key, (label, tone) in TONES.items()})
    whole = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(whole[:-100])
    fails(tmp_path, "record 6", "the file's end at byte", "fetch the files again")
    (tmp_path / "train.rec").write_bytes(b"")
    fails(tmp_path, "record 1", "something else at byte 0")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\0" * 8, ["record 3", "8 bytes", "at least 24"]),
        (struct.pack("<IfQQ", 1000, 0, 3, 0) + b"abcd", ["record 3", "28 bytes", "at least 4024"]),
        (packed(1, 3), ["record 3", "no picture"]),
        (packed(1.5, 3, b"jpeg"), ["record 3", "label 1.5", "a whole number"]),
        (packed(-1, 3, b"jpeg"), ["record 3", "label -1"]),
        (packed(float("nan"), 3, b"jpeg"), ["record 3", "label nan"]),
        (packed(11, 3, b"jpeg"), ["record 3", "label 11", "below 11, as `property` says"]),
    ],
)
def test_records_that_are_wrong(tmp_path: Path, body: bytes, words: list[str]):
    fails(write(tmp_path, with_identities() | {3: body}, "11,112,112"), *words)


def test_a_first_record_that_holds_no_number(tmp_path: Path):
    fails(write(tmp_path, with_identities() | {0: packed([float("nan"), 10], 0)}), "record 0", "label nan")


def test_parts_out_of_order(tmp_path: Path):
    write(tmp_path, {1: packed(0, 1, encoded(1))})
    piece = MAGIC + struct.pack("<I", 2 << 29 | 4) + b"abcd"
    (tmp_path / "train.rec").write_bytes(piece)
    fails(tmp_path, "part 2 as piece 1", "first, middle and last parts")


@pytest.mark.parametrize("text", ["11", "11,112,96", "many,112,112"])
def test_a_property_file_of_other_crops(tmp_path: Path, text: str):
    fails(write(tmp_path, with_identities(), text), "property", "expected classes,112,112")
