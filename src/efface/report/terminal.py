"""The numbers of an audit on the terminal. No torch here."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from efface.report.numbers import (
    COARSE,
    FLOORS,
    FROZEN_FAR,
    IMPOSTORS,
    TAR,
    TAR_MULTI,
    Audit,
    floor_value,
    leading,
    listed,
    plain,
    threshold,
    value,
)
from efface.report.tables import columns
from efface.report.verdict import verdict

HEADS = {
    "rank1": "found first\n(rank-1)",
    TAR: "accepted\n(TAR@1e-3)",
    COARSE[TAR]: "accepted\n(TAR@1e-2)",
    "rank1_multi": "first, by\nseveral",
    TAR_MULTI: "accepted,\nby several",
    COARSE[TAR_MULTI]: "accepted,\nby several",
}
"""Numbers that fit a terminal, and what stands above them; the template is of one photo, or of several."""
PEOPLE = {
    "forget": "Forgotten, unseen",
    "forget_seen": "Forgotten, seen",
    "retain": "Retained",
    "holdout": "Held out",
    "neighbours": "Look-alikes",
}
"""Groups of people, so short that a row of numbers before → after fits 80 columns."""


def print_audit(audit: Audit, console: Console | None = None) -> None:
    """Print the verdict and, for each group of people, the main numbers before → after."""
    console = console or Console(highlight=False)
    shown = [metric for metric in columns(audit) if metric in HEADS]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("")
    for metric in shown:
        table.add_column(HEADS[metric], no_wrap=True)
    for group, title in PEOPLE.items():
        if audit["groups"][group]:
            cells = (_change(audit, group, metric) for metric in shown)
            table.add_row(Text(f"{title} ({len(audit['groups'][group])})"), *cells)
    for name, words in FLOORS.items():
        floors = [floor_value(audit, name, "forget", metric) for metric in shown]
        if any(found is not None for found in floors):
            table.add_row(Text(f"  floor: {words}", "dim"), *(Text(plain(f), "dim") for f in floors))
    console.print()
    judged = verdict(audit)
    console.print(Text(judged.headline, "bold"))
    if judged.note:
        console.print(Text(judged.note))
    if audit["groups"]["forget"]:
        console.print(Text(f"to be forgotten: {listed(audit['groups']['forget'])}"))
    console.print(table)
    for line in _lines(audit):
        console.print(Text(line))


def _change(audit: Audit, group: str, metric: str, digits: int = 2) -> str:
    """`1.00 → 0.42`, or the original's number alone where nothing else was measured."""
    before = plain(value(audit, "original", group, metric), digits)
    if "unlearned" not in audit["models"]:
        return before
    return f"{before} → {plain(value(audit, 'unlearned', group, metric), digits)}"


def _lines(audit: Audit) -> list[str]:
    """What is not of one group: strangers, the worst-off person, the cost."""
    lines = []
    if any(floor_value(audit, name, "forget", "rank1") is not None for name in FLOORS):
        lines.append("floor: what knows no identity reaches on the forgotten people's unseen photos")
    far = leading(audit, FROZEN_FAR)
    if value(audit, "original", IMPOSTORS, far) is not None:
        accepted = _change(audit, IMPOSTORS, far, 4)
        lines.append(f"strangers accepted at the frozen threshold (cosine {plain(threshold(audit)[1])}): {accepted}")
    worst = audit.get("worst", {}).get("unlearned", {}).get(leading(audit, TAR))
    if worst is not None:
        change = f"{plain(worst['original'])} → {plain(worst['value'])}"
        lines.append(f"worst-off of the others: {worst['person']} ({worst['group']}), accepted {change}")
    if audit.get("cost"):
        lines.append(f"unlearning took {plain(audit['cost']['seconds'], 1)} s")
    return lines
