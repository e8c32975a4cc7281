"""What unlearning cost those who stay: drops, the worst-off person, and the gate "at equal harm"."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.metrics.metric import Metric
from efface.metrics.protocol import IMPOSTORS
from efface.metrics.rows import Row

STAYING = ("retain", "holdout")
"""Groups whose recognition must not suffer."""
GATED = ("rank1", "tar@far=1e-3")
"""Numbers whose drops are gated ..."""
MOST_DROP = 1.0
"""... at this many points (hundredths)."""
MOST_FAR = 3e-3
"""Largest false accept rate at the frozen threshold, which is that of 1e-3 under the original model."""

Models = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""models.<model>.<group>.<metric> = {value, …}."""


def drops(models: Models, metrics: Mapping[str, Metric]) -> dict[str, dict[str, float | None]]:
    """<group>.<metric> = original − unlearned in points (hundredths), for shares that are higher where people are
    recognised better. Null where either number is; empty where one of the models was not measured."""
    before, after = models.get("original", {}), models.get("unlearned", {})
    return {
        group: {
            key: _points(number["value"], after[group][key]["value"])
            for key, number in numbers.items()
            if key in metrics and (metrics[key].unit, metrics[key].recognised) == ("share", "higher")
        }
        for group, numbers in before.items()
        if group in after and group != IMPOSTORS
    }


def _points(before: float | None, after: float | None) -> float | None:
    # rounded, so that .97 − .96 is one point and passes the gate
    return None if before is None or after is None else round(100 * (before - after), 9)


def equal_harm(models: Models, fallen: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any] | None:
    """Whether the setting may be compared with others "at equal harm": mean drops of retain and holdout of at most 1
    point, and at most 3e-3 false accepts at the frozen threshold. `admissible` is null where a number that it needs is
    and no other one is over its limit. None without an unlearned model."""
    if "unlearned" not in models:
        return None
    far = models["unlearned"].get(IMPOSTORS, {}).get("far_at_frozen_threshold", {}).get("value")
    harm = {group: {key: fallen.get(group, {}).get(key) for key in GATED} for group in STAYING}
    within = [None if d is None else d <= MOST_DROP for numbers in harm.values() for d in numbers.values()]
    within.append(None if far is None else far <= MOST_FAR)
    admissible = False if False in within else None if None in within else True
    limits = {"drop": MOST_DROP, "far_at_frozen_threshold": MOST_FAR}
    return {"admissible": admissible, "drops": harm, "far_at_frozen_threshold": far, "limits": limits}


def worst(rows: Sequence[Row], metrics: Mapping[str, Metric]) -> dict[str, dict[str, dict[str, Any]]]:
    """<model>.<metric> = {person, group, value, original}: the retained or holdout person who is recognised worst by
    that number, and that person's number in the same group under the original model. Of equals the one who lost most,
    then the first."""
    staying = [r for r in rows if r.group in STAYING and r.value is not None and r.metric in metrics]
    original = {(r.metric, r.group, r.person): r.value for r in staying if r.model == "original"}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in staying:
        before = original.get((row.metric, row.group, row.person))
        entry = {"person": row.person, "group": row.group, "value": row.value, "original": before}
        numbers = found.setdefault(row.model, {})
        sign = 1 if metrics[row.metric].recognised == "higher" else -1
        if row.metric not in numbers or _worse(entry, numbers[row.metric], sign):
            numbers[row.metric] = entry
    return found


def _worse(one: Mapping[str, Any], other: Mapping[str, Any], sign: int) -> bool:
    def standing(entry: Mapping[str, Any]) -> tuple[float, float]:
        before = entry["value"] if entry["original"] is None else entry["original"]
        return sign * entry["value"], -sign * before

    return standing(one) < standing(other)
