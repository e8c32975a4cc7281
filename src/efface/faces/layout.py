"""Where a data set's files are expected, and the one clear line when they are not there."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from PIL import Image

from efface.errors import EffaceError
from efface.faces.people import Photo, natural_key


def folder_at(path: Path, holding: str) -> Path:
    """`path`, where it is a folder. holding: what should be in it, in words, for the error."""
    return _checked(path, os.path.isdir, f"a folder {holding}")


def file_at(path: Path, holding: str) -> Path:
    """`path`, where it is a file. holding: what should be in it, in words, for the error."""
    return _checked(path, os.path.isfile, f"a file {holding}")


def first_of(root: Path, places: tuple[str, ...], what: str) -> Path:
    """The first of some places below `root` that exists. what: what is looked for, in words, for the error."""
    for place in places:
        if os.path.exists(root / place):
            return root / place
    raise EffaceError(f"{root}: found no {what}, expected it at {' or '.join(places)}; put it there")


def lines(path: Path, holding: str) -> list[str]:
    """The lines of a text file without blank ones at its end. holding: as for `file_at`."""
    try:
        found = file_at(path, holding).read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EffaceError(f"{path}: cannot be read as text ({error}), expected a file {holding}; replace it") from error
    if not found:
        raise EffaceError(f"{path}: found an empty file, expected one {holding}; replace it")
    return found


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds, hidden entries left out, in natural order."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: natural_key(e.name))
    except OSError as error:
        raise EffaceError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    for entry in found:
        if not entry.name.isprintable() and "\\udc" in ascii(entry.name):
            raise EffaceError(f"{folder}: found the name {entry.name!a}, expected one in UTF-8; rename it")
    return found


def folder_per_person(root: Path) -> Iterator[Photo]:
    """The photos of a folder that holds one folder of pictures for each person. Hidden entries and files that are no
    pictures are passed over, at both levels; a folder inside a person's folder is an error, because it mostly means
    that `root` lies one level too high."""
    holding = "holding one folder of pictures for each person"
    people = [e for e in visible(folder_at(root, holding)) if e.is_dir()]
    if not people:
        raise EffaceError(f"{root}: found no folder in it, expected a folder {holding}; move the pictures into folders")
    for person in people:
        entries = visible(person.path)
        for entry in entries:
            if entry.is_dir():
                raise EffaceError(
                    f"{entry.path}: found a folder inside a person's folder, expected pictures; "
                    f"give the folder that holds the people, or move the pictures up"
                )
        pictures = [e for e in entries if is_picture(e.name)]
        if not pictures:
            raise EffaceError(
                f"{person.path}: found no picture among {len(entries)} files, expected at least one that Pillow reads "
                "(.jpg, .png, .pgm, …); add one or remove the folder"
            )
        for entry in pictures:
            yield Photo(person.name, f"{person.name}/{entry.name}", Path(entry.path))


def is_picture(name: str) -> bool:
    """Whether Pillow opens files with this ending."""
    return os.path.splitext(name)[1].lower() in _endings()


@cache
def _endings() -> frozenset[str]:
    Image.init()
    return frozenset(ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def _checked(path: Path, is_so: Callable[[Path], bool], expected: str) -> Path:
    if is_so(path):
        return path
    found = "a folder" if os.path.isdir(path) else "a file" if os.path.exists(path) else "nothing"
    raise EffaceError(f"{path}: found {found}, expected {expected}; check the path")
