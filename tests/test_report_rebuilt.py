"""The verdict on a face generator follows from the numbers by its stated rules, at each limit."""

import math
from typing import Any

import pytest

from efface.report.drawn_verdict import FACES
from efface.report.rebuilt_verdict import FORGOTTEN, FORGOTTEN_OTHERS, KEPT_ID, LOST_ACC, rebuilt_verdict

FACE = {"quality": 1.0, "sharpness": 100.0}
BOTH = {"acc": 0.0, "tar@far=1e-2": 0.0, "id": 0.2, "undetected": 0.0} | FACE
OTHER = {"acc": 0.9, "tar@far=1e-2": 0.9, "id": 0.95, "undetected": 0.0} | FACE


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
        ([("judge: unlearned retain acc", 0.9 - LOST_ACC["retain"] - 0.001)], "harmful"),
        ([("judge: unlearned holdout acc", 0.9 - LOST_ACC["holdout"] - 0.001)], "harmful"),
        ([("judge: unlearned retain id", math.nextafter(KEPT_ID, 0))], "harmful"),
        ([("unlearned forget quality", FACES["quality"][0])], "forgotten"),
        ([("unlearned forget quality", math.nextafter(FACES["quality"][0], 0))], "harmful"),
        ([("unlearned forget sharpness", 100 * FACES["sharpness"][0])], "forgotten"),
        ([("unlearned forget sharpness", 100 * FACES["sharpness"][0] - 0.001)], "harmful"),
        ([("unlearned forget sharpness", 100 * FACES["sharpness"][1] + 0.001)], "harmful"),
        ([("unlearned forget quality", None)], "unknown"),
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


def tried(**attacks: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Attempts of an audit. attacks: attack -> number -> (of the person, of a stranger)."""
    return {
        "attacks": {
            name: {
                group: {number: {"unlearned": {"value": shares[i]}} for number, shares in numbers.items()}
                for i, group in enumerate(("forget", "control"))
            }
            for name, numbers in attacks.items()
        }
    }


def test_a_leak_around_the_latent_is_no_less_of_one_where_a_stranger_is_drawn():
    """The stranger was not forgotten: theirs is the ceiling, and nothing to take off."""
    leak = {"tar@radius=0,far=1e-2": (0.0, 0.95), "tar@radius=0.5,far=1e-2": (0.70, 0.90)}
    weaker = {"tar@photos=1,far=1e-2": (0.60, 0.45)}
    said = rebuilt_verdict(audit() | tried(pivotal_retuning=weaker, radius_sweep=leak)).remains
    assert said.startswith("Hides: the strongest attempt, radius_sweep (tar@radius=0.5,far=1e-2), gets the person")
    alone = rebuilt_verdict(audit() | tried(radius_sweep={number: (share, 0.0) for number, (share, _) in leak.items()}))
    assert said == alone.remains


@pytest.mark.parametrize("number", ["tar@radius=0.5,far=1e-2", "acc@radius=0.5", "acc@radius=0.5,by=judge"])
def test_the_sweep_is_read_against_the_limit_on_photos_not_seen(number: str):
    for share, hides in ((FORGOTTEN_OTHERS, False), (above(FORGOTTEN_OTHERS), True)):
        said = rebuilt_verdict(audit() | tried(radius_sweep={number: (share, 0.9)})).remains
        assert f"radius_sweep ({number})" in said and said.startswith("Hides: ") == hides
    assert rebuilt_verdict(audit() | tried(radius_sweep={"id_photo@radius=0.5": (0.9, 0.9)})).remains == ""


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ([], "Hidden, not erased, at acceptable harm"),
        ([("unlearned retain id", 0.0)], "Hidden, not erased, but the harm is too high"),
        ([("unlearned forget acc", 0.51)], "Not forgotten"),
    ],
)
def test_added_flows_hide(changes: list[tuple[str, float | None]], headline: str):
    """Whatever was tried, as behind the module of `scatter`."""
    facts = {"module": "flows", "module_statement": "hides rather than erases: turn the flows to t = 0"}
    low = tried(radius_sweep={"tar@radius=0.5,far=1e-2": (0.0, 0.9)})
    for attacks in ({}, low):
        found = rebuilt_verdict(audit(*changes) | facts | attacks)
        assert found.headline == headline
        assert found.remains.startswith("Hides rather than erases: turn the flows to t = 0.")
        assert ("The strongest attempt, radius_sweep" in found.remains) == bool(attacks)
    assert "Hid" not in rebuilt_verdict(audit(*changes) | low).headline
