"""The command line: one file = one verb. Verbs import what they need when they are called, so that help is instant."""

import importlib
import os
import pkgutil
import sys

import typer

from efface import memory
from efface.errors import EffaceError

# torch's waiting threads spin; where other work shares the cores, that made unlearning five times slower
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    help="Make a face model forget a person, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    _verb = getattr(importlib.import_module(f"{__name__}.{_name}"), _name, None)
    if callable(_verb):  # the others hold what verbs share
        app.command(_name)(_verb)


def main(arguments: list[str] | None = None) -> None:
    """Run a verb, `sys.argv`'s unless arguments are given. What the user did wrong is one line on standard error and
    exit code 2."""
    memory.keep_freed()
    try:
        app(args=arguments)
    except EffaceError as error:
        print(f"efface: {error}", file=sys.stderr)
        sys.exit(2)
