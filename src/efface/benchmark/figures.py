"""Results as pictures: forgetting against harm, many people, few photos. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from efface.benchmark import rows, tables
from efface.benchmark.choice import FAR, TAR
from efface.benchmark.configuration import BenchmarkConfig
from efface.benchmark.rows import RETRAINED, Results
from efface.metrics.harm import MOST_FAR
from efface.report.figures import FORGOTTEN, INK, PALE, PEOPLE, STRANGERS, png

MARKS = "osD^vPXh"
"""One for each method of a figure with curves, beside its colour."""
FASTEST = 0.05
"""Seconds: the lower end of the colours."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    section: str
    title: str
    png: bytes


def draw(config: BenchmarkConfig, results: Results) -> dict[str, Picture]:
    """End of the file's name -> picture, for everything that has results."""
    pictures: dict[str, Picture] = {}
    for data, own in config.data.items():
        contents = tables.found(config, results, data)
        for group in own.report:
            points = {name: groups[group] for name, groups in contents.items() if groups.get(group, {}).get("numbers")}
            if points.keys() - {"original", RETRAINED}:
                several = len(own.report) > 1
                title = f"{data}, {group} people" if several else data
                name = f"{data}-{group}" if several else data
                pictures[name] = Picture(data, f"Forgetting against harm: {title}", trade_off(points, title))
    for name, curves in (("scale", _scale(config, results)), ("photos", _photos(config, results))):
        if curves:
            title = {"scale": "Many people", "photos": "Few photos"}[name]
            pictures[name] = Picture(name, title, _curves(*curves))
    return pictures


