"""Results of models that draw as pictures: forgetting against harm, ablations, drawn faces. The same results give the
same bytes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from efface.benchmark.drawing import rows
from efface.benchmark.drawing.rows import Benchmark
from efface.benchmark.drawing.tables import contents, value
from efface.benchmark.parts import Picture
from efface.benchmark.results import Content, Results
from efface.report.figures import FORGOTTEN, INK, OTHERS, PALE, STRANGERS, png

Line = tuple[str, str, str]
"""A number in a figure: its group, its metric, its name."""


@dataclass(frozen=True)
class Shown:
    """What the figures of a kind of model show."""

    method: str
    """The method that stands out."""
    forgetting: Line
    """Across."""
    harm: Line
    """Upwards; more is better."""
    least: Callable[[float], float]
    """Of the original's value of `harm`: what the rule asks for at least."""
    ablated: tuple[Line, Line, Line]
    """Of the forgotten, of the retained, of the look-alikes."""
    recogniser: str
    """What the model's own recogniser is called."""
    drawn: str
    """Title of the faces."""


def draw(config: Benchmark, results: Results, shown: Shown) -> dict[str, Picture]:
    """End of the file's name -> picture, for everything that has results."""
    pictures: dict[str, Picture] = {}
    for data in config.data:
        found = contents(config, results, data)
        measured = {name: content for name, (_, content) in found.items()}
        if "original" in measured and len(measured) > 1:
            title = f"Forgetting against harm: {data}"
            pictures[data] = Picture(data, title, against(measured, shown))
        sheets = {name: results.picture(task) for name, (task, _) in found.items() if results.picture(task).exists()}
        if "original" in sheets and len(sheets) > 1:
            people = found["original"][0].people[:2]
            drawn = {name: np.asarray(Image.open(path).convert("RGB")) for name, path in sheets.items()}
            pictures[f"{data}-faces"] = Picture(data, shown.drawn, faces(drawn, people))
        groups = {
            group: {title: content for title, task in own.items() if (content := results.get(task))}
            for group, own in rows.ablations(config, results, data).items()
        }
        groups = {group: {t: c for t, c in own.items() if c["numbers"]} for group, own in groups.items()}
        if any(groups.values()):
            title = f"Ablations: {data}"
            pictures[f"{data}-ablations"] = Picture(f"{data} ablations", title, curves(groups, shown.ablated))
    return pictures


