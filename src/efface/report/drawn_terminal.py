"""The numbers of an audit of a diffusion model on the terminal. No torch here."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from efface.report.drawn_tables import CONTROLS
from efface.report.drawn_verdict import ACC, NET, TAR, UNDETECTED, drawn_verdict
from efface.report.numbers import Audit, listed, percent, plain, value
from efface.report.tables import attempts
from efface.report.terminal import attempts_table

HEADS = {"ism": "likeness", NET: "net", ACC: "nearest, %", TAR: "accepted, %"}
"""Numbers that fit a terminal, and what stands above them."""
GROUPS = {
    "forget": "to be forgotten",
    "forget_others": "by other photos",
    "anchor": "anchors",
    "neighbours": "look-alikes",
    "retain": "retained",
    "holdout": "held out",
}
"""Groups of people, so short that a row fits 80 columns."""


def print_drawn(audit: Audit, console: Console | None = None) -> None:
    """Print the verdict and, for each group of people, the main numbers before → after."""
    console = console or Console(highlight=False)
    judged = drawn_verdict(audit)
    console.print()
    console.print(Text(judged.headline, "bold"))
    for line in (judged.remains, *_about(audit)):
        if line:
            console.print(Text(line))
    for name, block in {"": audit, **audit.get("judges", {})}.items():
        console.print()
        if name:
            console.print(Text(f"by the {name}, which does not condition the model", "bold"))
        console.print(table_of(audit, block, HEADS, GROUPS))
    console.print()
    if audit.get("attacks"):
        console.print(attempts_table(audit, attempts(audit, "attacks.diffusion")))
        console.print()
    for line in _lines(audit):
        console.print(Text(line))


def _about(audit: Audit) -> list[str]:
    """Who is to be forgotten and drawn instead, and what the columns say."""
    who = [
        f"{person} ({found['who'] or 'nobody'} is drawn instead, cosine {plain(found['cosine'])})"
        for person, found in audit.get("anchoring", {}).items()
    ]
    return [
        *([f"to be forgotten: {listed(who, 4)}"] if who else []),
        "likeness: mean cosine of drawn pictures with real photos of the person; net: less that with others",
        "nearest: nobody's photos are nearer; accepted: nearer than 1 in 100 strangers' pictures are (FAR 1e-2)",
    ]


def table_of(audit: Audit, block: Audit, heads: Mapping[str, str], groups: Mapping[str, str]) -> Table:
    """Groups of people × numbers, before → after. heads, groups: what each is called; block: as `main_table` says."""
    after = "unlearned" in block["models"]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("before → after" if after else "", *heads.values()):
        table.add_column(head, no_wrap=True)
    for group, words in groups.items():
        if not audit["groups"][group]:
            continue
        table.add_row(f"{words} ({len(audit['groups'][group])})", *(_change(block, group, key) for key in heads))
        if group == "forget":
            for control, title in CONTROLS.items():
                found = block.get("controls", {}).get(control, {}).get(group, {})
                numbers = [_said(key, found.get(key, {}).get("value")) for key in heads]
                table.add_row(Text(f"  {title}", "dim"), *(Text(one, "dim") for one in numbers))
    return table


def _said(key: str, number: float | None) -> str:
    if key in (ACC, TAR):
        return percent(number).removesuffix("\N{NO-BREAK SPACE}%")
    return plain(number)


def _change(block: Audit, group: str, key: str) -> str:
    models = [model for model in ("original", "unlearned") if model in block["models"]]
    return " → ".join(_said(key, value(block, model, group, key)) for model in models)


def _lines(audit: Audit) -> list[str]:
    """What is not of one group: SRK, pictures without a face, the cost."""
    lines = []
    summary = audit.get("summary", {})
    found = [summary.get(model, {}).get("srk") for model in ("original", "unlearned") if model in audit["models"]]
    if any(one is not None for one in found):
        lines.append(f"SRK (retained nearest / forgotten nearest): {' → '.join(plain(one, 1) for one in found)}")
    missed = value(audit, "unlearned", "forget", UNDETECTED)
    if missed:
        lines.append(f"no face in {percent(missed)} of the pictures of the forgotten, which is no forgetting")
    if audit.get("cost"):
        lines.append(f"unlearning took {plain(audit['cost']['seconds'], 1)} s")
    return lines