def trade_off(found: Mapping[str, Mapping[str, Any]], title: str) -> bytes:
    """Each method's TAR of the forgotten by strangers accepted, coloured by its processor seconds, filled where it
    passes the gate "at equal harm". Names stand in a column beside the axes, in the points' order, joined by lines."""
    figure = Figure(figsize=(8.4, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    methods = {name: result for name, result in found.items() if name not in ("original", RETRAINED)}
    far = {n: 1e3 * r["numbers"]["impostors"][FAR]["value"] for n, r in found.items()}
    share = {n: r["numbers"]["forget"][TAR]["value"] for n, r in found.items()}
    seconds = {n: max(FASTEST, r["cost"]["processor_seconds"]) for n, r in methods.items()}
    norm = LogNorm(FASTEST, max(1.0, *seconds.values()))
    colours = colormaps["viridis"].reversed()
    lowest = 0.8 * max(0.05, min(far.values()))
    axes.set_xscale("log")
    axes.axvspan(1e3 * MOST_FAR, 1e4, color=PALE, alpha=0.35, linewidth=0, zorder=0)
    axes.axvline(1e3 * MOST_FAR, color=STRANGERS, linewidth=0.9, linestyle="--", zorder=1)
    for name, result in methods.items():
        colour = colours(norm(seconds[name]))
        face = colour if result["admissible"] else "white"
        place = (max(far[name], lowest), share[name])
        axes.plot(*place, "o", markersize=7.5, color=colour, markerfacecolor=face, markeredgewidth=1.8, zorder=4)
    for name, mark in (("original", "*"), (RETRAINED, "P")):
        if name in found:
            place = (max(far[name], lowest), share[name])
            axes.plot(*place, mark, markersize=11, color=INK, markeredgecolor="white", zorder=5)
    for matcher, numbers in found.get("original", {}).get("floor", {}).items():
        axes.axhline(numbers[TAR]["value"], color=FORGOTTEN, linewidth=1.0, linestyle=":", zorder=1)
        words = f"floor: {matcher.replace('_', ' ')}"
        look = {"textcoords": "offset points", "fontsize": 7.5, "color": FORGOTTEN}
        axes.annotate(words, (0, numbers[TAR]["value"]), (4, 3), xycoords=("axes fraction", "data"), **look)
    highest = 1.3 * max(*far.values(), 1e3 * MOST_FAR)
    axes.set(xlim=(lowest, highest), ylim=(-0.04, 1.06))
    axes.set(xlabel="strangers accepted, of 1,000 pairs (the original model: 1)", ylabel="forgotten people: TAR")
    axes.set_title(f"{title}: lower left is better", fontsize=10, color=INK, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=STRANGERS)
    names = {"original": "original model", RETRAINED: "Retrain"}
    places = {names.get(n, n): (max(far[n], lowest), share[n]) for n in found}
    _label(axes, places, (np.log(lowest), np.log(highest)))
    bar = figure.colorbar(
        ScalarMappable(norm, colours),
        ax=axes,
        location="bottom",
        shrink=0.45,
        aspect=30,
    )
    bar.ax.tick_params(labelsize=8)
    bar.set_label(
        "processor seconds a request; filled: passes the gate “at equal harm”; grey: over its false accepts", fontsize=8
    )
    return png(figure, 150)


def _label(axes: Axes, places: Mapping[str, tuple[float, float]], ends: tuple[float, float]) -> None:
    """Names in a column right of the axes, at even distances, each joined to its point."""
    order = sorted(places, key=lambda n: (places[n][1], -places[n][0]))
    gap = 1.1 / max(22, len(order))
    heights = np.array([places[n][1] for n in order])
    spread = np.arange(len(order)) * gap
    heights = np.maximum.accumulate(heights - spread) + spread  # upwards, at least a gap apart
    top = 1.06 - gap * np.arange(len(order))[::-1]
    heights = np.minimum(heights, top)
    for name, height in zip(order, heights, strict=True):
        x, y = places[name]
        across = (np.log(x) - ends[0]) / (ends[1] - ends[0])
        up = (height + 0.04) / 1.10
        axes.plot(
            [across, 1.02], [(y + 0.04) / 1.10, up], color=STRANGERS, linewidth=0.5, alpha=0.7,
            transform=axes.transAxes, clip_on=False, zorder=2,
        )  # fmt: skip
        axes.text(1.025, up, name, fontsize=8, color=INK, va="center", transform=axes.transAxes)


Curve = tuple[Sequence[float], Sequence[float]]
Panels = Mapping[str, Mapping[str, Curve]]
"""What is on the vertical axis -> method -> curve."""


def _scale(config: BenchmarkConfig, results: Results) -> tuple[str, Panels, Panels] | None:
    """After each of the requests, one after another; and at once as single marks."""
    lines: dict[str, dict[str, Curve]] = {}
    marks: dict[str, dict[str, Curve]] = {}
    for method in config.scale.methods if config.scale else ():
        for task in rows.scaled(config, results, method):
            content = results.get(task)
            result = next(iter(content["groups"].values())) if content else {}
            if result.get("steps"):
                steps = result["steps"]
                at = [s["people"] for s in steps]
                for panel, values in {
                    "forgotten: TAR": [s["forget"][TAR] for s in steps],
                    "drift of retained photos, 1 − cosine": [s["drift"] for s in steps],
                    "strangers accepted, of 1,000 pairs": [1e3 * s[FAR] for s in steps],
                    "held-out people lose, TAR points": [s["drops"]["holdout"][TAR] for s in steps],
                }.items():
                    lines.setdefault(panel, {})[method] = at, values
            if result.get("numbers"):
                numbers = result["numbers"]
                people = len(next(iter(task.sets.values()))[0])
                for panel, value in {
                    "forgotten: TAR": numbers["forget"][TAR]["value"],
                    "drift of retained photos, 1 − cosine": numbers["retain"]["template_drift"]["value"],
                    "strangers accepted, of 1,000 pairs": 1e3 * numbers["impostors"][FAR]["value"],
                    "held-out people lose, TAR points": result["drops"]["holdout"][TAR],
                }.items():
                    xs, ys = marks.setdefault(panel, {}).setdefault(method, ([], []))
                    marks[panel][method] = [*xs, people], [*ys, value]
    told = "people forgotten (line: one request each, one after another; marks: in one request)"
    return (told, lines, marks) if lines or marks else None


def _photos(config: BenchmarkConfig, results: Results) -> tuple[str, Panels, Panels] | None:
    lines: dict[str, dict[str, Curve]] = {}
    for method in config.photos.methods if config.photos else ():
        for task in rows.few_photos(config, results, method):
            content = results.get(task)
            result = next(iter(content["groups"].values())) if content else {}
            for panel, metric in (("forgotten: TAR", TAR), ("forgotten: rank-1", "rank1")):
                if result.get("numbers"):
                    xs, ys = lines.setdefault(panel, {}).setdefault(method, ([], []))
                    lines[panel][method] = [*xs, task.seen or 0], [*ys, result["numbers"]["forget"][metric]["value"]]
    return ("photos of each person that the method is given", lines, {}) if lines else None


def _curves(across: str, lines: Panels, marks: Panels) -> bytes:
    """Panels side by side, a line or marks for each method, which one legend names."""
    panels = list(dict.fromkeys((*lines, *marks)))
    wide = min(2, len(panels))
    tall = -(-len(panels) // wide)
    figure = Figure(figsize=(4.2 * wide, 2.9 * tall + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    methods = list(dict.fromkeys(m for both in (lines, marks) for panel in both.values() for m in panel))
    handles: dict[str, Any] = {}
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(tall, wide, number + 1)
        for order, method in enumerate(methods):
            colour, mark = PEOPLE[order % len(PEOPLE)], MARKS[order % len(MARKS)]
            if method in lines.get(panel, {}):
                xs, ys = lines[panel][method]
                style = ("-", "--", ":", "-.")[order % 4]
                drawn = axes.plot(xs, ys, linestyle=style, marker=mark, color=colour, markersize=4, linewidth=1.5)
                handles[method] = drawn[0]
            if method in marks.get(panel, {}):
                xs, ys = marks[panel][method]
                drawn = axes.plot(xs, ys, mark, color=colour, markersize=8, markerfacecolor="white", zorder=3)
                handles.setdefault(method, drawn[0])
        most = max((x for both in (lines, marks) for xs, _ in both.get(panel, {}).values() for x in xs), default=1)
        if most > 10:
            axes.set_xscale("log")
        ticks = sorted({x for both in (lines, marks) for xs, _ in both.get(panel, {}).values() for x in xs})
        shown = ticks if len(ticks) <= 6 else [t for t in ticks if t in (1, 2, 5, 10, 20, 50) or t == ticks[-1]]
        axes.set_xticks(shown, [f"{t:g}" for t in shown])
        axes.minorticks_off()
        axes.set_title(panel, fontsize=9, color=INK, loc="left")
        if panel.startswith("forgotten"):
            axes.set_ylim(-0.02, 1.02)
        axes.tick_params(labelsize=8, color=STRANGERS)
        axes.grid(color="#E4E7EB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(across, fontsize=8.5)
    figure.legend(
        handles.values(), handles.keys(), fontsize=8, frameon=False, loc="outside upper left", ncols=5, handlelength=2.2
    )
    return png(figure, 150)