def against(found: Mapping[str, Content], shown: Shown) -> bytes:
    """A dot for each method, filled where it keeps the retained as the rule asks: forgetting with its interval against
    harm, by the model's own recogniser and by the judge. On grey: less is kept than the rule asks. The dotted line is
    what strangers' pictures reach."""
    original = found["original"]
    panels = [f"the {shown.recogniser}", *(f"the {judge}" for judge in original["judges"])]
    figure = Figure(figsize=(4.6 * len(panels), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    (group, metric, across), (others, kept, upwards) = shown.forgetting, shown.harm
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        before = value(_scored(original, number), others, kept)
        limit = None if before is None else shown.least(before)
        if limit is not None:
            axes.axhspan(-1, limit, color=PALE, alpha=0.35, linewidth=0, zorder=0)
        stranger = value(_controls(original, number).get("stranger", {}), "forget", metric)
        if stranger is not None:
            axes.axvline(stranger, color=STRANGERS, linestyle=":", linewidth=1.1, zorder=1)
        places = []
        for name, content in found.items():
            numbers = _scored(content, number)
            x, y = numbers.get(group, {}).get(metric, {}), value(numbers, others, kept)
            if x.get("value") is None or y is None:
                continue
            colour = INK if name == "original" else FORGOTTEN if name == shown.method else OTHERS
            if x["low"] is not None:
                axes.plot([x["low"], x["high"]], [y, y], color=colour, linewidth=1, zorder=2)
            filled = name == "original" or content["admissible"]
            axes.plot(
                x["value"], y, "o", color=colour, markerfacecolor=colour if filled else "white", markersize=6, zorder=3
            )
            places.append((x["value"], y, name.replace("_", " "), colour))
        _label(axes, places)
        heights = [y for _, y, _, _ in places] + ([] if limit is None else [limit])
        if places:
            axes.set_ylim(min(heights) - 0.05, min(max(y for _, y, _, _ in places) + 0.05, 1.02))
        axes.set_title(f"by {panel}", fontsize=9, color=INK, loc="left")
        axes.set_xlabel(across, fontsize=8.5)
        axes.set_ylabel(upwards, fontsize=8.5)
        plain(axes)
    return png(figure, 150)


def _label(axes: Axes, places: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the dots, those of dots that lie together below one another."""
    taken: list[tuple[float, float]] = []
    for x, y, name, colour in sorted(places, key=lambda place: -place[1]):
        below = sum(abs(x - a) < 0.08 and abs(y - b) < 0.02 for a, b in taken)
        taken.append((x, y))
        axes.annotate(name, (x, y), (5, 4 - 8 * below), textcoords="offset points", fontsize=7, color=colour)


def curves(groups: Mapping[str, Mapping[str, Content]], shown: Sequence[Line]) -> bytes:
    """A panel for each group: numbers of the forgotten, of the retained and of the look-alikes."""
    groups = {group: own for group, own in groups.items() if own}
    wide = min(3, len(groups))
    tall = -(-len(groups) // wide)
    figure = Figure(figsize=(3.6 * wide, 2.7 * tall + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    styles = ((FORGOTTEN, "o-"), (OTHERS, "s--"), (STRANGERS, "^:"))
    for number, (group, own) in enumerate(groups.items()):
        axes = figure.add_subplot(tall, wide, number + 1)
        for (members, metric, name), (colour, style) in zip(shown, styles, strict=True):
            values = [value(content["numbers"], members, metric) for content in own.values()]
            ys = [np.nan if found is None else found for found in values]
            axes.plot(range(len(ys)), ys, style, color=colour, markersize=4, linewidth=1.4, label=name)
        long = max(map(len, own)) > 8
        turned = {"rotation": 20, "ha": "right"} if long else {}
        axes.set_xticks(range(len(own)), [title.replace("_", " ") for title in own], **turned)
        axes.set_title(group, fontsize=9, color=INK, loc="left")
        plain(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside upper left", ncols=3)
    return png(figure, 150)


def faces(sheets: Mapping[str, np.ndarray], people: Sequence[str]) -> bytes:
    """A row for each model: pictures of the forgotten people and of their nearest look-alikes."""
    wide = max(sheet.shape[1] / sheet.shape[0] for sheet in sheets.values())
    figure = Figure(figsize=(0.75 * wide + 1.4, 0.78 * len(sheets) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, sheet) in enumerate(sheets.items()):
        axes = figure.add_subplot(len(sheets), 1, number + 1)
        axes.imshow(sheet)
        axes.set_anchor("W")
        axes.set_xlim(0, wide * sheet.shape[0])
        axes.set_yticks([sheet.shape[0] / 2], [name.replace("_", " ")], fontsize=8)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if number == 0:
            block = sheet.shape[1] / (2 * len(people))
            space = "\n" if block < 2 * sheet.shape[0] else " "  # one picture is narrower than what stands over it
            heads = [h for person in people for h in (f"forgotten:{space}{person}", f"look-alike,{space}retained")]
            axes.set_xticks([block * (i + 0.5) for i in range(len(heads))], heads, fontsize=7.5)
            axes.xaxis.tick_top()
            axes.tick_params(length=0)
    return png(figure, 110)


def _scored(content: Content, number: int) -> Mapping[str, Any]:
    """Numbers by the conditioning recogniser (0), or by a judge."""
    return [content["numbers"], *content["judges"].values()][number]


def _controls(content: Content, number: int) -> Mapping[str, Any]:
    return [content["controls"], *content["judges_controls"].values()][number]


def plain(axes: Axes) -> None:
    """A grid and no frame."""
    axes.tick_params(labelsize=8, color=STRANGERS)
    axes.grid(color="#E4E7EB", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
