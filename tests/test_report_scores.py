"""The numbers behind the pictures, against slow formulas; the verdict's rules; the table on the terminal."""

import copy
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sklearn.metrics import det_curve

from efface.report.scores import scores, trade_off
from efface.report.searches import searches
from efface.report.terminal import print_audit
from efface.report.verdict import verdict
from report_evidence import ENDINGS, PEOPLE, measured


def test_scores_are_those_of_the_pairs_that_they_name():
    _, evidence = measured("kept")
    split, vectors = evidence.split, evidence.embeddings["original"].double().numpy()
    found = scores(evidence.crops, split, evidence.embeddings["original"])

    def genuine(people):
        return [vectors[i] @ vectors[j] for p in people for i in split.unseen[p] for j in split.unseen[p] if i < j]

    others = (*split.retain, *split.holdout)
    held = [(p, i) for p in split.holdout for i in split.photos[p]]
    strangers = [vectors[i] @ vectors[j] for p, i in held for q, j in held if p < q]
    for wanted, got in (
        (genuine(split.forget), found.forgotten),
        (genuine(others), found.others),
        (strangers, found.impostors),
    ):
        assert len(wanted) == len(got) > 0
        np.testing.assert_allclose(np.sort(wanted), np.sort(got), atol=1e-6)


def test_the_trade_off_is_the_det_curve():
    rng = np.random.default_rng(0)
    genuine, impostors = rng.normal(0.5, 0.2, 300), rng.normal(0, 0.15, 5000)
    rates, missed = trade_off(genuine, impostors)
    labels = np.r_[np.ones(300), np.zeros(5000)]
    false_accepts, misses, _ = det_curve(labels, np.r_[genuine, impostors])
    assert rates[0] == 1 / 5000 and rates[-1] == 0.5
    for rate, miss in zip(rates, missed, strict=True):
        # sklearn accepts at the threshold, the protocol strictly above it: at most one stranger's score apart
        around = misses[np.abs(false_accepts - rate) <= 2 / 5000]
        assert around.min() - 1e-9 <= miss <= around.max() + 1e-9


def test_without_pairs_there_is_no_trade_off():
    assert all(len(part) == 0 for part in trade_off(np.empty(0), np.ones(3)))
    assert all(len(part) == 0 for part in trade_off(np.ones(3), np.empty(0)))


def test_searches_find_what_sorting_finds():
    audit, evidence = measured("weakened")
    split = evidence.split
    cut = audit.thresholds["original"]["far=1e-3"]["value"]
    found = searches(split, evidence.embeddings, cut)
    assert tuple(found) == split.forget
    people = (*split.forget, *split.retain, *split.holdout)
    for person, own in found.items():
        assert [search.probe for search in own] == list(split.unseen[person][1:])
        for search in own:
            for model, answer in search.answers.items():
                vectors = evidence.embeddings[model].double()
                cosine = {p: float(vectors[split.unseen[p][0]] @ vectors[search.probe]) for p in people}
                best = sorted(people, key=lambda p: -cosine[p])
                assert [hit.identity for hit in answer.hits] == best[:5]
                assert answer.rank == best.index(person) + 1
                assert answer.own.own and answer.own.accepted == (cosine[person] > cut)
                assert [hit.accepted for hit in answer.hits] == [cosine[p] > cut for p in best[:5]]


def test_a_tie_counts_against_the_person():
    _, evidence = measured("kept")
    split = evidence.split
    same = evidence.embeddings["original"].clone()
    person = split.forget[0]
    same[split.unseen["p5"][0]] = same[split.unseen[person][0]]  # p5's template is the person's
    found = searches(split, {"original": same}, None)[person]
    assert all(search.answers["original"].rank >= 2 for search in found)
    assert not any(hit.accepted for search in found for hit in search.answers["original"].hits)


# The verdict


def audit_of(ending: str) -> dict[str, Any]:
    return copy.deepcopy(dict(measured(ending)[1].audit))


def test_every_ending_has_its_verdict():
    assert [verdict(audit_of(ending)).kind for ending in ENDINGS] == list(ENDINGS)


