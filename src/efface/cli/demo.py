"""`efface demo`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from efface.cli.options import Tiny, names, run_and_show

MARK = ".efface-demo"
"""File that says that the demo wrote a folder, and may replace it."""
PEOPLE = "person-000,person-001"
"""The first two of the pack by name; no network that ships was trained on photos of them."""
KNOWN = frozenset(f"person-{number}" for number in range(100, 120))
"""People of the pack whose other photos were in the training of `shipped`, and not in that of the retrained one."""
RETRAINED = "retrained.safetensors"
"""Beside the weights of `shipped`: the same training without the known people."""


PERSON = "person-000"
"""Whom the models that draw forget."""
DRAWING = {
    "kind": "diffusion",
    "model": "shipped",
    "faces": "people",
    "judge": "judge",
    "anchor": {"choice": "mean"},
    "method": {
        "name": "piu",
        "eta": 1.3,
        "retain_weight": 30,
        "conditions": "individual",
        "learning_rate": 0.0015,
        "steps": 120,
        "batch": 8,
        "retained": 32,
        "precision": "auto",
    },
    "draws": 8,
    "people": 12,
}
"""The diffusion demo's configuration: fewer and larger steps than published, so that it ends in minutes. In place of
the person the mean face of the others is drawn."""
REBUILDING = {
    "kind": "gan",
    "model": "eg3d",
    "faces": "people",
    "judge": "judge",
    "method": {
        "name": "guide",
        "lengths": "mean",
        "distance": 0.5,
        "reach": 0.5,
        "learning_rate": 0.0015,
        "steps": 90,
        "preserved": 1,
        "retained": 2,
        "weights": {"identity": 0.2, "preserved": 6.0},
    },
    "people": 14,
    "samples": 50,
    "views": 31,
}
"""The face generator's: of one photo of the person, fewer and larger steps than published, lengths of this generator's
own, others and the identity count more than published, and two retained people stand beside a stranger."""
REBUILT = "person-001"
"""Whom the face generator forgets."""


def demo(
    kind: Annotated[
        Literal["recognition", "diffusion", "gan"], typer.Argument(help="Kind of the model.")
    ] = "recognition",
    forget: Annotated[
        str | None,
        typer.Option(
            help=f"Whom to forget: people of the pack, commas between [{PEOPLE}; diffusion: {PERSON}; gan: {REBUILT}]."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the result; what an earlier demo wrote is replaced [demo-run, demo-diffusion, demo-gan]."
        ),
    ] = None,
    tiny: Tiny = False,
) -> None:
    """Make a model that comes with efface forget people who come with it; needs nothing from outside."""
    from efface import config
    from efface.errors import EffaceError

    if tiny and forget is not None:
        raise EffaceError("--tiny forgets two drawn people, whoever --forget names; leave one of the two out")
    drawing = {"diffusion": DRAWING, "gan": REBUILDING}.get(kind)
    asked = names({"diffusion": PERSON, "gan": REBUILT}.get(kind, PEOPLE) if forget is None else forget)
    chosen = drawing | {"forget": asked} if drawing else given(asked)
    folder = out or Path(f"demo-{kind}" if drawing else "demo-run")
    run_and_show(config.load(None, (), chosen | {"out": str(folder)}, tiny), resume=True, mark=MARK)


def given(forget: list[str]) -> dict[str, Any]:
    """The demo's configuration, in which everything comes with efface."""
    from efface.models.recognition import shipped

    retrained = Path(shipped.__file__).with_name(RETRAINED)
    reference = bool(forget) and KNOWN.issuperset(forget) and retrained.is_file()
    return {
        "model": "shipped",
        "faces": "people",
        "judge": "judge",
        "method": "rewire",
        "forget": forget,
        **({"retrained": {"name": "shipped", "weights": str(retrained)}} if reference else {}),
    }
