"""Pictures of scores and of the sphere, as PNG bytes. The same input gives the same bytes."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from efface.report.scores import Scores, trade_off

FORGOTTEN, OTHERS, STRANGERS, INK, PALE = "#C04A00", "#0072B2", "#8A8F98", "#1B1F24", "#C3C9D1"
"""Colours that stay apart for colour-blind readers; line style and marker always say the same again."""
PEOPLE = ("#C04A00", "#7A3E9D", "#00735A", "#A3195B", "#9A6700", "#0B5CAD", "#5B6B00", "#4D4D4D")
"""One for each forgotten person on the map; the number beside the dots says it again."""
LOWEST, HIGHEST = 1e-4, 0.9995
"""Ends of the axes of a DET plot: error rates."""
EDGES = np.linspace(-0.5, 1.0, 31)
"""Bins of a histogram of cosines; the few below are counted in the lowest."""
DEEPEST = 1e-4
"""Lower end of a logarithmic axis of losses, as a share of the largest."""
MOST_DOTS = 2000
"""Pale dots on the map at most."""


def _shares(values: np.ndarray) -> np.ndarray:
    return np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0] / max(1, len(values))


def highest_share(found: Iterable[Scores]) -> float:
    """Upper end of the axis that histograms of several models share."""
    shares = [_shares(v).max() for one in found for v in (one.forgotten, one.others, one.impostors)]
    return min(1.0, 1.08 * max(shares, default=1.0) + 0.01)


@dataclass(frozen=True)
class Compared:
    """What a histogram's cosines compare, in words."""

    what: str = "cosine of two photos"
    of: str = "share of pairs"
    impostors: str = "strangers"
    others: str = "same person, others"
    forgotten: str = "same person, forgotten"


PHOTOS = Compared()


def histograms(
    scores: Scores, threshold: float | None, far: str, title: str, top: float, words: Compared = PHOTOS
) -> bytes:
    """Shares of pairs by cosine, forgotten, others and impostors, with the frozen threshold; `top` ends the axis."""
    figure, axes = _blank(title)
    for values, colour, style, label in (
        (scores.impostors, STRANGERS, ":", words.impostors),
        (scores.others, OTHERS, "--", words.others),
        (scores.forgotten, FORGOTTEN, "-", words.forgotten),
    ):
        if not len(values):
            continue
        share = _shares(values)
        axes.stairs(share, EDGES, fill=True, color=colour, alpha=0.18, linewidth=0)
        axes.stairs(share, EDGES, color=colour, linestyle=style, linewidth=1.7, label=label)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.1)
        axes.annotate(
            f"threshold {threshold:.2f}\n(FAR {far})",
            (threshold, 1),
            xytext=(4, -20),
            textcoords="offset points",
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color=INK,
        )
    axes.set(xlim=(-0.5, 1.0), ylim=(0, top), xlabel=words.what, ylabel=words.of)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3, handlelength=1.6, columnspacing=1.2)
    return png(figure)


@dataclass(frozen=True)
class Curve:
    """One DET curve and where the frozen threshold puts its model on it."""

    label: str
    genuine: np.ndarray
    impostors: np.ndarray
    threshold: float | None
    colour: str
    style: str


def det(curves: Sequence[Curve], title: str) -> bytes:
    """Detection error trade-off on normal-deviate axes (Martin et al., 1997)."""
    figure, axes = _blank(title)
    for curve in curves:
        rates, missed = trade_off(curve.genuine, curve.impostors)
        axes.plot(_deviate(rates), _deviate(missed), curve.style, color=curve.colour, linewidth=1.7, label=curve.label)
        if curve.threshold is not None and len(rates):
            far = float((curve.impostors > curve.threshold).mean())
            miss = float((curve.genuine <= curve.threshold).mean())
            face = curve.colour if curve.style == "-" else "white"
            point = (_deviate(np.array([far])), _deviate(np.array([miss])))
            axes.plot(*point, "o", markersize=6.5, color=curve.colour, markerfacecolor=face, clip_on=False, zorder=5)
    ticks = np.array([1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999])
    labels = ["0.01 %", "0.1 %", "1 %", "5 %", "20 %", "50 %", "80 %", "95 %", "99 %", "99.9 %"]
    axes.set_xticks(_deviate(ticks[:6]), labels[:6])
    axes.set_yticks(_deviate(ticks), labels)
    low, middle, high = _deviate(np.array([LOWEST, 0.5, HIGHEST]))
    axes.set(xlim=(low, middle), ylim=(low, high))
    axes.set(xlabel="strangers accepted (false accept rate)", ylabel="own photos missed (1 − TAR)")
    axes.grid(color="#E4E7EB", linewidth=0.7)
    axes.legend(fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    return png(figure)


def training_curve(losses: Mapping[int, float], figures: Mapping[str, Mapping[int, float]]) -> bytes:
    """Loss by optimiser step, and on an axis of their own the numbers measured on people who were not trained on."""
    figure, axes = _blank("", width=6.4)
    axes.plot(list(losses), list(losses.values()), color=STRANGERS, linewidth=1.1, label="loss")
    axes.set(xlabel="optimiser step", ylabel="loss")
    axes.set_ylim(bottom=0)
    shares = axes.twinx()
    for (label, values), colour, style in zip(figures.items(), PEOPLE, ("-", "--", ":", "-.") * 2, strict=False):
        shares.plot(list(values), list(values.values()), style, color=colour, linewidth=1.7, label=label)
    shares.set(ylim=(0, 1.02))
    shares.set_ylabel("share, of people not trained on", fontsize=9)
    shares.tick_params(labelsize=8, color=STRANGERS)
    shares.spines["top"].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=4, handlelength=1.6, columnspacing=1.2)
    return png(figure)


