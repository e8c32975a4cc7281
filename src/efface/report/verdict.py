"""A verdict in words, computed from the numbers by the rules that are stated here. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from efface.report.numbers import (
    COARSE_FAR,
    COARSE_MARK,
    FAR,
    FROZEN_FAR,
    IMPOSTORS,
    TAR,
    TAR_MULTI,
    Audit,
    attack_numbers,
    attack_value,
    floor_value,
    leading,
    percent,
    plain,
    threshold,
    value,
)

FORGOTTEN_TAR = 0.10
"""Forgotten: at most this share of unseen photos is still accepted as the person ..."""
FORGOTTEN_RANK1 = 0.10
"""... and the person is found first in at most this share of searches, or no more often than by a matcher of raw
pixels, which knows nothing of identity, on the same photos ..."""
MOST_RANK1 = 0.60
"""... but never in more than this share: where raw pixels find people more often, rank-1 cannot show a forgetting."""
WEAKENED_TAR, WEAKENED_RANK1 = 0.50, 0.60
"""Harder to recognise, though not forgotten: at most these shares, with a template of one photo."""
RECOGNISED_TAR = 0.50
"""There is something to forget where the original model accepts at least this share."""
HIDES = 0.95
"""Whatever else was found, the method hides the person where a probe on the penultimate layer still accepts at least
this share of unseen pairs; or of those that it accepts in the original model, if these are at least RECOGNISED_TAR."""
PROBE = "probe", "tar@layer=penultimate"
"""The attack and its number."""
NEEDED_PAIRS = {FAR: 10_000, COARSE_FAR: 1_000}
"""Impostor pairs from which a false accept rate can be told (protocol, line 6)."""
USUAL_PHOTOS = 10
"""Photos of a person, where there are too few people to say how many they have."""

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
    note: str
    """What has to be said with the headline: that it rests on a coarser false accept rate. Else empty."""
    forgetting: tuple[Rule, ...]
    """The person is forgotten where all of these are met."""
    harm: tuple[Rule, ...]
    """The harm to everybody else is acceptable where all of these are met (the gate "at equal harm")."""
    remains: str
    """That an added module hides the people, and what a probe on the penultimate layer, or the strongest attempt on a
    model that draws, still finds; empty where there is no module and nothing was tried."""
    goal: str
    """Which of the two goals of unlearning the verdict speaks of."""


def verdict(audit: Audit) -> Verdict:
    """Judge `unlearned` against `original` by the rules above."""
    forgetting, harm = _forgetting(audit), _harm(audit)
    kind, headline = _judge(audit, forgetting, harm)
    return Verdict(
        kind, headline, "" if kind == "unknown" else _note(audit), forgetting, harm, _remains(audit), _goal(audit)
    )


def _judge(audit: Audit, forgetting: Iterable[Rule], harm: Iterable[Rule]) -> tuple[Kind, str]:
    if "unlearned" not in audit["models"]:
        return "unknown", "No verdict: only the original model was measured"
    recognised = value(audit, "original", "forget", leading(audit, TAR))
    if recognised is None:
        return "unknown", f"No verdict: {_too_few(audit)}"
    if recognised < RECOGNISED_TAR:
        return "unknown", "No verdict: the original model hardly recognised these photos, so no forgetting can be shown"
    forgotten, harmless = all_met(forgetting), all_met(harm)
    if forgotten is None or harmless is None:
        return "unknown", f"No verdict: {_too_few(audit)}"
    if forgotten:
        return where_forgotten(audit, harmless)
    aside = "" if harmless else ", and the harm is too high"
    weakened = all_met(_weakening(audit))
    return (
        ("weakened", f"Harder to recognise, but not forgotten{aside}")
        if weakened
        else ("kept", f"Not forgotten{aside}")
    )


def where_forgotten(audit: Audit, harmless: bool) -> tuple[Kind, str]:
    """What is said where all rules of forgetting are met."""
    said = "Hidden, not erased," if hides(audit) else "Forgotten"
    if harmless:
        return "forgotten", f"{said} at acceptable harm"
    return "harmful", f"{said.rstrip(',')}, but the harm is too high"


def hides(audit: Audit) -> bool | None:
    """Whether the unlearned model still holds the person before its output: always where an added module hides them;
    None where no probe was tried."""
    if "module" in audit:
        return True
    before, after = (_probed(audit, model) for model in ("original", "unlearned"))
    if after is None:
        return None
    return after >= HIDES or (before is not None and before >= RECOGNISED_TAR and after >= HIDES * before)


def _probed(audit: Audit, model: str) -> float | None:
    attack, number = PROBE
    known = next((n for n in attack_numbers(audit, attack) if n.removesuffix(COARSE_MARK) == number), number)
    return attack_value(audit, attack, "forget", known, model)


def _remains(audit: Audit) -> str:
    return " ".join(filter(None, (module_said(audit), _found(audit))))


def module_said(audit: Audit) -> str:
    """What an added module does not do, as a sentence; empty where there is none."""
    said = audit.get("module_statement", "")
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def _found(audit: Audit) -> str:
    """What the probe found; empty where none was tried."""
    before, after = (_probed(audit, model) for model in ("original", "unlearned"))
    if after is None:
        return ""
    found = (
        f"A probe on the layer before the output accepts {percent(before)} → {percent(after)} of the forgotten "
        "people's unseen pairs"
    )
    if hides(audit):
        return f"Hides: {found[0].lower()}{found[1:]}. The output hides them; the network still tells them apart."
    return f"{found}."


def _note(audit: Audit) -> str:
    if threshold(audit)[0] == FAR:
        return ""
    return (
        f"Judged at a false accept rate of {COARSE_FAR} (1 in 100 pairs of strangers): held-out people give "
        f"{_pairs(audit):,} impostor pairs, too few for {FAR}, which needs {NEEDED_PAIRS[FAR]:,}."
    )


def _pairs(audit: Audit) -> int | None:
    return audit.get("thresholds", {}).get("original", {}).get(f"far={FAR}", {}).get("n_trials")


def _too_few(audit: Audit) -> str:
    """Why a number that the rules need is null, and what would be enough."""
    pairs, needed = _pairs(audit), NEEDED_PAIRS[COARSE_FAR]
    if pairs is None or pairs >= needed:
        return "too few photos or people to measure one of the rules below"
    held = len(audit["groups"]["holdout"])
    enough, photos = _enough(held, pairs, needed)
    return (
        f"{held} held-out people give {pairs:,} impostor pairs, and a false accept rate of {COARSE_FAR} needs "
        f"{needed:,} ({FAR}: {NEEDED_PAIRS[FAR]:,}); {enough} held-out people with {photos} photos each are enough, "
        f"which takes {_beside(enough)} people beside those to forget: add photos of other people"
    )


def _enough(held: int, pairs: int, needed: int) -> tuple[int, int]:
    """(held-out people, photos of each) that give enough pairs, with about as many photos each as there are now."""
    photos = max(1, round((2 * pairs / (held * (held - 1))) ** 0.5)) if pairs else USUAL_PHOTOS
    people = max(2, held)
    while people * (people - 1) // 2 * photos**2 < needed:
        people += 1
    return people, photos


def _beside(held: int) -> int:
    """The fewest people of whom so many are held out, where the protocol chooses (line 2)."""
    people = held
    while people - round(5 * people / 9) < held:
        people += 1
    return people


def all_met(rules: Iterable[Rule]) -> bool | None:
    """False as soon as one rule is broken; None where none is broken but one (or all) could not be measured."""
    met = [rule.met for rule in rules] or [None]
    return False if False in met else None if None in met else True


def _forgetting(audit: Audit) -> tuple[Rule, ...]:
    accepted, first = "unseen photos still accepted as the person", "searches that still find the person first"
    one, several = "template of one photo", "template of several photos"
    return (
        _at_most(audit, f"{accepted}, {one}", TAR, FORGOTTEN_TAR),
        _at_most(audit, f"{accepted}, {several}", TAR_MULTI, FORGOTTEN_TAR),
        _at_most(audit, f"{first}, {one}", "rank1", *_rank_limit(audit, "rank1")),
        _at_most(audit, f"{first}, {several}", "rank1_multi", *_rank_limit(audit, "rank1_multi")),
    )


def _weakening(audit: Audit) -> tuple[Rule, ...]:
    return (_at_most(audit, "", TAR, WEAKENED_TAR), _at_most(audit, "", "rank1", WEAKENED_RANK1))


def _rank_limit(audit: Audit, metric: str) -> tuple[float, str]:
    """How often the forgotten may be found first, and where that limit comes from if raw pixels raise it."""
    pixels = floor_value(audit, "raw_pixels", "forget", metric)
    if pixels is None or pixels <= FORGOTTEN_RANK1:
        return FORGOTTEN_RANK1, ""
    if pixels <= MOST_RANK1:
        return pixels, " (raw pixels)"
    return MOST_RANK1, f" (raw pixels reach {plain(pixels)}, the limit goes no higher)"


def _at_most(audit: Audit, text: str, metric: str, limit: float, why: str = "") -> Rule:
    """A rule on the forgotten people's unseen photos under the new model."""
    key = leading(audit, metric)
    found = value(audit, "unlearned", "forget", key)
    return Rule(text, key, plain(found), f"≤ {plain(limit)}{why}", None if found is None else found <= limit)


