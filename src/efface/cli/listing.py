"""`efface methods`, `efface models`, `efface datasets`: what there is, and what each may be told."""

from typing import Annotated

import typer

Name = Annotated[str | None, typer.Argument(help="Show this one's fields, units, defaults and source.")]


def methods(name: Name = None) -> None:
    """List the unlearning methods, or one with its fields."""
    _show("methods.recognition", name)


def models(name: Name = None) -> None:
    """List the networks that can be loaded, or one with its fields."""
    _show("models.recognition", name)


def datasets(name: Name = None) -> None:
    """List the data sets that can be read, or one with its fields."""
    _show("faces.datasets", name)


VERBS = (methods, models, datasets)


def _show(kind: str, name: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from efface import registry

    console = Console(highlight=False)
    if name is None:
        table = Table("name", "what it is", box=None, pad_edge=False, header_style="bold")
        for known in registry.names(kind):
            table.add_row(known, registry.describe(kind, known).summary)
        console.print(table)
        return
    entry = registry.describe(kind, name)
    console.print(f"{entry.name}  {entry.summary}", style="bold")
    for fact, text in entry.facts.items():
        console.print(f"{fact}: {text}")
    table = Table("field", "type", "default", "meaning", box=None, pad_edge=False, header_style="bold")
    for field in entry.fields:
        table.add_row(field.name, field.type, field.default or "(must be given)", " ".join(field.doc.split()))
    console.print(table if entry.fields else "no fields")