def loss_terms(curves: Sequence[Mapping[str, Sequence[float]]]) -> bytes:
    """The terms of the loss by optimiser step, one stage after another, on a logarithmic axis where all are positive.

    curves: of each stage, `step` and the mean of each term over the steps up to it.
    """
    figure, axes = _blank("", width=6.4)
    names = list(dict.fromkeys(name for curve in curves for name in curve if name != "step"))
    values = [v for curve in curves for name in names for v in curve.get(name, ())]
    positive = all(v > 0 for v in values)
    for name, colour, style in zip(names, PEOPLE, ("-", "--", ":", "-.") * 2, strict=False):
        start = 0.0
        for number, curve in enumerate(curves):
            steps = [start + step for step in curve["step"]]
            label = name if number == next(i for i, c in enumerate(curves) if name in c) else None
            if name in curve:
                axes.plot(steps, curve[name], style, color=colour, linewidth=1.5, label=label)
            start = steps[-1]
            if name == names[0] and number + 1 < len(curves):
                axes.axvline(start, color=PALE, linewidth=0.9)
    axes.set(xlabel="optimiser step", ylabel="term of the loss", yscale="log" if positive else "linear")
    if positive:  # what a student differs by from its teacher at first, next to nothing, would flatten the rest
        axes.set_ylim(bottom=max(min(values), DEEPEST * max(values)))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=4, handlelength=1.6, columnspacing=1.2)
    return png(figure)


@dataclass(frozen=True)
class ByView:
    """A number of a group of people under one model, by yaw."""

    label: str
    values: Sequence[float | None]
    colour: str
    style: str


def by_view(yaws: Sequence[float], lines: Sequence[ByView], what: str, lowest: float = 0.0) -> bytes:
    """A number by the side from which people are seen; yaws in degrees."""
    figure, axes = _blank("")
    for line in lines:
        values = [np.nan if v is None else v for v in line.values]
        axes.plot(
            yaws, values, line.style, color=line.colour, linewidth=1.7, marker="o", markersize=3.5, label=line.label
        )
    axes.set(xlabel="yaw, degrees", ylabel=what, xticks=list(yaws), ylim=(lowest, 1.02))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2, handlelength=2.4, columnspacing=1.2)
    return png(figure)


