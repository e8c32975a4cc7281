"""The verdict on a diffusion model follows from the rules that the report states, and from nothing else."""

import copy
from typing import Any

import pytest

from efface.report.drawn_verdict import FORGOTTEN_ACC, FORGOTTEN_TAR, KEPT_NET, LOST_ACC, drawn_verdict

FACE = {"undetected": 0.0, "quality": 0.6, "sharpness": 50.0}
DRAWN = {"acc": 1.0, "tar@far=1e-2": 1.0, "ism_net": 0.7} | FACE
GONE = {"acc": 0.0, "tar@far=1e-2": 0.0, "ism_net": 0.0} | FACE
GROUPS = ("retain", "holdout", "neighbours")


def model(forgotten: dict[str, float]) -> dict[str, Any]:
    groups = {"forget": forgotten, "forget_others": forgotten, **dict.fromkeys(GROUPS, DRAWN)}
    return {group: {key: {"value": v} for key, v in numbers.items()} for group, numbers in groups.items()}


def audit(*changes: tuple[str, float | None]) -> dict[str, Any]:
    """A person who is forgotten by both recognisers and nobody harmed, but for the changes: `unlearned forget acc`, or
    `judge unlearned forget acc` by the judge, -> its value."""
    block = {"models": {"original": model(DRAWN), "unlearned": model(GONE)}}
    found: dict[str, Any] = {**copy.deepcopy(block), "judges": {"judge": copy.deepcopy(block)}}
    for path, number in changes:
        home = found["judges"]["judge"] if path.startswith("judge ") else found
        name, group, key = path.removeprefix("judge ").split(" ")
        home["models"][name][group][key]["value"] = number
    return found


LITTLE = 0.01


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ([], "forgotten"),
        ([("unlearned forget acc", FORGOTTEN_ACC)], "forgotten"),
        ([("unlearned forget acc", FORGOTTEN_ACC + LITTLE)], "weakened"),
        ([("unlearned forget acc", 0.9)], "kept"),
        ([("unlearned forget tar@far=1e-2", FORGOTTEN_TAR + LITTLE)], "weakened"),
        ([("judge unlearned forget acc", FORGOTTEN_TAR)], "forgotten"),
        ([("judge unlearned forget acc", FORGOTTEN_TAR + LITTLE)], "weakened"),
        ([("judge unlearned forget tar@far=1e-2", FORGOTTEN_TAR + LITTLE)], "weakened"),
        *(([(f"unlearned {group} acc", 1 - LOST_ACC - LITTLE)], "harmful") for group in GROUPS),
        ([("unlearned retain ism_net", 0.7 * KEPT_NET - LITTLE)], "harmful"),
        ([("unlearned forget undetected", 0.2)], "harmful"),
        ([("unlearned forget_others acc", FORGOTTEN_TAR)], "forgotten"),
        ([("unlearned forget_others acc", FORGOTTEN_TAR + LITTLE)], "weakened"),
        ([("unlearned forget_others acc", None)], "forgotten"),
        ([("unlearned forget quality", 0.55)], "harmful"),
        ([("unlearned forget quality", 0.9)], "forgotten"),
        ([("unlearned forget sharpness", 20.0)], "harmful"),
        ([("unlearned forget sharpness", 110.0)], "harmful"),
        ([("unlearned forget sharpness", None)], "unknown"),
        ([("unlearned forget tar@far=1e-2", None)], "unknown"),
        ([("unlearned holdout acc", None)], "unknown"),
        ([("original forget acc", 0.4)], "unknown"),
    ],
)
def test_the_verdict_follows_from_its_rules(changes: list[tuple[str, float | None]], kind: str):
    assert drawn_verdict(audit(*changes)).kind == kind


def test_harm_is_told_beside_what_is_not_forgotten():
    found = drawn_verdict(audit(("unlearned forget acc", 0.9), ("unlearned retain acc", 0.5)))
    assert found.headline == "Not forgotten, and the harm is too high"
    assert [rule.met for rule in found.forgetting].count(False) == 1


def test_one_model_alone_has_no_verdict():
    found = audit()
    del found["models"]["unlearned"]
    assert drawn_verdict(found).kind == "unknown"


@pytest.mark.parametrize(("share", "hides"), [(0.0, False), (FORGOTTEN_TAR, False), (0.5, True)])
def test_the_strongest_attempt_is_named(share: float, hides: bool):
    number = "tar@anchor=known,far=1e-2"
    attacks = {
        "guidance_inversion": {
            "forget": {number: {"unlearned": {"value": share}}, "ism@x": {"unlearned": {"value": 1}}}
        },
        "halo": {"forget": {"tar@cosine=1,far=1e-2": {"unlearned": {"value": None}}}},
        "img2img": {"forget": {"tar@strength=0.3,far=1e-2": {"unlearned": {"value": 1.0}}}},  # it shows its photo
    }
    said = drawn_verdict(audit() | {"attacks": attacks}).remains
    assert said.startswith("Hides: ") == hides and f"guidance_inversion ({number})" in said
    assert drawn_verdict(audit()).remains == ""
