"""What a benchmark's page is made of: tables and pictures. No torch here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from efface.report.numbers import plain

NOTHING = "–"
"""A cell of what was not measured."""


@dataclass(frozen=True)
class Table:
    """Cells of a table, and what has to be said below it."""

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    section: str
    title: str
    png: bytes


def costs(cost: Mapping[str, Any]) -> list[str]:
    """Cells of what a row cost: processor seconds, steps, parameters that are trained, the largest memory in MB."""

    def count(key: str) -> str:
        return NOTHING if cost.get(key) is None else f"{cost[key]:,.0f}"

    return [
        plain(cost.get("processor_seconds"), 1),
        count("steps"),
        count("trainable_parameters"),
        count("peak_memory_mb"),
    ]


def markdown(table: Table) -> str:
    """A table of a Markdown page, with its title above and its notes below."""
    lines: Iterable[Sequence[str]] = (table.heads, ["---"] * len(table.heads), *table.rows)
    body = "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
    return "\n\n".join((f"**{table.title}**", body, *table.notes))
