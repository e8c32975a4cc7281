"""Rendered photos and their records, from a folder, shards or a pack; needs neither numba nor webdataset."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import safetensors

from efface.errors import EffaceError
from efface.faces.layout import file_at, folder_at, lines
from efface.faces.people import Photo
from efface.faces.rendering.record import PhotoRecord
from efface.faces.rendering.records import from_arrays, from_line, photo_name

PHOTOS, PACK_PHOTOS, PACK_RECORDS = "photos.jsonl", "people.tar", "people.safetensors"
"""Files of the finished folder: a line of JSON for each photo (`folder`); the tar and the arrays (`pack`)."""
SHARDS = "shard-*.tar"

_NAME = re.compile(r"[^/]+/\d{2,}\.(jpg|json)")


def album(path: Path) -> Iterator[tuple[Photo, PhotoRecord]]:
    """Every photo and what is known of it, of a folder that `efface render` wrote; decodes no picture. Raises
    EffaceError where the folder is none of the three forms, or is damaged."""
    root = folder_at(path, "that efface render wrote")
    if (root / PHOTOS).exists():
        return _folder(root)
    if (root / PACK_PHOTOS).exists():
        return _pack(root)
    shards = sorted(root.glob(SHARDS))
    if not shards:
        raise EffaceError(
            f"{root}: found none of {PHOTOS}, {SHARDS} and {PACK_PHOTOS}, expected a folder that efface render wrote; "
            "read other photos as faces.name=folder"
        )
    return (found for shard in shards for found in _shard(shard))


def records(path: Path) -> dict[str, PhotoRecord]:
    """The record of every photo by its name in the data set, as `person-017/03.jpg`. Raises EffaceError as `album`."""
    return {photo.name: record for photo, record in album(path)}


def _folder(root: Path) -> Iterator[tuple[Photo, PhotoRecord]]:
    for number, line in enumerate(lines(root / PHOTOS, "with a record in each line"), start=1):
        where = f"{root / PHOTOS}, line {number}"
        record = from_line(line, where)
        picture = root / photo_name(record)
        if not picture.is_file():
            raise EffaceError(f"{where}: names {photo_name(record)}, which is not there; render the folder again")
        yield _photo(record, picture, None), record


def _shard(path: Path) -> Iterator[tuple[Photo, PhotoRecord]]:
    with _opened(path) as tar:
        spans: dict[str, tuple[int, int]] = {}
        for member in _members(tar, path):
            if member.name.endswith(".jpg"):
                spans[member.name] = member.offset_data, member.size
                continue
            file = tar.extractfile(member)
            record = from_line(file.read() if file else b"", f"{path}, {member.name}")
            span = spans.pop(member.name.removesuffix(".json") + ".jpg", None)
            if span is None or photo_name(record) != member.name.removesuffix(".json") + ".jpg":
                raise EffaceError(f"{path}: found {member.name} without its photo before it; render the shard again")
            yield _photo(record, path, span), record
        if spans:
            raise EffaceError(f"{path}: found {next(iter(spans))} without its record; render the shard again")


def _pack(root: Path) -> Iterator[tuple[Photo, PhotoRecord]]:
    path, beside = root / PACK_PHOTOS, file_at(root / PACK_RECORDS, f"of the records of {PACK_PHOTOS}")
    with _opened(path) as tar:
        spans = {member.name: (member.offset_data, member.size) for member in _members(tar, path)}
    try:
        with safetensors.safe_open(beside, "np") as file:
            arrays, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # the library raises its own kinds
        raise EffaceError(f"{beside}: not readable as safetensors ({error}); fetch it again") from error
    for span, record in zip(spans.values(), from_arrays(arrays, metadata, list(spans), str(beside)), strict=True):
        yield _photo(record, path, span), record


def _photo(record: PhotoRecord, path: Path, span: tuple[int, int] | None) -> Photo:
    matrix, five = (tuple(v.astype(float).ravel().tolist()) for v in (record.alignment, record.five))
    return Photo(record.person, photo_name(record), path, span, alignment=matrix, five=five)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as error:
        raise EffaceError(f"{path}: not readable as a tar ({error}); render or fetch it again") from error


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The files of a tar in its order. Raises EffaceError where it is cut short or holds something else."""
    size = path.stat().st_size
    end = 0
    try:
        for member in tar:
            end = member.offset_data + member.size
            if not member.isfile() or not _NAME.fullmatch(member.name):
                raise EffaceError(f"{path}: found {member.name!r}, expected photos such as person-000/00.jpg")
            if end > size:
                break
            yield member
    except (OSError, tarfile.TarError) as error:
        raise EffaceError(f"{path}: not readable as a tar ({error}); render or fetch it again") from error
    if not end or end + tarfile.BLOCKSIZE > size:
        raise EffaceError(f"{path}: found the file's end after {size:,} bytes, expected more; render or fetch it again")
