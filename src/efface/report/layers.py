"""How much each cross-attention layer tells people apart: a picture and a table."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rich.table import Table

from efface.report.figures import FORGOTTEN, INK, STRANGERS, png


class Row(NamedTuple):
    """One layer."""

    layer: str
    """Short name, such as `down_blocks.0 · 1`."""
    separation: float
    share: float
    proposed: bool
    """Whether its block is in the proposed scope."""


def picture(rows: Sequence[Row], title: str) -> bytes:
    """Bars of the separation by layer, in the network's order; PNG."""
    figure = Figure(figsize=(5.6, 0.24 * len(rows) + 1.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    colours = [FORGOTTEN if row.proposed else STRANGERS for row in rows]
    bars = axes.barh(range(len(rows)), [row.separation for row in rows], color=colours, height=0.7)
    for bar, row in zip(bars, rows, strict=True):
        bar.set_hatch("" if row.proposed else "///")
        bar.set_edgecolor("white")
    axes.set_yticks(range(len(rows)), [row.layer for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("separation of people, in units of the stream", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    kinds = [
        Patch(facecolor=FORGOTTEN, label="proposed scope"),
        Patch(facecolor=STRANGERS, hatch="///", edgecolor="white", label="other layers"),
    ]
    axes.legend(handles=kinds, fontsize=8, frameon=False)
    return png(figure)


def table(rows: Sequence[Row]) -> Table:
    """The same as a table for the terminal."""
    found = Table(box=None, pad_edge=False)
    for head in ("layer", "separation", "person's share", "proposed"):
        found.add_column(head, justify="left" if head == "layer" else "right")
    for row in rows:
        found.add_row(row.layer, f"{row.separation:.3f}", f"{row.share:.2f}", "yes" if row.proposed else "")
    return found
