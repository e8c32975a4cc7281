"""Results as pictures: forgetting against harm, many people, few photos. The same results give the same bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from efface.benchmark.parts import Picture
from efface.benchmark.recognition import rows, tables
from efface.benchmark.recognition.choice import FAR, TAR
from efface.benchmark.recognition.configuration import RecognitionBenchmark
from efface.benchmark.recognition.rows import RETRAINED
from efface.benchmark.results import Results
from efface.metrics.harm import MOST_DROP, MOST_FAR
from efface.report.figures import FORGOTTEN, INK, OTHERS, PALE, PEOPLE, STRANGERS, png

MARKS = "osD^vPXh"
"""One for each method of a figure with curves, beside its colour."""
NEAR = 0.2
"""Floors whose TAR differs by less have one label."""
FASTEST, LOWEST = 0.01, 0.05
"""Seconds, and strangers accepted of 1,000 pairs, below which a dot stands at the end of its axis."""
NAMES = {"original": "original model", RETRAINED: "Retrain"}
"""Rows of the figures that are not unlearned."""


def draw(config: RecognitionBenchmark, results: Results) -> dict[str, Picture]:
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
    """A line for each method, the strongest forgetting first: TAR of the forgotten with its interval, strangers
    accepted, points that others lose at most, processor seconds. Filled where the method passes the gate "at equal
    harm"; the gate's limits are lines, what is over them lies on grey, and so are the floors."""
    order = sorted(found, key=lambda n: -found[n]["numbers"]["forget"][TAR]["value"])
    figure = Figure(figsize=(9.0, 1.5 + 0.21 * len(order)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 4, sharey=True, width_ratios=(4, 3, 2, 2))
    forgetting, strangers, harm, cost = panels
    for line, name in enumerate(order):
        result = found[name]
        colour = INK if name in NAMES else OTHERS
        face = colour if result.get("admissible", True) or name in NAMES else "white"
        look = {"color": colour, "markerfacecolor": face, "markeredgewidth": 1.4, "markersize": 6, "zorder": 3}
        number = result["numbers"]["forget"][TAR]
        if number["low"] is not None:
            forgetting.plot([number["low"], number["high"]], [line, line], color=colour, linewidth=1.3)
        forgetting.plot(number["value"], line, "o", **look)
        strangers.plot(max(_far(result), LOWEST), line, "o", **look)
        if "drops" in result:
            lost = [d for g in ("retain", "holdout") for d in result["drops"][g].values() if d is not None]
            harm.plot(max(0.0, *lost), line, "o", **look)
        if name not in NAMES:
            cost.plot(max(FASTEST, result["cost"]["processor_seconds"]), line, "o", **look)
    floors = {n: numbers[TAR]["value"] for n, numbers in found.get("original", {}).get("floor", {}).items()}
    together = len(floors) > 1 and max(floors.values()) - min(floors.values()) < NEAR
    for matcher, value in floors.items():
        forgetting.axvline(value, color=FORGOTTEN, linewidth=1.1, linestyle=":", zorder=1)
        look = {"fontsize": 7.5, "color": FORGOTTEN, "rotation": 0, "ha": "center", "va": "bottom"}
        name = "both\nfloors" if together else matcher.replace("_", "\n")
        if not together or value == max(floors.values()):
            forgetting.annotate(name, (value, len(order) - 0.35), annotation_clip=False, **look)
    for axes, limit in ((strangers, 1e3 * MOST_FAR), (harm, MOST_DROP)):
        axes.axvspan(limit, 1e4, color=PALE, alpha=0.35, linewidth=0, zorder=0)
        axes.axvline(limit, color=STRANGERS, linewidth=0.9, linestyle="--", zorder=1)
    heads = ("forgotten: TAR", "strangers accepted\nof 1,000 pairs", "points that others\nlose at most", "seconds")
    for axes, head in zip(panels, heads, strict=True):
        axes.set_xlabel(head, fontsize=8.5)
        axes.tick_params(labelsize=8, color=STRANGERS)
        axes.grid(axis="y", color="#E4E7EB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    forgetting.set(xlim=(-0.03, 1.03), ylim=(-0.6, len(order) - 0.4))
    forgetting.set_yticks(range(len(order)), [NAMES.get(n, n) for n in order])
    strangers.set_xscale("log")
    strangers.set_xlim(min(0.8, *(0.8 * max(_far(r), LOWEST) for r in found.values())), _end(map(_far, found.values())))
    most = max(max(d or 0 for g in r["drops"].values() for d in g.values()) for r in found.values() if "drops" in r)
    harm.set_xlim(-0.15, 1.15 * max(1.5 * MOST_DROP, min(most, 10.0)))
    cost.set_xscale("log")
    for axes in (strangers, cost):
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    figure.suptitle(f"{title}. Filled: passes the gate “at equal harm”", fontsize=10, color=INK, x=0.01, ha="left")
    return png(figure, 130)


def _far(result: Mapping[str, Any]) -> float:
    """Strangers accepted, of 1,000 pairs."""
    return 1e3 * result["numbers"]["impostors"][FAR]["value"]


def _end(values: Iterable[float]) -> float:
    return 1.3 * max(2e3 * MOST_FAR, *values)


Curve = tuple[Sequence[float], Sequence[float]]
Panels = Mapping[str, Mapping[str, Curve]]
"""What is on the vertical axis -> method -> curve."""


def _scale(config: RecognitionBenchmark, results: Results) -> tuple[str, Panels, Panels] | None:
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


def _photos(config: RecognitionBenchmark, results: Results) -> tuple[str, Panels, Panels] | None:
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
        elif "lose" not in panel:
            axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=8, color=STRANGERS)
        axes.grid(color="#E4E7EB", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(across, fontsize=8.5)
    figure.legend(
        handles.values(), handles.keys(), fontsize=8, frameon=False, loc="outside upper left", ncols=5, handlelength=2.2
    )
    return png(figure, 150)
