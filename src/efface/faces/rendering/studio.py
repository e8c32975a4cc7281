"""A seed and a number give a person; a person and a number give a photo."""

from collections.abc import Iterable, Iterator

from efface.faces.rendering.heads import Heads
from efface.faces.rendering.record import PhotoRecord


class Studio:
    """Renders the endless population of one seed."""

    def __init__(self, heads: Heads, seed: int = 0) -> None:
        self.heads, self.seed = heads, seed

    def photos(self, person: int, photos: Iterable[int], size: int = 128) -> Iterator[tuple[bytes, PhotoRecord]]:
        """JPEG bytes and record of each of the person's photos. The same (seed, person, photo, size) give the same
        bytes, whatever else was rendered before."""
        raise NotImplementedError
