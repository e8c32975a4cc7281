"""Labeled Faces in the Wild."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.errors import EffaceError
from efface.faces.layout import first_of, folder_at, folder_per_person, lines
from efface.faces.people import People, Photo


@dataclass(frozen=True, kw_only=True)
class LFW:
    """Labeled Faces in the Wild: 13,233 photos of 5,749 people, with 6,000 published pairs in ten folds.

    Layout: PATH/Name_Name/Name_Name_0001.jpg, and pairs.txt in PATH or beside it. `pairs` keep the file's order, so
    fold k of the ten is pairs 600·k … 600·k + 599, first its 300 matched and then its 300 mismatched ones.
    """

    paper: ClassVar[str] = "Huang, Ramesh, Berg and Learned-Miller 2007 (UMass Amherst, technical report 07-49)"
    licence: ClassVar[str] = "none stated; made for research, the photos belong to their owners"
    commercial: ClassVar[str] = "unknown"

    path: Path
    """The folder that holds one folder for each person."""
    pairs: Path | None = None
    """The pairs' file; by default pairs.txt in `path`, or else beside it. Its head is `folds pairs` (10 300) or, in the
    development files, `pairs` alone."""

    def read(self) -> People:
        """List the photos and the pairs. Raises EffaceError where the layout is not the expected one, or where a pair
        names a photo that is not there."""
        root = folder_at(self.path, "holding one folder of photos for each person of LFW")
        photos = list(folder_per_person(root))
        found = self.pairs or first_of(
            root, ("pairs.txt", "../pairs.txt"), "pairs.txt (without pairs, read LFW as faces.name=folder)"
        )
        return People.of(photos, pairs=_pairs(found, photos, root))


def _pairs(path: Path, photos: list[Photo], root: Path) -> Iterator[tuple[Photo, Photo, bool]]:
    """The pairs of one file, in its order."""
    by_stem = {p.name.rpartition(".")[0]: p for p in photos}
    head, *rows = lines(path, "with the pairs of LFW")
    if not re.fullmatch(r"\d+(\s+\d+)?", head.strip()):
        raise EffaceError(f"{path}: found {head[:60]!r} in line 1, expected the numbers of folds and pairs (10 300)")
    folds, each = map(int, ["1", *head.split()][-2:])  # one number alone: one fold
    if len(rows) != 2 * folds * each:
        raise EffaceError(
            f"{path}: found {len(rows):,} pairs, expected {2 * folds * each:,} ({folds} folds of {each} matched and "
            f"{each} mismatched ones, as line 1 says); replace the file"
        )
    for number, row in enumerate(rows, start=2):
        match row.split():
            case [who, first, second] if first.isdecimal() and second.isdecimal():
                one, other = (who, first), (who, second)
            case [who, first, whom, second] if first.isdecimal() and second.isdecimal():
                one, other = (who, first), (whom, second)
            case _:
                raise EffaceError(
                    f"{path}: found {row[:60]!r} in line {number}, expected `name number number` or "
                    "`name number name number`; replace the file"
                )
        where = f"{path}, line {number}"
        yield _photo(*one, by_stem, where, root), _photo(*other, by_stem, where, root), one[0] == other[0]


def _photo(who: str, number: str, by_stem: Mapping[str, Photo], where: str, root: Path) -> Photo:
    stem = f"{who}/{who}_{int(number):04d}"
    if stem not in by_stem:
        raise EffaceError(f"{where}: names {stem}.jpg, which is not in {root}; add the photo or correct the pairs")
    return by_stem[stem]
