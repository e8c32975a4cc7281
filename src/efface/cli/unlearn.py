"""`efface unlearn`."""

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
    run_and_show,
)


def unlearn(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    faces: Faces = None,
    forget: Forget = None,
    method: Annotated[str | None, typer.Option(help="Unlearning method; see `efface methods`.")] = None,
    detector: Detector = None,
    attacks: Attacks = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; must not exist yet [efface-run].")] = None,
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    tiny: Tiny = False,
) -> None:
    """Make a model forget people: weights, numbers and a report in one folder."""
    loaded = configuration(
        config,
        settings,
        tiny,
        model=model,
        weights=weights,
        faces=faces,
        forget=forget,
        method=method,
        detector=detector,
        attacks=attacks,
        out=out,
        seed=seed,
    )
    run_and_show(loaded, resume)
