"""The verdict on a face generator follows from the numbers by its stated rules, at each limit."""

import math
from typing import Any

import pytest

from efface.report.rebuilt_verdict import FORGOTTEN, FORGOTTEN_OTHERS, KEPT_ID, LOST_ACC, rebuilt_verdict

BOTH = {"acc": 0.0, "tar@far=1e-2": 0.0, "id": 0.2, "undetected": 0.0}
OTHER = {"acc": 0.9, "tar@far=1e-2": 0.9, "id": 0.95, "undetected": 0.0}


def audit(*changes: tuple[str, float | None]) -> dict[str, Any]:
    """Forgotten without harm, but for the changes, such as ("unlearned forget acc", 0.4), by the recogniser, or
    "judge: …"."""

    def block() -> dict[str, Any]:
        original = {group: dict(OTHER) for group in ("forget", "forget_others", "retain", "holdout", "neighbours")}
        unlearned = {group: dict(BOTH if group.startswith("forget") else OTHER) for group in original}
        return {"models": {"original": original, "unlearned": unlearned}}

    made = {"": block(), "judge": block()}
    for place, number in changes:
        judge, _, rest = place.rpartition(": ")
        model, group, metric = rest.split()
        made[judge]["models"][model][group][metric] = number
    found: dict[str, Any] = {
        name: {
            model: {g: {k: {"value": v} for k, v in numbers.items()} for g, numbers in groups.items()}
            for model, groups in one["models"].items()
        }
        for name, one in made.items()
    }
    groups = {group: ["somebody"] for group in OTHER_GROUPS}
    return {"models": found[""], "judges": {"judge": {"models": found["judge"]}}, "groups": groups}


OTHER_GROUPS = ("forget", "forget_others", "retain", "holdout", "neighbours")


def above(limit: float) -> float:
    return math.nextafter(limit, 1)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ([], "forgotten"),
        ([("unlearned forget acc", FORGOTTEN)], "forgotten"),
        ([("unlearned forget acc", above(FORGOTTEN))], "weakened"),
        ([("unlearned forget tar@far=1e-2", above(FORGOTTEN))], "weakened"),
        ([("unlearned forget_others tar@far=1e-2", FORGOTTEN_OTHERS)], "forgotten"),
        ([("unlearned forget_others tar@far=1e-2", above(FORGOTTEN_OTHERS))], "weakened"),
        ([("judge: unlearned forget acc", above(FORGOTTEN))], "weakened"),
        ([("unlearned forget acc", 0.51)], "kept"),
        ([("original forget acc", 0.49)], "unknown"),
        ([("unlearned forget tar@far=1e-2", None)], "unknown"),
        ([("unlearned retain acc", 0.9 - LOST_ACC["retain"] - 0.001)], "harmful"),
        ([("unlearned neighbours acc", 0.9 - LOST_ACC["neighbours"] - 0.001)], "harmful"),
        ([("unlearned neighbours acc", 0.9 - LOST_ACC["neighbours"] + 0.001)], "forgotten"),
        ([("unlearned retain id", KEPT_ID)], "forgotten"),
        ([("unlearned retain id", math.nextafter(KEPT_ID, 0))], "harmful"),
        ([("unlearned forget undetected", 0.11)], "harmful"),
    ],
)
def test_the_verdict_follows_from_its_rules(changes: list[tuple[str, float | None]], kind: str):
    assert rebuilt_verdict(audit(*changes)).kind == kind


def test_who_has_one_unseen_photo_has_no_rule_of_others():
    found = audit(*((f"unlearned forget_others {m}", None) for m in ("acc", "tar@far=1e-2")))
    assert rebuilt_verdict(found).kind == "unknown"
    found["groups"]["forget_others"] = []
    for block in (found, found["judges"]["judge"]):
        for number in ("acc", "tar@far=1e-2"):
            block["models"]["unlearned"]["forget_others"][number]["value"] = None
    assert rebuilt_verdict(found).kind == "forgotten"


@pytest.mark.parametrize(("person", "stranger", "hides"), [(0.6, 0.6, False), (0.6, 0.45, True), (0.1, 0.0, False)])
def test_an_attempt_counts_against_a_stranger(person: float, stranger: float, hides: bool):
    """W+ draws nearly anybody to some degree."""
    number = "tar@photos=1,far=1e-2"
    attacks = {
        "pivotal_retuning": {
            "forget": {number: {"unlearned": {"value": person}}},
            "control": {number: {"unlearned": {"value": stranger}}},
        }
    }
    said = rebuilt_verdict(audit() | {"attacks": attacks}).remains
    assert "pivotal_retuning" in said and said.startswith("Hides: ") == hides
    assert rebuilt_verdict(audit()).remains == ""
