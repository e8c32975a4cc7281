"""Which setting of a method is reported: chosen on the tuning people, by a rule that is the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.report.drawn_verdict import ACC, MOST_UNDETECTED, OTHERS, TAR, UNDETECTED
from efface.report.rebuilt_verdict import KEPT_ID, LOST_ACC


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """(position of the chosen setting, whether it is admissible). rows: each setting's result.

    Of the admissible settings the one after which the fewest pictures of the forgotten are accepted, and of equals the
    one whose pictures are least like the person's photos; where none is admissible the one with the largest share of
    retained people's pictures that are nearest to their person, less the share of the forgotten's that are accepted.
    The forgotten are drawn from photos that the method did not see, where there are some. A setting that failed on
    somebody is taken only where all did.
    """
    allowed = [i for i, row in enumerate(rows) if row["admissible"]]
    if allowed:
        return min(allowed, key=lambda i: (_left(rows[i], TAR), _left(rows[i], "id_photo"))), True
    whole = [i for i, row in enumerate(rows) if not row["failed"]]
    return (max(whole, key=lambda i: _balance(rows[i])) if whole else 0), False


def _left(row: Mapping[str, Any], metric: str) -> float:
    """Of the forgotten; what could not be measured counts as nothing forgotten."""
    groups = row["numbers"]
    found = [groups.get(group, {}).get(metric, {}).get("value") for group in (OTHERS, "forget")]
    return next((value for value in found if value is not None), 1.0)


def _balance(row: Mapping[str, Any]) -> float:
    return (row["numbers"]["retain"][ACC]["value"] or 0.0) - _left(row, TAR)


def admissible(numbers: Mapping[str, Any], original: Mapping[str, Any]) -> bool:
    """Whether those who are retained are, and the forgotten are still drawn as faces, by the rules of the verdict
    (`efface.report.rebuilt_verdict`). numbers, original: group -> metric -> number, of the same runs."""
    after, before = (numbers["retain"][ACC]["value"], original["retain"][ACC]["value"])
    kept, unseen = numbers["retain"]["id"]["value"], numbers["forget"][UNDETECTED]["value"]
    if None in (after, before, kept, unseen):  # no face was found
        return False
    return bool(before - after <= LOST_ACC["retain"] and kept >= KEPT_ID and unseen <= MOST_UNDETECTED)
