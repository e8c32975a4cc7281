"""Results of face generators as pictures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from efface.benchmark.drawing import figures
from efface.benchmark.drawing.tables import contents
from efface.benchmark.gan.configuration import GanBenchmark
from efface.benchmark.parts import Picture
from efface.benchmark.results import Content, Results
from efface.report.drawn_verdict import ACC, OTHERS, TAR
from efface.report.figures import FORGOTTEN, INK, STRANGERS, png
from efface.report.rebuilt_verdict import LOST_ACC

SHOWN = figures.Shown(
    method="guide",
    forgetting=(OTHERS, "id_photo", "forgotten, by other photos: likeness"),
    harm=("retain", ACC, "retained: nearest"),
    least=lambda before: before - LOST_ACC["retain"],
    ablated=(
        (OTHERS, TAR, "forgotten, by other photos: accepted"),
        ("retain", "id", "retained: ID"),
        ("neighbours", "id", "look-alikes: ID"),
    ),
    recogniser="generator's recogniser",
    drawn="What each model draws of the same latents, from yaw −30°, 0° and 30°",
)


def draw(config: GanBenchmark, results: Results) -> dict[str, Picture]:
    """End of the file's name -> picture, for everything that has results."""
    pictures = figures.draw(config, results, SHOWN)
    for data in config.data:
        found = {name: content for name, (_, content) in contents(config, results, data).items()}
        if "original" in found and len(found) > 1 and len(_curve(found["original"]["numbers"], "forget")) > 1:
            title = "Accepted as the person, by the side from which the picture is taken"
            pictures[f"{data}-views"] = Picture(data, title, views(found))
    return pictures


def views(found: Mapping[str, Content]) -> bytes:
    """A panel for pictures from the photo that the method was given, and for those from other photos: a line for each
    model over yaw."""
    figure = Figure(figsize=(9.2, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (group, title) in enumerate({"forget": "by the given photo", OTHERS: "by other photos"}.items()):
        axes = figure.add_subplot(1, 2, number + 1)
        for i, (name, content) in enumerate(found.items()):
            curve = _curve(content["numbers"], group)
            colour = INK if name == "original" else FORGOTTEN if name == "guide" else STRANGERS
            marker = "" if name in ("original", "guide") else "os^vDPX"[i % 7]
            wide = 2.0 if name in ("original", "guide") else 1.0
            axes.plot(
                list(curve), list(curve.values()), color=colour, marker=marker, markersize=4, linewidth=wide,
                label=name.replace("_", " "),
            )  # fmt: skip
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(f"forgotten, {title}", fontsize=9, color=INK, loc="left")
        axes.set_xlabel("yaw in degrees", fontsize=8.5)
        axes.set_ylabel("accepted (FAR 1e-2)", fontsize=8.5)
        figures.plain(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, frameon=False, loc="outside right upper")
    return png(figure, 150)


def _curve(numbers: Mapping[str, Any], group: str) -> dict[float, float]:
    """Yaw in degrees -> share accepted from there."""
    begin = f"{TAR},yaw="
    own = {float(m.removeprefix(begin)): n["value"] for m, n in numbers.get(group, {}).items() if m.startswith(begin)}
    return {yaw: own[yaw] for yaw in sorted(own) if own[yaw] is not None}
