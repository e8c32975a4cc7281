"""`efface evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import (
    Attacks,
    Config,
    Detector,
    Faces,
    Forget,
    Model,
    Seed,
    Settings,
    Tiny,
    Weights,
    configuration,
    line_of,
    show,
)


def evaluate(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    unlearned: Annotated[
        Path | None,
        typer.Option(help="Weights after unlearning, to compare with: a file, or the folder of a model that draws."),
    ] = None,
    faces: Faces = None,
    forget: Forget = None,
    detector: Detector = None,
    attacks: Attacks = None,
    settings: Settings = None,
    seed: Seed = None,
    tiny: Tiny = False,
) -> None:
    """Measure a model on people's photos by the protocol; changes and writes nothing."""
    from efface.cli.terminal import Terminal

    loaded = configuration(
        config,
        settings,
        tiny,
        model=model,
        weights=weights,
        faces=faces,
        forget=forget,
        detector=detector,
        attacks=attacks,
        seed=seed,
    )
    audit = line_of(loaded).evaluate(loaded, unlearned, Terminal())
    show(audit)
