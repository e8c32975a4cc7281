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
    show,
)


def evaluate(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    unlearned: Annotated[
        Path | None,
        typer.Option(help="Weights after unlearning, to compare with: a file, or a diffusion model's folder."),
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
    from efface.config import DiffusionConfig

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
    if isinstance(loaded, DiffusionConfig):
        from efface import run_diffusion

        audit = run_diffusion.evaluate(loaded, unlearned, Terminal())
    else:
        from efface import run

        audit = run.evaluate(loaded, unlearned, Terminal())
    show(audit)
