"""A verdict in words, computed from the numbers by the rules that are stated here. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from efface.report.numbers import FAR, FROZEN_FAR, TAR, TAR_MULTI, Audit, floor_value, percent, plain, value

FORGOTTEN_TAR = 0.10
"""Forgotten: at most this share of unseen photos is still accepted as the person ..."""
FORGOTTEN_RANK1 = 0.10
"""... and the person is found first in at most this share of searches, or no more often than by a matcher of raw
pixels, which knows nothing of identity, on the same photos."""
WEAKENED_TAR, WEAKENED_RANK1 = 0.50, 0.60
"""Harder to recognise, though not forgotten: at most these shares, with a template of one photo."""
RECOGNISED_TAR = 0.50
"""There is something to forget where the original model accepts at least this share."""
NEEDED_PAIRS = 10_000
"""Impostor pairs from which a false accept rate of 1e-3 can be told (protocol, line 6)."""

Kind = Literal["forgotten", "harmful", "weakened", "kept", "unknown"]


@dataclass(frozen=True)
class Rule:
    """One condition of the verdict, what was found, and whether it is met."""

    text: str
    name: str
    """Key of the number in audit.json."""
    found: str
    limit: str
    met: bool | None
    """None where the number could not be measured."""


@dataclass(frozen=True)
class Verdict:
    """What the numbers say about the people who were to be forgotten."""

    kind: Kind
    headline: str
    forgetting: tuple[Rule, ...]
    """The person is forgotten where all of these are met."""
    harm: tuple[Rule, ...]
    """The harm to everybody else is acceptable where all of these are met (the gate "at equal harm")."""
    goal: str
    """Which of the two goals of unlearning the verdict speaks of."""


def verdict(audit: Audit) -> Verdict:
    """Judge `unlearned` against `original` by the rules above."""
    forgetting, harm = _forgetting(audit), _harm(audit)
    kind, headline = _judge(audit, forgetting, harm)
    return Verdict(kind, headline, forgetting, harm, _goal(audit))


def _judge(audit: Audit, forgetting: Iterable[Rule], harm: Iterable[Rule]) -> tuple[Kind, str]:
    if "unlearned" not in audit["models"]:
        return "unknown", "No verdict: only the original model was measured"
    recognised = value(audit, "original", "forget", TAR)
    if recognised is None:
        return "unknown", f"No verdict: {_too_few(audit)}"
    if recognised < RECOGNISED_TAR:
        return "unknown", "No verdict: the original model hardly recognised these photos, so no forgetting can be shown"
    forgotten, harmless = _all_met(forgetting), _all_met(harm)
    if forgotten is None or harmless is None:
        return "unknown", f"No verdict: {_too_few(audit)}"
    if forgotten:
        if harmless:
            return "forgotten", "Forgotten at acceptable harm"
        return "harmful", "Forgotten, but the harm is too high"
    aside = "" if harmless else ", and the harm is too high"
    weakened = _all_met(_weakening(audit))
    return (
        ("weakened", f"Harder to recognise, but not forgotten{aside}")
        if weakened
        else ("kept", f"Not forgotten{aside}")
    )


def _too_few(audit: Audit) -> str:
    """Why a number that the rules need is null."""
    pairs = audit.get("thresholds", {}).get("original", {}).get(f"far={FAR}", {}).get("n_trials")
    if pairs is not None and pairs < NEEDED_PAIRS:
        return (
            f"held-out people give {pairs:,} impostor pairs, and a false accept rate of {FAR} needs {NEEDED_PAIRS:,}; "
            "add photos of other people"
        )
    return "too few photos or people to measure one of the rules below"


def _all_met(rules: Iterable[Rule]) -> bool | None:
    """False as soon as one rule is broken; None where none is broken but one (or all) could not be measured."""
    met = [rule.met for rule in rules] or [None]
    return False if False in met else None if None in met else True


def _forgetting(audit: Audit) -> tuple[Rule, ...]:
    accepted, first = "unseen photos still accepted as the person", "searches that still find the person first"
    one, several = "template of one photo", "template of several photos"
    return (
        _at_most(audit, f"{accepted}, {one}", TAR, FORGOTTEN_TAR),
        _at_most(audit, f"{accepted}, {several}", TAR_MULTI, FORGOTTEN_TAR),
        _at_most(audit, f"{first}, {one}", "rank1", FORGOTTEN_RANK1, floor=True),
        _at_most(audit, f"{first}, {several}", "rank1_multi", FORGOTTEN_RANK1, floor=True),
    )


def _weakening(audit: Audit) -> tuple[Rule, ...]:
    return (_at_most(audit, "", TAR, WEAKENED_TAR), _at_most(audit, "", "rank1", WEAKENED_RANK1))


def _at_most(audit: Audit, text: str, metric: str, limit: float, floor: bool = False) -> Rule:
    """A rule on the forgotten people's unseen photos under the new model; `floor` raises the limit to what raw pixels
    reach."""
    found = value(audit, "unlearned", "forget", metric)
    pixels = floor_value(audit, "raw_pixels", "forget", metric) if floor else None
    words = f"≤ {plain(limit)}"
    if pixels is not None and pixels > limit:
        limit, words = pixels, f"≤ {plain(pixels)} (raw pixels)"
    return Rule(text, metric, plain(found), words, None if found is None else found <= limit)


def _harm(audit: Audit) -> tuple[Rule, ...]:
    """The gate that the audit computed, in words."""
    gate = audit.get("equal_harm")
    if gate is None:
        return ()
    people = {"retain": "retained people", "holdout": "held-out people"}
    names = {"rank1": "found first", TAR: "accepted"}
    most = gate["limits"]["drop"]
    rules = [
        Rule(
            f"loss of {people.get(group, group)}, photos {names.get(metric, metric)}",
            metric,
            "–" if drop is None else f"{plain(drop, 1)} points",
            f"≤ {plain(most, 1)} points",
            None if drop is None else drop <= most,
        )
        for group, numbers in gate["drops"].items()
        for metric, drop in numbers.items()
    ]
    far, limit = gate[FROZEN_FAR], gate["limits"][FROZEN_FAR]
    rules.append(
        Rule(
            f"pairs of strangers accepted at the threshold that was set for {FAR}",
            FROZEN_FAR,
            plain(far, 4),
            f"≤ {plain(limit, 4)}",
            None if far is None else far <= limit,
        )
    )
    return tuple(rules)


def _goal(audit: Audit) -> str:
    suppression = (
        "This verdict speaks of suppression: whether this model can still recognise the people from photos. It does "
        "not speak of influence removal: whether the model is as if it had been trained without them"
    )
    after, reference = (value(audit, model, "forget", TAR) for model in ("unlearned", "retrained"))
    if "retrained" not in audit["models"]:
        return f"{suppression}; no reference trained without them was given."
    return (
        f"{suppression}. For that, compare with the reference trained without them: it accepts "
        f"{percent(reference)} of their unseen photos, the unlearned model {percent(after)} ({TAR}). A recogniser also "
        "matches people it never saw, so the two goals ask for different numbers."
    )
