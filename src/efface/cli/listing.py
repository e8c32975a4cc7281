"""How `efface methods`, `efface models` and `efface datasets` show what there is."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from efface import registry

Name = Annotated[str | None, typer.Argument(help="Show this one's fields, units, defaults and source.")]


def show(kind: str, name: str | None) -> None:
    """The entries of a registry, or one with its fields, on the terminal."""
    console = Console(highlight=False, markup=False)
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
