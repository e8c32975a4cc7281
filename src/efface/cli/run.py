"""`efface unlearn`, `efface evaluate` and `efface demo`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from efface.errors import EffaceError

Config = Annotated[Path | None, typer.Argument(help="A YAML file such as configs/recognition/orl.yaml.")]
Model = Annotated[str | None, typer.Option(help="Name of the network; see `efface models`.")]
Weights = Annotated[Path | None, typer.Option(help="Its checkpoint.")]
Faces = Annotated[Path | None, typer.Option(help="A folder of photos, one folder per person.")]
Forget = Annotated[str | None, typer.Option(help="Whom to forget: names with commas between them.")]
Detector = Annotated[Path | None, typer.Option(help="Folder of the face detector (pnet.pt, rnet.pt, onet.pt).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any key, e.g. --set method.steps=100.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of every random draw.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="A dry run in seconds: drawn people, a tiny model, few steps.")]

DEMO = Path("configs/recognition/orl.yaml")


def unlearn(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    faces: Faces = None,
    forget: Forget = None,
    method: Annotated[str | None, typer.Option(help="Unlearning method; see `efface methods`.")] = None,
    detector: Detector = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; must not exist yet.")] = None,
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped.")] = False,
    tiny: Tiny = False,
) -> None:
    """Make a model forget people: weights, numbers and a report in one folder."""
    given = _options(model, weights, faces, forget, detector, seed)
    given |= {} if method is None else {"method": {"name": method}}
    given |= {} if out is None else {"out": str(out)}
    _run(_load(config, settings, given, tiny), resume=resume)


def evaluate(
    config: Config = None,
    model: Model = None,
    weights: Weights = None,
    unlearned: Annotated[Path | None, typer.Option(help="Weights after unlearning, to compare with.")] = None,
    faces: Faces = None,
    forget: Forget = None,
    detector: Detector = None,
    settings: Settings = None,
    seed: Seed = None,
    tiny: Tiny = False,
) -> None:
    """Measure a model on people's photos by the protocol; changes and writes nothing."""
    from efface import run
    from efface.cli.terminal import Terminal
    from efface.report.terminal import print_audit

    terminal = Terminal()
    loaded = _load(config, settings, _options(model, weights, faces, forget, detector, seed), tiny)
    print_audit(run.evaluate(loaded, unlearned, terminal))


def demo() -> None:
    """Forget four real people in a real recogniser (needs EFFACE_DATA); writes demo-run/ and replaces only its own."""
    import os

    from efface import config

    if not os.environ.get("EFFACE_DATA"):
        raise EffaceError("EFFACE_DATA is not set; set it to the folder of real weights and faces (see README)")
    loaded = config.load(DEMO, overrides={"out": "demo-run"})
    own = loaded.out / "config.yaml"
    if loaded.out.exists() and not (own.is_file() and own.read_text(encoding="utf-8") == config.dump(loaded)):
        raise EffaceError(f"{loaded.out}: found something that this demo did not write; move it away")
    _run(loaded, resume=True, replace=True)


VERBS = (unlearn, evaluate, demo)


def _options(
    model: str | None,
    weights: Path | None,
    faces: Path | None,
    forget: str | None,
    detector: Path | None,
    seed: int | None,
) -> dict[str, Any]:
    """What the command line said, in the configuration's words."""
    named = {"name": model, "weights": weights and str(weights)}
    given: dict[str, Any] = {
        "model": {k: v for k, v in named.items() if v is not None},
        "faces": faces and {"name": "folder", "path": str(faces)},
        "forget": [name.strip() for name in forget.split(",") if name.strip()] if forget is not None else None,
        "detector": detector and str(detector),
        "seed": seed,
    }
    return {k: v for k, v in given.items() if v not in (None, {})}


def _load(path: Path | None, settings: list[str] | None, given: dict[str, Any], tiny: bool) -> Any:
    from efface import config

    return config.load(path, settings or (), given, tiny)


def _run(config: Any, resume: bool, replace: bool = False) -> None:
    """Run, then show the table and where the report is."""
    from efface import run
    from efface.cli.terminal import Terminal
    from efface.report.terminal import print_audit

    terminal = Terminal()
    print_audit(run.run(config, resume=resume, replace=replace, watcher=terminal))
    terminal.say(f"report: {config.out / 'report.html'}")
