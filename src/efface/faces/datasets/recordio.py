"""Training sets as InsightFace packs them: MXNet's indexed RecordIO."""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.errors import EffaceError
from efface.faces.layout import file_at, folder_at, lines
from efface.faces.people import People, Photo

_MAGIC = 0xCED7230A
_PIECE = struct.Struct("<II")
"""The magic number; 3 bits of part (0 whole, 1 first, 2 middle, 3 last) and 29 bits of length."""
_HEADER = struct.Struct("<IfQQ")
"""Number of labels that follow, the label where none follow, two ids."""


@dataclass(frozen=True, kw_only=True)
class RecordIO:
    """CASIA-WebFace, MS1M and others as InsightFace's train.rec and train.idx: aligned crops of 112 × 112 pixels.

    Both ways of writing them are read: with a record 0 that says where the photos end and the records about
    identities begin, and without one. The identity is the label, as a number. The pictures stay in the file: a photo
    is a span of it, except for the few that RecordIO had to cut in parts, which are kept in memory.
    """

    paper: ClassVar[str] = (
        "CASIA-WebFace: Yi et al. 2014, arXiv 1411.7923; MS1M: Guo et al. 2016 (ECCV), arXiv 1607.08221, as cleaned by "
        "Deng et al. 2019 (CVPR), arXiv 1801.07698"
    )
    licence: ClassVar[str] = "CASIA-WebFace and MS1M: non-commercial research only"
    commercial: ClassVar[str] = "no"

    path: Path
    """The folder that holds train.rec, train.idx and, where it came so, `property` (classes,112,112)."""

    def read(self) -> People:
        """List the photos: reads the index and each record's first bytes. Raises EffaceError where a file is missing,
        cut short, or not of this format."""
        root = folder_at(self.path, "holding train.rec and train.idx")
        rec = file_at(root / "train.rec", "of pictures in RecordIO")
        offsets = _offsets(root / "train.idx")
        classes = _classes(root / "property")
        try:
            with open(rec, "rb") as file:
                records = _Records(rec, file.fileno(), os.fstat(file.fileno()).st_size)
                photos = [records.photo(key, offsets[key], classes) for key in _photo_keys(records, offsets)]
        except OSError as error:
            raise EffaceError(f"{rec}: cannot be read ({error.strerror}); check the file") from error
        return People.of(photos, aligned=True)


def _photo_keys(records: "_Records", offsets: dict[int, int]) -> list[int]:
    """Keys of the records that are photos. A record 0 of labels without a picture holds the first key after them."""
    keys = sorted(offsets)
    if keys[0] != 0:
        return keys
    listed, label, picture = records.parsed(0, offsets[0])
    if not listed or _size(picture):
        return keys
    end = int(label)
    found = [k for k in keys if 1 <= k < end]
    if len(found) != end - 1 or not found:
        raise EffaceError(
            f"{records.path}: found {len(found):,} photos in the index, expected {end - 1:,} as record 0 says; "
            "fetch train.rec and train.idx again, both from one place"
        )
    return found


def _size(picture: tuple[int, int] | bytes) -> int:
    return len(picture) if isinstance(picture, bytes) else picture[1]


@dataclass(frozen=True)
class _Records:
    """A .rec file that is open; reads are at given bytes, so there is no position to keep."""

    path: Path
    file: int
    size: int

    def photo(self, key: int, offset: int, classes: int | None) -> Photo:
        """The photo of one record. classes: labels must lie below it, where it is known."""
        _, label, picture = self.parsed(key, offset)
        if not (label >= 0 and label.is_integer()) or (classes is not None and label >= classes):
            below = f" below {classes:,}, as `property` says" if classes is not None else ""
            raise self._wrong(key, f"label {label:g}", f"a whole number{below}")
        if not _size(picture):
            raise self._wrong(key, "no picture", "one")
        identity = str(int(label))
        name = f"{identity}/{key}"
        if isinstance(picture, bytes):
            return Photo(identity, name, data=picture)
        return Photo(identity, name, self.path, picture)

    def parsed(self, key: int, offset: int) -> tuple[bool, float, tuple[int, int] | bytes]:
        """(whether labels come as a list, the first label, the picture) of a record. The picture is (byte, length) in
        the file or, where the record was cut in parts, itself."""
        part, length, body = self._piece(key, offset, _HEADER.size + 4)
        if part != 0:
            body = self._joined(key, offset)
            length = len(body)
        count, label, _, _ = _HEADER.unpack_from(body.ljust(_HEADER.size, b"\0"))
        first = _HEADER.size + 4 * count
        if first > length:
            raise self._wrong(key, f"{length} bytes", f"at least {first}")
        if count:
            (label,) = struct.unpack_from("<f", body, _HEADER.size)
        if not math.isfinite(label):
            raise self._wrong(key, f"label {label}", "a number")
        return count > 0, label, body[first:] if part else (offset + _PIECE.size + first, length - first)

    def _piece(self, key: int, offset: int, wanted: int) -> tuple[int, int, bytes]:
        """(part, length, first `wanted` bytes) of the piece at byte `offset`."""
        raw = os.pread(self.file, _PIECE.size + wanted, offset) if offset < self.size else b""
        magic, word = _PIECE.unpack_from(raw.ljust(_PIECE.size, b"\0"))
        if magic != _MAGIC:
            raise self._wrong(key, f"something else at byte {offset:,}", "the start that train.idx says")
        part, length = word >> 29, word & (1 << 29) - 1
        if offset + _PIECE.size + length > self.size:
            raise self._wrong(key, f"the file's end at byte {self.size:,}", f"{length:,} bytes from byte {offset:,}")
        return part, length, raw[_PIECE.size : _PIECE.size + length]

    def _joined(self, key: int, offset: int) -> bytes:
        """A record that was cut wherever the picture itself holds the magic number: its pieces, with that number back
        in between."""
        pieces: list[bytes] = []
        part = 0
        while part != 3:
            part, length, _ = self._piece(key, offset, 0)
            if part not in ((2, 3) if pieces else (1,)):
                raise self._wrong(key, f"part {part} as piece {len(pieces) + 1}", "first, middle and last parts")
            pieces.append(os.pread(self.file, length, offset + _PIECE.size))
            offset += _PIECE.size + (length + 3) // 4 * 4
        return struct.pack("<I", _MAGIC).join(pieces)

    def _wrong(self, key: int, found: str, expected: str) -> EffaceError:
        return EffaceError(f"{self.path}: found {found} in record {key}, expected {expected}; fetch the files again")


def _offsets(path: Path) -> dict[int, int]:
    """Key -> byte in the .rec file."""
    found: dict[int, int] = {}
    for number, row in enumerate(lines(path, "with a key and a byte offset in each line"), start=1):
        key, _, offset = row.partition("\t")
        if not (key.isdecimal() and offset.strip().isdecimal()):
            raise EffaceError(f"{path}: found {row[:60]!r} in line {number}, expected `key<tab>offset`; fetch it again")
        found[int(key)] = int(offset)
    return found


def _classes(path: Path) -> int | None:
    """Number of identities as `property` says it; None where that file did not come along."""
    if not path.exists():
        return None
    text = " ".join(lines(path, "such as 10572,112,112"))
    parts = [p.strip() for p in text.split(",")]
    if len(parts) != 3 or not all(p.isdecimal() for p in parts) or parts[1:] != ["112", "112"]:
        raise EffaceError(f"{path}: found {text[:60]!r}, expected classes,112,112; crops of another size are not read")
    return int(parts[0])