@given(tar=st.floats(0, 1), multi=st.floats(0, 1), rank1=st.floats(0, 1), rank1_multi=st.floats(0, 1))
def test_forgotten_means_that_every_rule_is_met(tar: float, multi: float, rank1: float, rank1_multi: float):
    audit = audit_of("forgotten")
    pixels = audit["floor"]["raw_pixels"]["forget"]
    pixels["rank1"]["value"], pixels["rank1_multi"]["value"] = 0.4, 0.0
    forget = audit["models"]["unlearned"]["forget"]
    found = {"tar@far=1e-3": tar, "tar_multi@far=1e-3": multi, "rank1": rank1, "rank1_multi": rank1_multi}
    for metric, number in found.items():
        forget[metric]["value"] = number
    if tar <= 0.1 and multi <= 0.1 and rank1 <= 0.4 and rank1_multi <= 0.1:
        wanted = "forgotten"
    else:
        wanted = "weakened" if tar <= 0.5 and rank1 <= 0.6 else "kept"
    assert verdict(audit).kind == wanted


@pytest.mark.parametrize(
    "spoil",
    [
        lambda gate: gate["drops"]["retain"].update(rank1=1.01),
        lambda gate: gate["drops"]["retain"].update({"tar@far=1e-3": 30.0}),
        lambda gate: gate["drops"]["holdout"].update(rank1=1.5),
        lambda gate: gate["drops"]["holdout"].update({"tar@far=1e-3": 1.1}),
        lambda gate: gate.update(far_at_frozen_threshold=0.0031),
    ],
)
def test_any_harm_is_too_high_by_itself(spoil):
    for ending, headline in (("forgotten", "Forgotten, but"), ("kept", "Not forgotten, and"), ("weakened", "Harder")):
        audit = audit_of(ending)
        spoil(audit["equal_harm"])
        found = verdict(audit)
        assert found.headline.startswith(headline) and found.headline.endswith("the harm is too high")
        assert [rule.met for rule in found.harm].count(False) == 1


def test_what_was_not_measured_is_not_judged():
    audit = audit_of("forgotten")
    audit["equal_harm"]["far_at_frozen_threshold"] = None
    assert verdict(audit).kind == "unknown"
    audit = audit_of("forgotten")
    for model in audit["models"].values():
        model["forget"]["tar@far=1e-3"]["value"] = None
    audit["thresholds"]["original"]["far=1e-3"] = {"value": None, "n_trials": 300}
    assert "300 impostor pairs" in verdict(audit).headline and "10,000" in verdict(audit).headline
    audit = audit_of("forgotten")
    del audit["equal_harm"]
    assert verdict(audit).kind == "unknown"


def test_who_was_never_recognised_cannot_be_forgotten():
    audit = audit_of("forgotten")
    audit["models"]["original"]["forget"]["tar@far=1e-3"]["value"] = 0.3
    assert "hardly recognised" in verdict(audit).headline


# The terminal


def printed(audit: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    print_audit(audit, console)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_and_says_before_and_after(width: int):
    audit = audit_of("weakened")
    text = printed(audit, width)
    assert max(map(len, text.splitlines())) <= width
    assert "Harder to recognise, but not forgotten" in text and PEOPLE[3] in text  # [red] is a name, not a colour
    before, after = (audit["models"][m]["forget"]["tar@far=1e-3"]["value"] for m in ("original", "unlearned"))
    assert f"{before:.2f} → {after:.2f}" in next(line for line in text.splitlines() if "unseen" in line)
    for words in ("Retained", "Held out", "Look-alikes", "raw pixels", "strangers", "worst-off", "10.2 s"):
        assert words in text


def test_an_evaluation_alone_shows_one_model():
    audit = audit_of("kept")
    audit["models"] = {"original": audit["models"]["original"]}
    for key in ("cost", "equal_harm"):
        del audit[key]
    audit["worst"].pop("unlearned")
    text = printed(audit, 100)
    assert "→" not in text and "only the original model" in text
