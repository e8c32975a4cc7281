"""Results of diffusion models as pictures."""

from efface.benchmark.diffusion.configuration import DiffusionBenchmark
from efface.benchmark.drawing import figures
from efface.benchmark.parts import Picture
from efface.benchmark.results import Results
from efface.report.drawn_verdict import KEPT_NET

SHOWN = figures.Shown(
    method="piu",
    forgetting=("forget", "ism", "forgotten: ISM"),
    harm=("retain", "ism_net", "retained: ISM net"),
    least=lambda before: KEPT_NET * before,
    ablated=(
        ("forget", "ism", "forgotten: ISM"),
        ("retain", "ism_net", "retained: ISM net"),
        ("neighbours", "ism_net", "look-alikes: ISM net"),
    ),
    recogniser="conditioning recogniser",
    drawn="What each model draws, from the same noise",
)


def draw(config: DiffusionBenchmark, results: Results) -> dict[str, Picture]:
    """End of the file's name -> picture, for everything that has results."""
    return figures.draw(config, results, SHOWN)
