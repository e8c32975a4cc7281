"""How `efface methods`, `efface models` and `efface datasets` show what there is."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from efface import registry

Name = Annotated[str | None, typer.Argument(help="Show this one's fields, units, defaults and source.")]


def show(kind: str, name: str | None) -> None:
    """The entries of a registry, or one with its fields, on the terminal. Of models and data sets also the licence,
    whether they may be used commercially, and the files that come with efface."""
    console = Console(highlight=False, markup=False)
    loaded = kind.startswith(("models", "faces"))
    if name is None:
        table = _table("name", "what it is", *(("commercial", "licence") if loaded else ()))
        for known in registry.names(kind):
            entry = registry.describe(kind, known)
            more = (
                (entry.facts.get("commercial", "unknown"), entry.facts.get("licence", "not stated")) if loaded else ()
            )
            table.add_row(known, entry.summary, *more)
        console.print(table)
        if loaded:
            _show_files(console, kind, list(registry.names(kind)))
        return
    entry = registry.describe(kind, name)
    console.print(f"{entry.name}  {entry.summary}", style="bold")
    for fact, text in entry.facts.items():
        console.print(f"{fact}: {text}")
    if loaded:
        _show_files(console, kind, [name])
    table = _table("field", "type", "default", "meaning")
    for field in entry.fields:
        table.add_row(field.name, field.type, field.default or "(must be given)", " ".join(field.doc.split()))
    console.print(table if entry.fields else "no fields")


def _show_files(console: Console, kind: str, names: list[str]) -> None:
    """What comes with efface of these entries: name, file, bytes and sha256."""
    rows = [(name, path) for name in names for path in _shipped(kind, name)]
    console.print("comes with efface:" if rows else "comes with efface: nothing")
    for name, path in rows:
        if path.is_file():
            content = path.read_bytes()
            console.print(f"  {name}  {path.name}  {len(content):,} bytes")
            console.print(f"    sha256 {hashlib.sha256(content).hexdigest()}")
        else:
            console.print(f"  {name}  {path.name}  not in this installation")


def _shipped(kind: str, name: str) -> tuple[Path, ...]:
    """The files of an entry that come with efface, whether or not they are there."""
    found = getattr(registry.get(kind, name), "shipped", None)
    return (found,) if isinstance(found, Path) else tuple(found or ())


def _table(*heads: str) -> Table:
    return Table(*heads, box=None, pad_edge=False, header_style="bold")
