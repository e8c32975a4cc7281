"""One folder of pictures for each person."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.faces.layout import folder_per_person
from efface.faces.people import People


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Your own photos, or any set laid out as PATH/PERSON/PHOTO (ORL is one).

    Any format that Pillow reads counts, grey ones too, told by the file's ending. Hidden files and files that are no
    pictures are passed over. A person's folder without any picture is an error, and so is a folder inside it.
    """

    paper: ClassVar[str] = "none; ORL: Samaria and Harter 1994 (IEEE Workshop on Applications of Computer Vision)"
    licence: ClassVar[str] = "your photos' own"
    commercial: ClassVar[str] = "unknown"

    path: Path
    """The folder that holds one folder for each person; the folder's name is the identity."""
    aligned: bool = False
    """True where the pictures already are aligned 112 × 112 crops, as `efface align` writes them."""

    def read(self) -> People:
        """List the photos. Raises EffaceError where the layout is not the expected one."""
        return People.of(folder_per_person(self.path), aligned=self.aligned)
