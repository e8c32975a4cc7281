"""The rows of the tables of a report on a diffusion model, as text. No torch here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from efface.report.drawn_verdict import ACC, NET, TAR, UNDETECTED
from efface.report.numbers import MODELS, Audit, counts, plain, shown, value
from efface.report.tables import Fact, Group, Line

COLUMNS = {
    "ism": ("Likeness", "mean cosine with the person"),
    NET: ("Net likeness", "less that with others"),
    ACC: ("Nearest", "share nearest to the person"),
    TAR: ("Accepted", "TAR at FAR 1e-2"),
    "kd": ("Changed", "KD to the original's pictures"),
    "quality": ("Quality", "realism score"),
    UNDETECTED: ("No face", "share of pictures"),
}
"""The main numbers, each in words and by its name."""
GROUPS = {
    "forget": "Forgotten",
    "forget_others": "Forgotten, drawn from other photos than the method saw",
    "anchor": "Anchors: who is drawn in place of the forgotten",
    "neighbours": "Look-alikes of the forgotten",
    "retain": "Retained: others whose photos the method had",
    "holdout": "Held out: others the method knew nothing of",
}
"""Groups of people in the order of reports, and what to call them."""
CONTROLS = {"photos": "real photos", "stranger": "a stranger's pictures"}
"""What stands in the place of drawn pictures, and what to call it."""
SUMMARY = {
    "srk": "SRK = AccR / (AccU + 0.01); the ceiling is about 100",
    "srk_others": "the same, of the forgotten drawn from other photos than the method saw",
    "ea": "EA, forgotten pictures that are not identified as the person",
    "ra_hard": "RA, identified pictures of the 3 retained people nearest to each forgotten one",
    "ra_random": "RA, identified pictures of the other retained people",
    "erb": "ERB, harmonic mean of EA and RA",
}
"""Numbers of several groups together, and what they say."""


def columns(block: Audit, known: Iterable[str] = COLUMNS, groups: Iterable[str] = GROUPS) -> list[str]:
    """The main numbers, of the known ones, that were measured for any group."""
    return [key for key in known if any(value(block, m, g, key) is not None for m in MODELS for g in groups)]


def main_table(
    block: Audit, known: Iterable[str] = COLUMNS, titles: Mapping[str, str] = GROUPS, counted: str = "ism"
) -> list[Group]:
    """Groups × `columns` for each model, with the controls beside. block: the audit, or one of its judges. titles:
    group -> what to call it. counted: the number whose people and pictures are told."""
    groups, names = [], columns(block, known, titles)
    for group, title in titles.items():
        numbers = {m: block["models"][m].get(group, {}) for m in MODELS if m in block["models"]}
        lines = [Line(MODELS[m], MODELS[m], _cells(found, names)) for m, found in numbers.items() if found]
        for control, words in CONTROLS.items():
            found = block.get("controls", {}).get(control, {}).get(group)
            if found:
                lines.append(Line(words, "floor", _cells(found, names)))
        if lines:
            groups.append(Group(title, counts(next(iter(numbers.values())).get(counted), "pictures"), tuple(lines)))
    return [group for group in groups if not group.counts.startswith("0 ")]


def _cells(found: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(shown(found.get(metric)) for metric in names)


def facts(audit: Audit) -> list[Fact]:
    """Numbers of several groups together, as far as they could be measured."""
    models = [m for m in MODELS if m in audit["models"]]
    found = audit.get("summary", {})
    rows = [(key, text, [found.get(m, {}).get(key) for m in models]) for key, text in SUMMARY.items()]
    return [Fact(text, key, tuple(map(plain, cells))) for key, text, cells in rows if any(c is not None for c in cells)]
