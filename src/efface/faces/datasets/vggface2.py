"""VGGFace2."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from efface.errors import EffaceError
from efface.faces.layout import folder_at, folder_per_person
from efface.faces.people import People


@dataclass(frozen=True, kw_only=True)
class VGGFace2:
    """VGGFace2: 3.31 million photos of 9,131 people, of whom 500 are the test part.

    Layout: PATH/train/n000002/0001_01.jpg and PATH/test/n000001/…; the identity is the folder's name. Only the part
    that is read has to be there.
    """

    paper: ClassVar[str] = "Cao, Shen, Xie, Parkhi and Zisserman 2018 (FG), arXiv 1710.08092"
    licence: ClassVar[str] = "CC BY-SA 4.0 as published; the photos belong to their owners"
    commercial: ClassVar[str] = "unknown"

    path: Path
    """The folder that holds `train` and `test`."""
    part: Literal["train", "test"] = "test"
    """The published part: 8,631 people in `train`, 500 others in `test`."""

    def read(self) -> People:
        """List the photos. Raises EffaceError where the layout is not the expected one."""
        root = folder_at(self.path, "holding train and test of VGGFace2")
        people = People.of(folder_per_person(folder_at(root / self.part, "holding folders such as n000001")))
        for identity in people.photos:
            if not re.fullmatch(r"n\d{6}", identity):
                raise EffaceError(
                    f"{root / self.part / identity}: found a folder of this name, expected names such as n000001; "
                    "correct it, or read other layouts as faces.name=folder"
                )
        return people
