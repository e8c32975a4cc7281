"""Results of diffusion models as pictures: forgetting against harm, ablations, drawn faces. The same results give the
same bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from efface.benchmark.diffusion import rows, tables
from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.parts import Picture
from efface.benchmark.results import Content, Results
from efface.report.drawn_verdict import KEPT_NET
from efface.report.figures import FORGOTTEN, INK, OTHERS, PALE, STRANGERS, png


def draw(config: DiffusionBenchmark, results: Results) -> dict[str, Picture]:
    """End of the file's name -> picture, for everything that has results."""
    pictures: dict[str, Picture] = {}
    for data in config.data:
        found = tables.contents(config, results, data)
        contents = {name: content for name, (_, content) in found.items()}
        if "original" in contents and len(contents) > 1:
            title = f"Forgetting against harm: {data}"
            pictures[data] = Picture(data, title, against(contents))
        sheets = {name: results.picture(task) for name, (task, _) in found.items() if results.picture(task).exists()}
        if "original" in sheets and len(sheets) > 1:
            people = found["original"][0].people[:2]
            drawn = {name: np.asarray(Image.open(path).convert("RGB")) for name, path in sheets.items()}
            pictures[f"{data}-faces"] = Picture(
                data, "What each model draws, from the same noise", faces(drawn, people)
            )
        groups = {
            group: {title: content for title, task in own.items() if (content := results.get(task))}
            for group, own in rows.ablations(config, results, data).items()
        }
        groups = {group: {t: c for t, c in own.items() if c["numbers"]} for group, own in groups.items()}
        if any(groups.values()):
            title = f"Ablations: {data}"
            pictures[f"{data}-ablations"] = Picture(f"{data} ablations", title, curves(groups))
    return pictures


def against(contents: Mapping[str, Content]) -> bytes:
    """A dot for each method, filled where it keeps the retained as the rule asks: ISM of the forgotten with its
    interval against ISM net of the retained, by the conditioning recogniser and by the judge. On grey: less is kept
    than the rule asks. The dotted line is what strangers' pictures reach."""
    original = contents["original"]
    panels = ["the conditioning recogniser", *(f"the {judge}" for judge in original["judges"])]
    figure = Figure(figsize=(4.6 * len(panels), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        before = _scored(original, number)
        limit = KEPT_NET * before["retain"]["ism_net"]["value"]
        axes.axhspan(-1, limit, color=PALE, alpha=0.35, linewidth=0, zorder=0)
        stranger = _controls(original, number).get("stranger", {}).get("forget", {}).get("ism")
        if stranger and stranger["value"] is not None:
            axes.axvline(stranger["value"], color=STRANGERS, linestyle=":", linewidth=1.1, zorder=1)
        places = []
        for name, content in contents.items():
            numbers = _scored(content, number)
            x, y = numbers["forget"]["ism"], numbers["retain"]["ism_net"]["value"]
            colour = INK if name == "original" else FORGOTTEN if name == "piu" else OTHERS
            if x["low"] is not None:
                axes.plot([x["low"], x["high"]], [y, y], color=colour, linewidth=1, zorder=2)
            filled = name == "original" or content["admissible"]
            axes.plot(
                x["value"], y, "o", color=colour, markerfacecolor=colour if filled else "white", markersize=6, zorder=3
            )
            places.append((x["value"], y, name.replace("_", " "), colour))
        _label(axes, places)
        lowest = min(y for _, y, _, _ in places)
        axes.set_ylim(min(lowest, limit) - 0.05, max(y for _, y, _, _ in places) + 0.05)
        axes.set_title(f"by {panel}", fontsize=9, color=INK, loc="left")
        axes.set_xlabel("forgotten: ISM", fontsize=8.5)
        axes.set_ylabel("retained: ISM net", fontsize=8.5)
        _plain(axes)
    return png(figure, 150)


def _label(axes: Axes, places: Sequence[tuple[float, float, str, str]]) -> None:
    """Names beside the dots, those of dots that lie together below one another."""
    taken: list[tuple[float, float]] = []
    for x, y, name, colour in sorted(places, key=lambda place: -place[1]):
        below = sum(abs(x - a) < 0.08 and abs(y - b) < 0.02 for a, b in taken)
        taken.append((x, y))
        axes.annotate(name, (x, y), (5, 4 - 8 * below), textcoords="offset points", fontsize=7, color=colour)


def curves(groups: Mapping[str, Mapping[str, Content]]) -> bytes:
    """A panel for each group: ISM of the forgotten, ISM net of the retained and of the look-alikes."""
    shown = {group: own for group, own in groups.items() if own}
    wide = min(3, len(shown))
    tall = -(-len(shown) // wide)
    figure = Figure(figsize=(3.6 * wide, 2.7 * tall + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    lines = {
        "forgotten: ISM": ("forget", "ism", FORGOTTEN, "o-"),
        "retained: ISM net": ("retain", "ism_net", OTHERS, "s--"),
        "look-alikes: ISM net": ("neighbours", "ism_net", STRANGERS, "^:"),
    }
    for number, (group, own) in enumerate(shown.items()):
        axes = figure.add_subplot(tall, wide, number + 1)
        for name, (members, metric, colour, style) in lines.items():
            values = [content["numbers"].get(members, {}).get(metric, {}).get("value") for content in own.values()]
            ys = [np.nan if value is None else value for value in values]
            axes.plot(range(len(ys)), ys, style, color=colour, markersize=4, linewidth=1.4, label=name)
        long = max(map(len, own)) > 8
        turned = {"rotation": 20, "ha": "right"} if long else {}
        axes.set_xticks(range(len(own)), [title.replace("_", " ") for title in own], **turned)
        axes.set_title(group, fontsize=9, color=INK, loc="left")
        _plain(axes)
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
            heads = [told for person in people for told in (f"forgotten: {person}", "look-alike, retained")]
            axes.set_xticks([block * (i + 0.5) for i in range(len(heads))], heads, fontsize=7.5)
            axes.xaxis.tick_top()
            axes.tick_params(length=0)
    return png(figure, 110)


def _scored(content: Content, number: int) -> Mapping[str, Any]:
    """Numbers by the conditioning recogniser (0), or by a judge."""
    return [content["numbers"], *content["judges"].values()][number]


def _controls(content: Content, number: int) -> Mapping[str, Any]:
    return [content["controls"], *content["judges_controls"].values()][number]


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8, color=STRANGERS)
    axes.grid(color="#E4E7EB", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
