"""Which setting of a method is reported: chosen on the tuning people, by a rule that is the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

KEPT = 0.93
"""Share of the original model's `ism_net` that the retained people must keep, ..."""
LOST = 0.05
"""... and of their nearest-centroid accuracy what they may lose, for a setting to be admissible."""


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """(position of the chosen setting, whether it is admissible). rows: each setting's result.

    Of the admissible settings the one with the lowest accuracy of the forgotten, and of equals the one with their
    lowest ISM; where none is admissible the one with the highest SRK. A setting that failed on somebody is taken only
    where all did.
    """
    allowed = [i for i, row in enumerate(rows) if row["admissible"]]
    if allowed:
        return min(allowed, key=lambda i: (forgotten(rows[i], "acc"), forgotten(rows[i], "ism"))), True
    whole = [i for i, row in enumerate(rows) if not row["failed"]]
    return (max(whole, key=lambda i: rows[i]["summary"]["srk"]) if whole else 0), False


def forgotten(row: Mapping[str, Any], metric: str) -> float:
    """A number of the forgotten people."""
    return row["numbers"]["forget"][metric]["value"]


def admissible(numbers: Mapping[str, Any], original: Mapping[str, Any]) -> bool:
    """Whether those who are retained are. numbers, original: group -> metric -> number, of the same runs."""
    after, before = numbers["retain"], original["retain"]
    kept = after["ism_net"]["value"] >= KEPT * before["ism_net"]["value"]
    return bool(kept and after["acc"]["value"] >= before["acc"]["value"] - LOST)
