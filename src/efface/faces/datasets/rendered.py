"""People who never existed, as `efface render` wrote them."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from efface.faces.people import People
from efface.faces.rendering.reading import album


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Photos of people who never existed, as `efface render` wrote them: a folder, shards or a pack.

    Every photo knows its alignment, so no detector is needed. What else is known of the photos (camera, landmarks,
    expression, light) is in `efface.faces.rendering.reading.records(path)`, by the photos' names.
    """

    paper: ClassVar[str] = (
        "ours (docs/rendering.md); head model: Li et al. 2020, https://github.com/ICT-VGL/ICT-FaceKit"
    )
    nobody: ClassVar[str] = "These people never existed: their photos were rendered."
    licence: ClassVar[str] = "yours; the head model is MIT"
    commercial: ClassVar[str] = "yes"

    path: Path
    """The folder that `efface render --out` wrote."""

    def read(self) -> People:
        """List the photos, decoding none. Raises EffaceError where the folder is none that `efface render` wrote."""
        return People.of(photo for photo, _ in album(self.path))
