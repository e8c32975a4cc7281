"""Which setting of a method is reported: chosen on the tuning people, by a rule that is the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.report.drawn_verdict import ACC, OTHERS, TAR
from efface.report.numbers import Audit
from efface.report.rebuilt_verdict import harm
from efface.report.verdict import all_met


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """(position of the chosen setting, whether it is admissible). rows: each setting's result.

    Of the admissible settings the one after which the fewest pictures of the forgotten are accepted, and of equals the
    one whose pictures are least like the person's photos; where none is admissible the one with the largest share of
    retained people's pictures that are nearest to their person, less the share of the forgotten's that are accepted.
    Each number is that of the recogniser, or the judge, by which it is worst. The forgotten are drawn from photos that
    the method did not see, where there are some. A setting that failed on somebody is taken only where all did.
    """
    allowed = [i for i, row in enumerate(rows) if row["admissible"]]
    if allowed:
        return min(allowed, key=lambda i: (_left(rows[i], TAR), _left(rows[i], "id_photo"))), True
    whole = [i for i, row in enumerate(rows) if not row["failed"]]
    return (max(whole, key=lambda i: _balance(rows[i])) if whole else 0), False


def _scored(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The numbers of a row by everybody who scores."""
    return [row["numbers"], *row["judges"].values()]


def _left(row: Mapping[str, Any], metric: str) -> float:
    """Of the forgotten; what could not be measured counts as nothing forgotten."""
    return max(_first([_value(groups, group, metric) for group in (OTHERS, "forget")], 1.0) for groups in _scored(row))


def _balance(row: Mapping[str, Any]) -> float:
    return min(_first([_value(groups, "retain", ACC)], 0.0) for groups in _scored(row)) - _left(row, TAR)


def _value(groups: Mapping[str, Any], group: str, metric: str) -> float | None:
    return groups.get(group, {}).get(metric, {}).get("value")


def _first(found: Sequence[float | None], otherwise: float) -> float:
    return next((value for value in found if value is not None), otherwise)


def admissible(found: Audit) -> bool:
    """Whether those who are retained are, and the forgotten are still drawn as faces, by the verdict's rules
    (`efface.report.rebuilt_verdict.harm`). found: the audit of the runs."""
    return all_met(harm(found, ["retain"])) is True
