"""The numbers of an audit of a face generator on the terminal. No torch here."""

from rich.console import Console
from rich.text import Text

from efface.report.drawn_terminal import table_of
from efface.report.drawn_verdict import ACC, TAR, UNDETECTED
from efface.report.numbers import Audit, entry, listed, percent, plain, value
from efface.report.rebuilt_verdict import rebuilt_verdict
from efface.report.tables import attempts
from efface.report.terminal import attempts_table

HEADS = {"id_photo": "likeness", ACC: "nearest, %", TAR: "accepted, %"}
"""Numbers that fit a terminal, and what stands above them."""
GROUPS = {
    "forget": "to be forgotten",
    "forget_others": "by other photos",
    "neighbours": "look-alikes",
    "retain": "retained",
    "holdout": "held out",
}
"""Groups of people, so short that a row fits 80 columns."""


def print_rebuilt(audit: Audit, console: Console | None = None) -> None:
    """Print the verdict and, for each group of people, the main numbers before → after."""
    console = console or Console(highlight=False)
    judged = rebuilt_verdict(audit)
    console.print()
    console.print(Text(judged.headline, "bold"))
    given = [f"{person} (by {photo})" for person, photo in audit.get("given", {}).items()]
    lines = [
        judged.remains,
        f"to be forgotten: {listed(given, 4)}" if given else "",
        "likeness: mean cosine of pictures from all sides with real photos of the person",
        "nearest: nobody's photos are nearer; accepted: nearer than 1 in 100 strangers' pictures are (FAR 1e-2)",
    ]
    for line in filter(None, lines):
        console.print(Text(line))
    for name, block in {"": audit, **audit.get("judges", {})}.items():
        console.print()
        if name:
            console.print(Text(f"by the {name}, which is part of no loss", "bold"))
        console.print(table_of(audit, block, HEADS, GROUPS))
    console.print()
    if audit.get("attacks"):
        console.print(attempts_table(audit, attempts(audit, "attacks.gan")))
        console.print()
    for line in _lines(audit):
        console.print(Text(line))


def _lines(audit: Audit) -> list[str]:
    """What is not of one group of people: how far the generator moved, pictures without a face, the cost."""
    lines = []
    for group, who in (
        ("forget", "the forgotten"),
        ("forget_others", "the same by other photos"),
        ("retain", "others"),
    ):
        found = value(audit, "unlearned", group, "id")
        if found is not None:
            lines.append(f"id, cosine of pictures before and after, of {who}: {plain(found)}")
    moved = entry(audit, "unlearned", "samples", "fid_pre")
    if moved and moved["value"] is not None:
        lines.append(
            f"fid_pre, people who never existed, before to after: {plain(moved['value'], 3)} (judge's features)"
        )
    missed = value(audit, "unlearned", "forget", UNDETECTED)
    if missed:
        lines.append(f"no face in {percent(missed)} of the pictures of the forgotten, which is no forgetting")
    if audit.get("cost"):
        lines.append(f"unlearning took {plain(audit['cost']['seconds'], 1)} s")
    return lines
