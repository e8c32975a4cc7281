"""How `efface methods`, `efface models` and `efface datasets` show what there is."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from efface import registry

Name = Annotated[str | None, typer.Argument(help="Show this one's fields, units, defaults and source.")]

LOADED = ("models", "faces")
"""Kinds whose entries are read from files."""


def show(kinds: Sequence[str], name: str | None) -> None:
    """The entries of some registries, each below its heading, or what there is of one name with its fields. Of models
    and data sets also the licence, whether they may be used commercially, and the files that come with efface."""
    console = Console(highlight=False, markup=False)
    held = [kind for kind in kinds if name is None or name in registry.names(kind)]
    for kind in held or kinds[:1]:  # the first says which names there are
        if len(kinds) > 1:
            console.print(f"{'' if kind == kinds[0] else chr(10)}{kind.partition('.')[2]}:", style="bold")
        if name is None:
            _list(console, kind)
        else:
            _detail(console, kind, name)


def _list(console: Console, kind: str) -> None:
    loaded = kind.startswith(LOADED)
    table = _table("name", "what it is", *(("commercial", "licence") if loaded else ()))
    for known in registry.names(kind):
        entry = registry.describe(kind, known)
        more = (entry.facts.get("commercial", "unknown"), entry.facts.get("licence", "not stated")) if loaded else ()
        table.add_row(known, entry.summary, *more)
    console.print(table)
    if loaded:
        _show_files(console, kind, list(registry.names(kind)))


def _detail(console: Console, kind: str, name: str) -> None:
    entry = registry.describe(kind, name)
    console.print(f"{entry.name}  {entry.summary}", style="bold")
    for fact, text in entry.facts.items():
        console.print(f"{fact}: {text}")
    if kind.startswith(LOADED):
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
    """The files of an entry that come with efface, whether or not they are there; of a folder all in it."""
    found = getattr(registry.get(kind, name), "shipped", None)
    if isinstance(found, Path):
        return tuple(sorted(found.iterdir())) if found.is_dir() else (found,)
    return tuple(found or ())


def _table(*heads: str) -> Table:
    return Table(*heads, box=None, pad_edge=False, header_style="bold")