def _deviate(rates: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of rates, kept within the axes."""
    clipped = np.clip(rates, LOWEST, HIGHEST)
    return np.array([NormalDist().inv_cdf(float(rate)) for rate in clipped])


def sphere(
    before: np.ndarray,
    after: np.ndarray,
    forgotten: Mapping[int, tuple[Sequence[int], Sequence[int]]],
    pale: Sequence[int],
) -> bytes:
    """A plane of the sphere: where photos went.

    before, after: plane coordinates float [n, 2] of the n photos under the two models.
    forgotten: number of a forgotten person, from 1 -> positions of their (seen, unseen) photos.
    pale: positions of everybody else's photos, drawn as dots with a line to where they went.
    """
    figure, axes = _blank("", width=5.4, height=5.0)
    rest = list(pale)
    moves = np.stack([before[rest], after[rest]], axis=1)
    axes.add_collection(LineCollection(list(moves), colors=PALE, linewidths=0.6, zorder=1))
    axes.scatter(*before[rest].T, s=9, color=PALE, linewidth=0, zorder=1)
    for number, (seen, unseen) in forgotten.items():
        colour = PEOPLE[(number - 1) % len(PEOPLE)]
        for positions, marker, style in ((seen, "s", ":"), (unseen, "o", "-")):
            for position in positions:
                _arrow(axes, before[position], after[position], colour, style)
            look = {"marker": marker, "edgecolor": colour, "linewidth": 0.9, "zorder": 3}
            axes.scatter(*before[list(positions)].T, s=16, color="white", **look)
            axes.scatter(*after[list(positions)].T, s=24, color=colour, **look)
        start = before[[*seen, *unseen]]
        box = {"boxstyle": "circle,pad=0.25", "facecolor": colour, "edgecolor": "white", "linewidth": 1.2}
        above = (float(start[:, 0].mean()), float(start[:, 1].max()))
        look = {"color": "white", "fontsize": 9, "weight": "bold", "ha": "center", "va": "bottom", "bbox": box}
        axes.annotate(str(number), above, xytext=(0, 9), textcoords="offset points", zorder=4, **look)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.set_aspect("equal", "datalim")
    axes.legend(handles=_legend(), fontsize=8, frameon=True, framealpha=0.9, edgecolor="none", loc="best")
    return png(figure)


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str, style: str) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 7, "linestyle": style, "linewidth": 0.9, "color": colour}
    axes.annotate("", tuple(end), tuple(start), arrowprops={**look, "alpha": 0.55}, zorder=2)


def _legend() -> list[Line2D]:
    """What the marks of the map mean, apart from the person's colour."""
    return [
        Line2D([], [], marker="o", color=INK, markerfacecolor="white", linestyle="", label="unseen photo, before"),
        Line2D([], [], marker="o", color=INK, linestyle="-", linewidth=0.9, label="unseen photo, after"),
        Line2D([], [], marker="s", color=INK, markerfacecolor="white", linestyle="", label="seen photo, before"),
        Line2D([], [], marker="s", color=INK, linestyle=":", linewidth=0.9, label="seen photo, after"),
        Line2D([], [], marker="o", color=PALE, linestyle="-", linewidth=0.6, markersize=3.5, label="everybody else"),
    ]


@dataclass(frozen=True)
class Match:
    """A photo that is compared with its person's template."""

    pixels: np.ndarray
    """uint8 [side, side, 3], RGB."""
    before: float
    """Cosine with the template under the original model."""
    after: float
    """The same under the unlearned model."""


@dataclass(frozen=True)
class Strip:
    """One person: the template and photos that are compared with it."""

    title: str
    template: np.ndarray
    """uint8 [side, side, 3], RGB."""
    matches: tuple[Match, ...]


def faces(strips: Sequence[Strip], threshold: float | None) -> bytes:
    """A row of photos for each person, the template first; below each photo its cosine with the template before →
    after. What is accepted after, above `threshold`, has a solid blue frame, and a dashed orange one what is not."""
    cell, gap, label, head = 1.0, 0.12, 1.25, 0.45  # inches
    row = cell + 0.42
    most = max(len(strip.matches) for strip in strips)
    width, height = label + (most + 1) * (cell + gap) + gap, head + len(strips) * row
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    plain = {"color": INK, "parse_math": False}
    enrolled, compared = (label + column * (cell + gap) for column in (0, 1))
    figure.text(enrolled / width, 1 - 0.25 / height, "enrolled photo", fontsize=9, **plain)
    told = "other photos: likeness (cosine) with it, before → after"
    told += "" if threshold is None else f"; the same person above {threshold:.2f}"
    figure.text((compared + gap) / width, 1 - 0.25 / height, told, fontsize=9, **plain)
    for number, strip in enumerate(strips):
        top = head + number * row
        middle = 1 - (top + cell / 2) / height
        figure.text(0.1 / width, middle, strip.title, fontsize=10, weight="bold", va="center", **plain)
        for column, pixels in enumerate((strip.template, *(match.pixels for match in strip.matches))):
            left = label + column * (cell + gap) + (gap if column else 0)
            axes = figure.add_axes((left / width, 1 - (top + cell) / height, cell / width, cell / height))
            axes.imshow(pixels, interpolation="lanczos")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=False)
            if column:
                match = strip.matches[column - 1]
                accepted = threshold is not None and match.after > threshold
                colour, style = (OTHERS, "-") if accepted else (FORGOTTEN, (0, (3, 1.5)))
                frame = {"fill": False, "edgecolor": colour, "linestyle": style, "linewidth": 3, "clip_on": False}
                axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, capstyle="butt", **frame))
                axes.set_xlabel(f"{match.before:.2f} → {match.after:.2f}", fontsize=9.5, color=colour, labelpad=5)
    return png(figure, 120)


def _blank(title: str, width: float = 4.6, height: float = 3.6) -> tuple[Figure, Axes]:
    """An empty plot, sized in inches of a page that is 1000 pixels wide, without any global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.tick_params(labelsize=8, color=STRANGERS)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: Figure, dpi: int = 200) -> bytes:
    """A figure as PNG bytes that say nothing of when they were made."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