def _harm(audit: Audit) -> tuple[Rule, ...]:
    """The gate that the audit computed, in words; at the coarse false accept rate the same with its numbers."""
    gate = audit.get("equal_harm")
    if gate is None:
        return ()
    people = {"retain": "retained people", "holdout": "held-out people"}
    names = {"rank1": "found first", TAR: "accepted"}
    most, rate = gate["limits"]["drop"], threshold(audit)[0]
    rules = []
    for group, numbers in gate["drops"].items():
        for metric in numbers:
            key = leading(audit, metric)
            drop = numbers[metric] if key == metric else audit["drops"].get(group, {}).get(key)
            text = f"loss of {people.get(group, group)}, photos {names.get(metric, metric)}"
            found = "–" if drop is None else f"{plain(drop, 1)} points"
            rules.append(Rule(text, key, found, f"≤ {plain(most, 1)} points", None if drop is None else drop <= most))
    key, limit = leading(audit, FROZEN_FAR), gate["limits"][FROZEN_FAR]
    far = gate[FROZEN_FAR]
    if key != FROZEN_FAR:
        far, limit = (
            value(audit, "unlearned", IMPOSTORS, key),
            limit * float(rate) / float(FAR),
        )  # as many times the rate
    text = f"pairs of strangers accepted at the threshold that was set for {rate}"
    rules.append(Rule(text, key, plain(far, 4), f"≤ {plain(limit, 4)}", None if far is None else far <= limit))
    return tuple(rules)


def _goal(audit: Audit) -> str:
    suppression = (
        "This verdict speaks of suppression: whether this model can still recognise the people from photos. It does "
        "not speak of influence removal: whether the model is as if it had been trained without them"
    )
    tar = leading(audit, TAR)
    after, reference = (value(audit, model, "forget", tar) for model in ("unlearned", "retrained"))
    if "retrained" not in audit["models"]:
        return f"{suppression}; no reference trained without them was given."
    return (
        f"{suppression}. For that, compare with the reference trained without them: it accepts "
        f"{percent(reference)} of their unseen photos, the unlearned model {percent(after)} ({tar}). A recogniser also "
        "matches people it never saw, so the two goals ask for different numbers."
    )
