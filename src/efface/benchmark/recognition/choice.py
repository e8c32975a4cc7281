"""Which setting of a method is reported: chosen on the tuning sets, by a rule that is the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

TAR, FAR = "tar@far=1e-3", "far_at_frozen_threshold"
MOST_FAR_OF_A_SET = 6e-3
"""A setting that accepts more strangers on one of its sets is not admissible, whatever the mean."""
EQUAL = 0.05
"""Differences of the forgotten people's TAR that 20 people cannot tell from none."""


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """(position of the chosen setting, whether it is admissible). rows: the group `tune` of each setting's result.

    Of the admissible settings within 5 points of the lowest TAR the one with the fewest false accepts, to a tenth of
    1e-3, and of equals the one with the lowest TAR; where none is admissible the one with the fewest false accepts. A
    setting that failed on a set is taken only where all did.
    """
    allowed = [i for i, row in enumerate(rows) if row["admissible"]]
    if allowed:
        lowest = min(tar(rows[i]) for i in allowed)
        strong = [i for i in allowed if tar(rows[i]) <= lowest + EQUAL]
        return min(strong, key=lambda i: (round(false_accepts(rows[i]), 4), tar(rows[i]))), True
    whole = [i for i, row in enumerate(rows) if not row["failed"]]
    if not whole:
        return 0, False
    return min(whole, key=lambda i: false_accepts(rows[i])), False


def tar(row: Mapping[str, Any]) -> float:
    """The forgotten people's TAR."""
    return row["numbers"]["forget"][TAR]["value"]


def false_accepts(row: Mapping[str, Any]) -> float:
    """Share of pairs of strangers that are accepted."""
    return row["numbers"]["impostors"][FAR]["value"]
