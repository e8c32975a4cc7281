"""The people that come with efface."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.errors import EffaceError
from efface.faces.people import People
from efface.faces.rendering.reading import PACK_PHOTOS, PACK_RECORDS, album

PACK = Path(__file__).parents[1] / "pack"
"""Where the package keeps people.tar, people.safetensors and their card."""


@dataclass(frozen=True, kw_only=True)
class ShippedPeople:
    """The pack that comes with efface: 120 people who never existed, 12 photos of each, 128 × 128 pixels.

    The shipped recogniser was trained on other photos of person-100 … person-119; person-000 … person-099 are unknown
    to every shipped network. Every photo knows its alignment, so no detector is needed.
    """

    paper: ClassVar[str] = (
        "ours (docs/rendering.md); head model: Li et al. 2020, https://github.com/ICT-VGL/ICT-FaceKit"
    )
    nobody: ClassVar[str] = "These people never existed: their photos were rendered."
    licence: ClassVar[str] = "Apache-2.0; the head model is MIT"
    commercial: ClassVar[str] = "yes"
    shipped: ClassVar[tuple[Path, ...]] = (PACK / PACK_PHOTOS, PACK / PACK_RECORDS)

    def read(self) -> People:
        """List the photos, decoding none. Raises EffaceError where this installation came without the pack."""
        if not (PACK / PACK_PHOTOS).is_file():
            raise EffaceError(
                f"{PACK / PACK_PHOTOS}: this installation came without the people pack; install a released efface, "
                "or render people with efface render and read them as faces.name=rendered"
            )
        return People.of(photo for photo, _ in album(PACK))
