"""Which setting of a method is reported: chosen on the tuning people, by a rule that is the same for every method."""

from collections.abc import Mapping, Sequence
from typing import Any

from efface.report.drawn_verdict import KEPT_NET, LOST_ACC, OTHERS, faces
from efface.report.verdict import all_met


def choose(rows: Sequence[Mapping[str, Any]]) -> tuple[int, bool]:
    """(position of the chosen setting, whether it is admissible). rows: each setting's result.

    Of the admissible settings the one with the lowest accuracy of the forgotten, and of equals the one with their
    lowest ISM; where none is admissible the one with the highest SRK. The forgotten are drawn from photos that the
    method did not see, where there are some. A setting that failed on somebody is taken only where all did.
    """
    allowed = [i for i, row in enumerate(rows) if row["admissible"]]
    if allowed:
        return min(allowed, key=lambda i: _left(rows[i])), True
    whole = [i for i, row in enumerate(rows) if not row["failed"]]
    return (max(whole, key=lambda i: _srk(rows[i])) if whole else 0), False


def _left(row: Mapping[str, Any]) -> list[float]:
    groups = row["numbers"]
    found = [groups.get(OTHERS, {}).get(metric, {}).get("value") for metric in ("acc", "ism")]
    return found if None not in found else [groups["forget"][metric]["value"] for metric in ("acc", "ism")]


def _srk(row: Mapping[str, Any]) -> float:
    found = row["summary"].get("srk_others")
    return row["summary"]["srk"] if found is None else found


def admissible(found: Mapping[str, Any]) -> bool:
    """Whether those who are retained are, and the forgotten are still drawn as faces, by the rules of the verdict
    (`efface.report.drawn_verdict`). found: the audit of the runs."""
    numbers, original = found["models"]["unlearned"], found["models"]["original"]
    after, before = numbers["retain"], original["retain"]
    kept = after["ism_net"]["value"] >= KEPT_NET * before["ism_net"]["value"]
    near = after["acc"]["value"] >= before["acc"]["value"] - LOST_ACC
    return bool(kept and near and all_met(faces(found)))
