"""CelebA with its identities."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from efface.errors import EffaceError
from efface.faces.layout import first_of, folder_at, lines, visible
from efface.faces.people import People, Photo


@dataclass(frozen=True, kw_only=True)
class CelebA:
    """CelebFaces Attributes: 202,599 photos of 10,177 people, research use only.

    Layout: img_align_celeba/000001.jpg … (in PATH or PATH/Img), identity_CelebA.txt (in PATH or PATH/Anno) and
    list_eval_partition.txt (in PATH or PATH/Eval). The identity is the number in identity_CelebA.txt. The published
    alignment is not the one recognisers want (178 × 218), so the photos are aligned again.
    """

    paper: ClassVar[str] = "Liu, Luo, Wang and Tang 2015 (ICCV), Deep Learning Face Attributes in the Wild"
    licence: ClassVar[str] = "non-commercial research only"
    commercial: ClassVar[str] = "no"

    path: Path
    """The folder that holds the pictures' folder and both lists."""
    partition: Literal["train", "val", "test", "all"] = "test"
    """The published partition; its people are disjoint. `all` needs no list_eval_partition.txt."""

    def read(self) -> People:
        """List the photos. Raises EffaceError where the layout is not the expected one, or where a list names a
        photo that is not there. Pictures that identity_CelebA.txt does not name are nobody's and are left out."""
        root = folder_at(self.path, "holding img_align_celeba, identity_CelebA.txt and list_eval_partition.txt")
        places = ("img_align_celeba", "Img/img_align_celeba")
        folder = folder_at(first_of(root, places, "folder of pictures"), "of pictures")
        names = ("identity_CelebA.txt", "Anno/identity_CelebA.txt")
        identities = first_of(root, names, "list of identities")
        rows = _columns(identities, "with a picture and its person's number in each line")
        if self.partition != "all":
            names = ("list_eval_partition.txt", "Eval/list_eval_partition.txt")
            rows = self._chosen(rows, identities, first_of(root, names, "list of partitions"))
        there = {e.name for e in visible(folder)}
        for name in rows:
            if name not in there:
                raise EffaceError(f"{identities}: names {name}, which is not in {folder}; add the picture")
        return People.of(Photo(who, f"{who}/{name}", folder / name) for name, who in rows.items())

    def _chosen(self, rows: dict[str, str], identities: Path, path: Path) -> dict[str, str]:
        """The rows of this partition."""
        parts = _columns(path, "with a picture and 0 (train), 1 (val) or 2 (test) in each line")
        for name in rows:
            if parts.get(name) not in ("0", "1", "2"):
                raise EffaceError(
                    f"{path}: found {parts.get(name, 'nothing')} for {name}, which {identities.name} names, "
                    "expected 0 (train), 1 (val) or 2 (test); replace the list"
                )
        wanted = {"train": "0", "val": "1", "test": "2"}[self.partition]
        chosen = {name: who for name, who in rows.items() if parts[name] == wanted}
        if not chosen:
            raise EffaceError(f"{path}: found no picture of partition {self.partition}; choose another partition")
        return chosen


def _columns(path: Path, holding: str) -> dict[str, str]:
    """Picture -> number, of a list with two columns."""
    found: dict[str, str] = {}
    for line, row in enumerate(lines(path, holding), start=1):
        match row.split():
            case [name, number] if number.isdecimal():
                if name in found:
                    raise EffaceError(f"{path}: names {name} again in line {line}, expected it once; remove one line")
                found[name] = number
            case _:
                raise EffaceError(
                    f"{path}: found {row[:60]!r} in line {line}, expected a picture and a number; replace the list"
                )
    return found
