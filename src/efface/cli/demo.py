"""`efface demo`."""

from pathlib import Path
from typing import Annotated, Any

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


def demo(
    forget: Annotated[str, typer.Option(help="Whom to forget: people of the pack, with commas between them.")] = PEOPLE,
    out: Annotated[Path, typer.Option(help="Folder of the result; what an earlier demo wrote is replaced.")] = Path(
        "demo-run"
    ),
    tiny: Tiny = False,
) -> None:
    """Make the recogniser that comes with efface forget people who come with it; needs nothing from outside."""
    from efface import config
    from efface.errors import EffaceError

    if tiny and forget != PEOPLE:
        raise EffaceError("--tiny forgets two drawn people, whoever --forget names; leave one of the two out")
    run_and_show(config.load(None, (), given(names(forget)) | {"out": str(out)}, tiny), resume=True, mark=MARK)


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
