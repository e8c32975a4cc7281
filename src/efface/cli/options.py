"""Options that several verbs share, and what they mean in the configuration's words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from types import ModuleType

    from efface.config import DiffusionConfig, GanConfig, RunConfig

Config = Annotated[Path | None, typer.Argument(help="A YAML file such as configs/recognition/orl.yaml.")]
Model = Annotated[str | None, typer.Option(help="Name of the network; see `efface models`.")]
Weights = Annotated[Path | None, typer.Option(help="Its checkpoint.")]
Faces = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|NAME",
        help="A folder of photos, one folder per person; or a data set that needs no path, such as people. A folder of "
        "that name is ./people.",
    ),
]
Forget = Annotated[str | None, typer.Option(help="Whom to forget: names with commas between them.")]
Detector = Annotated[Path | None, typer.Option(help="Folder of the face detector (pnet.pt, rnet.pt, onet.pt).")]
Attacks = Annotated[
    str | None,
    typer.Option(metavar="all|NAMES", help="Try to bring the forgotten back: all, or names; see `efface attacks`."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key, e.g. --set method.steps=100.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random draw.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="A dry run in seconds: drawn people, a tiny model, few steps.")]


def configuration(
    path: Path | None,
    settings: list[str] | None,
    tiny: bool = False,
    *,
    model: str | None = None,
    weights: Path | None = None,
    faces: str | None = None,
    forget: str | None = None,
    method: str | None = None,
    detector: Path | None = None,
    attacks: str | None = None,
    out: Path | None = None,
    seed: int | None = None,
) -> RunConfig | DiffusionConfig | GanConfig:
    """The file with the options laid over it, validated."""
    from efface import config

    named = {"name": model, "weights": weights and str(weights)}
    given: dict[str, Any] = {
        "model": {k: v for k, v in named.items() if v is not None} or None,
        "faces": None if faces is None else photos(faces),
        "forget": None if forget is None else names(forget),
        "method": method and {"name": method},
        "detector": detector and str(detector),
        "attacks": "all" if attacks == "all" else attacks and names(attacks),
        "out": out and str(out),
        "seed": seed,
    }
    return config.load(path, settings or (), {k: v for k, v in given.items() if v is not None}, tiny)


def names(given: str) -> list[str]:
    """What `--forget` and `--attacks` say."""
    return [name.strip() for name in given.split(",") if name.strip()]


def photos(given: str) -> dict[str, Any]:
    """What `--faces` says: the name of a data set all of whose fields have defaults, or else a folder. Where both are
    there the data set wins, and ./NAME is the folder."""
    from efface import registry

    kind = "faces.datasets"
    if given in registry.names(kind) and all(field.default for field in registry.describe(kind, given).fields):
        return {"name": given}
    return {"name": "folder", "path": given}


def line_of(config: RunConfig | DiffusionConfig | GanConfig) -> ModuleType:
    """The module with the straight line of this kind: `run` and `evaluate`."""
    if config.kind == "diffusion":
        from efface import run_diffusion

        return run_diffusion
    if config.kind == "gan":
        from efface import run_gan

        return run_gan
    from efface import run

    return run


def run_and_show(config: RunConfig | DiffusionConfig | GanConfig, resume: bool, mark: str | None = None) -> None:
    """Run, then show the table and where the report is. resume, mark: as `run.run` says; what is marked needs no
    --resume."""
    from efface.cli.terminal import Terminal

    terminal = Terminal()
    try:
        audit = line_of(config).run(config, terminal, resume=resume, mark=mark)
    except KeyboardInterrupt as error:
        terminal.say(f"efface: interrupted; the same command{'' if mark else ' with --resume'} continues")
        raise typer.Exit(130) from error
    if not audit:  # not the first of several processes
        return
    show(audit)
    terminal.say(f"report: {config.out / 'report.html'}")


def show(audit: dict[str, Any]) -> None:
    """Print an audit of any kind."""
    if audit["config"]["kind"] == "diffusion":
        from efface.report.drawn_terminal import print_drawn

        print_drawn(audit)
    elif audit["config"]["kind"] == "gan":
        from efface.report.rebuilt_terminal import print_rebuilt

        print_rebuilt(audit)
    else:
        from efface.report.terminal import print_audit

        print_audit(audit)
