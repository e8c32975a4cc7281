"""Results -> one HTML file that opens offline, and a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from efface.faces.crops import Crops
    from efface.faces.splits import Split
    from efface.report.scores import Scores


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a report is made of."""

    audit: Mapping[str, Any]
    """The content of audit.json (docs/audit.md): `models` and `groups`; of the rest what there is."""
    crops: Crops
    """All photos that were measured."""
    split: Split
    embeddings: Mapping[str, Tensor]
    """Model -> unit embeddings [n, d] of the n crops: `original`, and any of `unlearned` and `retrained`."""


@dataclass(frozen=True, eq=False)
class DrawnRow:
    """One person who was drawn by a model, or an anchor that is nobody."""

    photo: Tensor | None
    """uint8 [3, size, size], framed: a photo that the method never saw, or the one that was inverted; None of who is
    nobody."""
    pictures: Mapping[str, Tensor]
    """Model -> uint8 [draws, 3, size, size]; the same place means the same noise, or the same camera."""
    likeness: Mapping[str, tuple[float | None, ...]]
    """Model -> cosine of each picture with the person's template; None where no face was found."""


@dataclass(frozen=True, eq=False)
class DrawnEvidence:
    """What the report on a diffusion model is made of."""

    audit: Mapping[str, Any]
    """The content of audit.json (docs/diffusion.md)."""
    rows: Mapping[str, DrawnRow]
    """By name, everybody who was drawn."""
    scores: Mapping[str, Scores]
    """Model -> cosines of pictures with templates."""


@dataclass(frozen=True, eq=False)
class RebuiltEvidence(DrawnEvidence):
    """What the report on a face generator is made of; `rows` are drawn from the audit's `yaws`."""

    turning: Mapping[str, Mapping[str, Tensor]]
    """Forgotten person -> model -> frames uint8 [n, 3, size, size] from the first to the last yaw."""
    by_photo: Mapping[str, tuple[str, int]]
    """Which of `rows` is a forgotten person from one unseen photo -> (the person, position of the photo)."""


def write_rebuilt(folder: Path, evidence: RebuiltEvidence) -> Path:
    """As `write`, for a face generator."""
    from efface.folder import write_text
    from efface.report.rebuilt import render

    path = folder / "report.html"
    write_text(path, render(evidence))
    return path


def write_drawn(folder: Path, evidence: DrawnEvidence) -> Path:
    """As `write`, for a diffusion model."""
    from efface.folder import write_text
    from efface.report.drawn import render

    path = folder / "report.html"
    write_text(path, render(evidence))
    return path


def write(folder: Path, evidence: Evidence) -> Path:
    """Write `report.html` into the folder, whole or not at all, and say where it is. The same evidence gives the same
    bytes."""
    from efface.folder import write_text
    from efface.report.page import render  # matplotlib and torch are imported where a page is made, not for a table

    path = folder / "report.html"
    write_text(path, render(evidence))
    return path
