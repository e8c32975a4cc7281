"""`efface train`."""

from pathlib import Path
from typing import Annotated

import typer

from efface.cli.options import Detector, Faces, Seed, Settings, Tiny, photos


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/train/recogniser.yaml.")],
    faces: Faces = None,
    detector: Detector = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; must not exist yet.")] = None,
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
    tiny: Tiny = False,
) -> None:
    """Train a model from scratch: weights, log, curve and card in one folder. Also under torchrun."""
    from efface import recipes
    from efface.cli.terminal import Terminal
    from efface.config import load_recipe

    given = {
        "faces": None if faces is None else photos(faces),
        "detector": detector and str(detector),
        "out": out and str(out),
        "seed": seed,
    }
    recipe = load_recipe(config, settings or (), {k: v for k, v in given.items() if v is not None}, tiny)
    terminal = Terminal()
    try:
        recipes.train(recipe, terminal, resume)
    except KeyboardInterrupt as error:
        terminal.say("efface: interrupted; the same command with --resume continues")
        raise typer.Exit(130) from error
