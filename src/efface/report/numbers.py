"""Reading the numbers of an audit.json (docs/audit.md), and writing them for people. No torch here."""

from collections.abc import Mapping
from typing import Any

Audit = Mapping[str, Any]
"""The content of an audit.json."""

FAR, COARSE_FAR = "1e-3", "1e-2"
"""The false accept rate that reports lead with, and the one that stands in where there are too few pairs for it."""
TAR, TAR_MULTI, FROZEN_FAR = f"tar@far={FAR}", f"tar_multi@far={FAR}", "far_at_frozen_threshold"
COARSE = {
    TAR: f"tar@far={COARSE_FAR}",
    TAR_MULTI: f"tar_multi@far={COARSE_FAR}",
    FROZEN_FAR: f"{FROZEN_FAR}@far={COARSE_FAR}",
}
"""The numbers that lead a report, and what stands in for each at the coarse rate."""
COARSE_MARK = f",far={COARSE_FAR}"
"""What the name of an attack's number ends in at the coarse rate."""
IMPOSTORS = "impostors"
"""The group whose number that is."""

GROUPS = {
    "forget": "Forgotten: unseen photos",
    "forget_seen": "Forgotten: photos given to the method",
    "retain": "Retained: others whose photos the method had",
    "holdout": "Held out: others the method knew nothing of",
    "neighbours": "Look-alikes of the forgotten",
}
"""Groups of people in the order of reports, and what to call them."""
MODELS = {"original": "before", "unlearned": "after", "retrained": "retrained"}
"""Models in the order of reports, and what to call them."""
FLOORS = {"raw_pixels": "raw pixels", "random_network": "random network"}
"""Matchers without identity, and what to call them."""


def entry(audit: Audit, model: str, group: str, metric: str) -> Mapping[str, Any] | None:
    """The number with its interval and counts, or None where the audit has none."""
    return audit["models"].get(model, {}).get(group, {}).get(metric)


def value(audit: Audit, model: str, group: str, metric: str) -> float | None:
    """The number alone; None where there is none or it could not be measured."""
    return (entry(audit, model, group, metric) or {}).get("value")


def counts(number: Mapping[str, Any] | None, trials: str) -> str:
    """Whom a number is a mean over, in words; "" where there is none. trials: what several of them are called."""
    if number is None:
        return ""
    who = "person" if number["n"] == 1 else "people"
    return f"{number['n']:,} {who}, {number['n_trials']:,} {trials}"


def floor_value(audit: Audit, matcher: str, group: str, metric: str) -> float | None:
    """What a matcher without identity reaches; None where that was not measured."""
    return audit.get("floor", {}).get(matcher, {}).get(group, {}).get(metric, {}).get("value")


def attack_value(audit: Audit, attack: str, group: str, number: str, model: str) -> float | None:
    """What an attempt to bring a person back reaches; None where it was not tried or could not be measured."""
    return audit.get("attacks", {}).get(attack, {}).get(group, {}).get(number, {}).get(model, {}).get("value")


def threshold(audit: Audit) -> tuple[str, float | None]:
    """The frozen threshold that pictures show and the false accept rate it was set for: that of 1e-3, of 1e-2 where
    there are too few impostor pairs for it, and None where there are too few for both."""
    frozen = audit.get("thresholds", {}).get("original", {})
    for far in (FAR, COARSE_FAR):
        found = frozen.get(f"far={far}", {}).get("value")
        if found is not None:
            return far, found
    return FAR, None


def leading(audit: Audit, metric: str) -> str:
    """The key that stands for TAR, TAR_MULTI or FROZEN_FAR in this audit; any other key is itself."""
    return COARSE.get(metric, metric) if threshold(audit)[0] == COARSE_FAR else metric


def attack_numbers(audit: Audit, attack: str) -> list[str]:
    """The numbers of an attack at the false accept rate that leads this audit."""
    numbers = audit.get("attacks", {}).get(attack, {}).get("forget", {})
    coarse: dict[str, str] = {fine: f"{fine}{COARSE_MARK}" for fine in numbers if f"{fine}{COARSE_MARK}" in numbers}
    plain: list[str] = [n for n in numbers if n not in coarse.values()]
    return [coarse.get(n, n) for n in plain] if threshold(audit)[0] == COARSE_FAR else plain


def shown(found: Mapping[str, Any] | None, digits: int = 2) -> str:
    """For people: `0.42 [0.31, 0.55]`, `0.42` where there is no interval, `–` where there is no number.

    >>> shown({"value": 0.421, "low": 0.312, "high": 0.548})
    '0.42 [0.31, 0.55]'
    >>> shown({"value": None, "low": None, "high": None})
    '–'
    """
    if found is None or found["value"] is None:
        return "–"
    text = plain(found["value"], digits)
    if found.get("low") is None or found.get("high") is None:
        return text
    return f"{text} [{plain(found['low'], digits)}, {plain(found['high'], digits)}]"


def plain(number: float | None, digits: int = 2) -> str:
    """A number for people; a minus before what rounds to nothing is dropped, and what is missing is `–`.

    >>> plain(-0.0001), plain(None), plain(-0.5)
    ('0.00', '–', '−0.50')
    """
    if number is None:
        return "–"
    text = f"{number:.{digits}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def percent(share: float | None) -> str:
    """A share in words, in one piece (the space does not break).

    >>> percent(0.225), percent(1.0), percent(None)
    ('22.5\\xa0%', '100\\xa0%', '–')
    """
    return "–" if share is None else f"{plain(100 * share, 1).removesuffix('.0')}\N{NO-BREAK SPACE}%"


def listed(names: list[str] | tuple[str, ...], most: int = 12) -> str:
    """Names with commas; of many the first ones and how many more.

    >>> listed(["s1", "s2", "s3"], most=2)
    's1, s2 and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest} more"
