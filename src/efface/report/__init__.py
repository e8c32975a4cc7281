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


def write(folder: Path, evidence: Evidence) -> Path:
    """Write `report.html` into the folder, whole or not at all, and say where it is. The same evidence gives the same
    bytes."""
    from efface.folder import write_text
    from efface.report.page import render  # matplotlib and torch are imported where a page is made, not for a table

    path = folder / "report.html"
    write_text(path, render(evidence))
    return path
