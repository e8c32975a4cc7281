"""The rows of the report's tables, as text. No torch here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from efface import registry
from efface.report.numbers import (
    COARSE,
    FLOORS,
    FROZEN_FAR,
    GROUPS,
    IMPOSTORS,
    MODELS,
    TAR,
    TAR_MULTI,
    Audit,
    attack_numbers,
    counts,
    entry,
    leading,
    plain,
    shown,
    value,
)

COLUMNS = {
    "rank1": ("Found first", "rank-1, one-photo template"),
    TAR: ("Accepted", "TAR at FAR 1e-3, one-photo template"),
    COARSE[TAR]: ("Accepted", "TAR at FAR 1e-2, one-photo template"),
    "rank1_multi": ("Found first", "rank-1, several-photo template"),
    TAR_MULTI: ("Accepted", "TAR at FAR 1e-3, several-photo template"),
    COARSE[TAR_MULTI]: ("Accepted", "TAR at FAR 1e-2, several-photo template"),
    "tpir@fpir=1e-2": ("Found and accepted", "TPIR at FPIR 1e-2"),
    "compactness_nearest": ("Nearest own photo", "mean cosine"),
}
"""The main numbers, each in words and by its name. Those at FAR 1e-2 stand in where those at 1e-3 cannot be told."""


@dataclass(frozen=True)
class Line:
    """One model's (or matcher's) numbers for a group."""

    label: str
    kind: str
    """`before`, `after`, `retrained` or `floor`."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """One group of people in the main table."""

    title: str
    counts: str
    """How many people and trials."""
    lines: tuple[Line, ...]


def columns(audit: Audit) -> list[str]:
    """The main numbers that could be measured for any group."""
    found = [key for key in COLUMNS if any(value(audit, m, g, key) is not None for m in MODELS for g in GROUPS)]
    replaced = {coarse for fine, coarse in COARSE.items() if fine in found}
    return [key for key in found if key not in replaced]


def unmeasured(audit: Audit) -> list[str]:
    """Numbers that belong in the report's tables and are null everywhere, for want of trials."""
    wanted = dict.fromkeys((*COLUMNS, *(leading(audit, metric) for metric, *_ in FACTS)))
    groups = (*GROUPS, IMPOSTORS)
    return [metric for metric in wanted if all(value(audit, m, g, metric) is None for m in MODELS for g in groups)]


def main_table(audit: Audit) -> list[Group]:
    """Groups × `columns` for each model, with the floors beside the forgotten people."""
    groups, names = [], columns(audit)
    for group, title in GROUPS.items():
        numbers = {m: audit["models"][m][group] for m in MODELS if group in audit["models"].get(m, {})}
        lines = [Line(MODELS[m], MODELS[m], _cells(found, names)) for m, found in numbers.items()]
        for name, words in FLOORS.items():
            found = audit.get("floor", {}).get(name, {}).get(group)
            if found and group == "forget":
                lines.append(Line(words, "floor", _cells(found, names)))
        if lines:
            counted = numbers["original"].get(TAR) or numbers["original"].get("rank1")
            groups.append(Group(title, counts(counted, "trials"), tuple(lines)))
    return groups


def _cells(found: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(shown(found.get(metric)) for metric in names)


@dataclass(frozen=True)
class Fact:
    """One number that is not of the main table: what it says, and its value under each model."""

    text: str
    name: str
    cells: tuple[str, ...]


FACTS = (
    (FROZEN_FAR, IMPOSTORS, "Pairs of strangers accepted at the frozen threshold", 4),
    ("misidentified@fpir=1e-2", "forget", "Photos of forgotten people accepted as somebody else", 2),
    ("misidentified@fpir=1e-2", "holdout", "The same of held-out people, to compare with", 2),
    ("cross_version_rank1", "forget", "Forgotten, found first among templates that the old model made", 2),
    ("cross_version_rank1", "retain", "Retained, found first among templates that the old model made", 2),
    ("template_drift", "retain", "How far retained people's templates moved (1 − cosine)", 3),
    ("template_drift", "holdout", "How far held-out people's templates moved (1 − cosine)", 3),
    ("genuine_auc", "forget", "Forgotten: own photos against strangers' (AUC; 0.5 cannot be told apart)", 2),
)
"""(metric, group, what it says, digits)."""


def facts(audit: Audit) -> list[Fact]:
    """Numbers on the model as a whole, and on what else may go wrong, as far as they could be measured."""
    models = [m for m in MODELS if m in audit["models"]]
    rows = []
    for named, group, text, digits in FACTS:
        metric = leading(audit, named)
        if any(value(audit, m, group, metric) is not None for m in models):
            rows.append(Fact(text, metric, tuple(shown(entry(audit, m, group, metric), digits) for m in models)))
    return rows


def worst_off(audit: Audit) -> list[tuple[str, str, str, str, str]]:
    """(number in words, person, group, before, after) of the retained or held-out person who is recognised worst."""
    found = audit.get("worst", {}).get("unlearned", {})
    groups = {"retain": "retained", "holdout": "held out"}
    words = {
        leading(audit, TAR): "Photos accepted (one-photo template)",
        "rank1": "Photos found first (one-photo template)",
    }
    chosen = [(text, found[metric]) for metric, text in words.items() if metric in found]
    return [(t, w["person"], groups[w["group"]], plain(w["original"]), plain(w["value"])) for t, w in chosen]


@dataclass(frozen=True)
class Attempt:
    """One attempt to bring the forgotten back."""

    name: str
    text: str
    """What it tries, in words; empty where the attack is not installed here."""
    numbers: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    """(number, the forgotten under each model, the control under each model)."""


def attempts(audit: Audit, kind: str = "attacks.recognition") -> list[Attempt]:
    """What was tried, and what it found; empty where nothing was."""
    models = [m for m in MODELS if m in audit["models"]]
    known = registry.names(kind)
    found = []
    for name, groups in audit.get("attacks", {}).items():
        text = registry.describe(kind, name).summary if name in known else ""
        rows = []
        for number in attack_numbers(audit, name):
            forgotten, control = (
                tuple(shown(groups.get(who, {}).get(number, {}).get(m)) for m in models)
                for who in ("forget", "control")
            )
            rows.append((number, forgotten, control))
        found.append(Attempt(name, text, tuple(rows)))
    return found


def all_numbers(audit: Audit) -> list[tuple[str, str, tuple[str, ...], str]]:
    """(group, metric, value under each model, people / trials) for every number of the audit."""
    models = [m for m in MODELS if m in audit["models"]]
    rows = []
    for group in audit["models"]["original"]:
        for metric in dict.fromkeys(key for m in models for key in audit["models"][m].get(group, {})):
            entries = [entry(audit, m, group, metric) for m in models]
            counted = next(e for e in entries if e)
            digits = 4 if metric.startswith(FROZEN_FAR) else 3
            several = f"{counted['n']} / {counted['n_trials']:,}"
            rows.append((group, metric, tuple(shown(e, digits) for e in entries), several))
    return rows
