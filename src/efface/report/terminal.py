"""The numbers of an audit on the terminal, for who reads them for the first time. No torch here."""

from collections.abc import Iterable, Sequence

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
    percent,
    plain,
    threshold,
    value,
)
from efface.report.tables import Attempt, attempts, columns
from efface.report.verdict import verdict

HEADS = {
    "rank1": "found first",
    TAR: "accepted",
    COARSE[TAR]: "accepted",
    "rank1_multi": "first, by\nseveral",
    TAR_MULTI: "accepted,\nby several",
    COARSE[TAR_MULTI]: "accepted,\nby several",
}
"""Numbers that fit a terminal, and what stands above them; the template is of one photo, or of several."""
PEOPLE = {
    "To be forgotten": {"forget": "photos it never saw", "forget_seen": "photos it was given"},
    "Everybody else": {"retain": "retained", "holdout": "held out", "neighbours": "look-alikes"},
}
"""Groups of people under their headings, so short that a row of numbers before → after fits 80 columns."""
ONE_IN = {"1e-3": "1 in 1,000", "1e-2": "1 in 100"}
"""Pairs of strangers that pass at a false accept rate."""


def print_audit(audit: Audit, console: Console | None = None) -> None:
    """Print the verdict and, for each group of people, the main numbers before → after."""
    console = console or Console(highlight=False)
    judged = verdict(audit)
    console.print()
    console.print(Text(judged.headline, "bold"))
    for line in (judged.note, judged.remains, *_about(audit)):
        if line:
            console.print(Text(line))
    console.print()
    console.print(_table(audit))
    console.print()
    if audit.get("attacks"):
        console.print(attempts_table(audit, attempts(audit)))
        console.print()
    for line in _lines(audit):
        console.print(Text(line))


def _about(audit: Audit) -> list[str]:
    """Who is to be forgotten, and what the columns say."""
    forget = audit["groups"]["forget"]
    far, _ = threshold(audit)
    found = "found first: nobody's template is nearer than the person's own (rank-1)"
    accepted = f"accepted: nearer than {ONE_IN[far]} pairs of strangers are (TAR at FAR {far})"
    return [*([f"to be forgotten: {listed(forget)}"] if forget else []), found, accepted]


def _table(audit: Audit) -> Table:
    shown = [metric for metric in columns(audit) if metric in HEADS]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("%, before → after" if "unlearned" in audit["models"] else "%", no_wrap=True)
    for metric in shown:
        table.add_column(HEADS[metric], no_wrap=True)
    for heading, groups in PEOPLE.items():
        if not any(audit["groups"][group] for group in groups):
            continue
        table.add_row(Text(heading, "bold"))
        for group, words in groups.items():
            if audit["groups"][group]:
                cells = (_change(audit, group, metric) for metric in shown)
                table.add_row(f"  {words} ({len(audit['groups'][group])})", *cells)
            if group == "forget":
                for title, numbers in _beside(audit, shown):
                    table.add_row(Text(f"  {title}", "dim"), *(Text(_share(n), "dim") for n in numbers))
    return table


def attempts_table(audit: Audit, tried: Iterable[Attempt]) -> Table:
    """What each attempt to bring the forgotten back found, and its control."""
    after = " → after" if "unlearned" in audit["models"] else ""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("What remains", f"forgotten, before{after}", "control"):
        table.add_column(head, no_wrap=True)
    for attempt in tried:
        table.add_row(Text(attempt.name, "bold"))
        for number, *cells in attempt.numbers:
            changes = (" → ".join(one.partition(" [")[0] for one in cell[:2]) for cell in cells)
            table.add_row(f"  {number}", *changes)
    return table


def _beside(audit: Audit, shown: Sequence[str]) -> Iterable[tuple[str, list[float | None]]]:
    """What else reaches how much on the forgotten people's unseen photos."""
    references = [("trained without them", [value(audit, "retrained", "forget", metric) for metric in shown])]
    floors = [
        (words, [floor_value(audit, name, "forget", metric) for metric in shown]) for name, words in FLOORS.items()
    ]
    return [(title, numbers) for title, numbers in references + floors if any(n is not None for n in numbers)]


def _share(share: float | None) -> str:
    """A share in percent, without the sign."""
    return percent(share).removesuffix("\N{NO-BREAK SPACE}%")


def _change(audit: Audit, group: str, metric: str) -> str:
    """`100 → 42.5` percent, or the original's number alone where nothing else was measured."""
    before = _share(value(audit, "original", group, metric))
    if "unlearned" not in audit["models"]:
        return before
    return f"{before} → {_share(value(audit, 'unlearned', group, metric))}"


def _lines(audit: Audit) -> list[str]:
    """What is not of one group: strangers, the worst-off person, the cost."""
    lines = []
    far = leading(audit, FROZEN_FAR)
    before, after = (value(audit, model, IMPOSTORS, far) for model in ("original", "unlearned"))
    if before is not None:
        change = plain(1000 * before, 1) + ("" if after is None else f" → {plain(1000 * after, 1)}")
        lines.append(f"strangers accepted as one another: {change} of 1,000 pairs")
    worst = audit.get("worst", {}).get("unlearned", {}).get(leading(audit, TAR))
    if worst is not None:
        change = f"{_share(worst['original'])} → {percent(worst['value'])}"
        lines.append(f"worst-off of everybody else: {worst['person']}, accepted {change}")
    if any(floor_value(audit, name, "forget", "rank1") is not None for name in FLOORS):
        lines.append("raw pixels and an untrained network know nobody: what photos have in common")
    if audit.get("cost"):
        lines.append(f"unlearning took {plain(audit['cost']['seconds'], 1)} s")
    return lines
