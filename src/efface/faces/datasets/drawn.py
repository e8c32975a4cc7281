"""Drawn people: cartoon faces from a seed, for tests and `--tiny` runs; nobody's photo."""

import io
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from efface.errors import EffaceError
from efface.faces.people import People, Photo
from efface.testing.drawn import TRAINED, draw


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Cartoon faces made from seeds: aligned pictures of 112 × 112 pixels, in memory."""

    nobody: ClassVar[str] = "These people never existed: their photos were drawn."
    licence: ClassVar[str] = "Apache-2.0"
    commercial: ClassVar[str] = "yes"

    people: int = 12
    """How many: person-000, person-001, ..."""
    photos: int = 10
    """Pictures a person."""
    seed: int = 0
    """Another seed draws other people; below 1,000."""

    def read(self) -> People:
        """Draws everything: about 8 ms a picture. Raises EffaceError for numbers out of range."""
        if self.people < 1 or self.photos < 1 or not 0 <= self.seed < TRAINED // 1000 or self.people > 1000:
            raise EffaceError(
                f"drawn: found people {self.people}, photos {self.photos}, seed {self.seed}; expected 1 to 1,000 "
                "people, at least 1 photo and a seed of 0 to 999"
            )
        photos = (
            Photo(f"person-{i:03}", f"person-{i:03}/{j}.png", data=_png(1000 * self.seed + i, j))
            for i in range(self.people)
            for j in range(self.photos)
        )
        return People.of(photos, aligned=True)


def _png(person_seed: int, photo_seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw(person_seed, photo_seed)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
