"""What must hold of any embeddings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.errors import EffaceError
from efface.faces.splits import Split
from efface.metrics.metric import audited_metrics
from efface.metrics.protocol import GROUPS, Evaluation
from efface.metrics.recognition.eer import equal_error_rate
from efface.metrics.scores import ScoreDistribution
from synthetic_faces import jittered, make_embeddings, make_split, unit

METRICS = audited_metrics()
few = settings(max_examples=15, deadline=None)
scores = st.lists(st.integers(-40, 40), min_size=1, max_size=400).map(lambda s: np.array(s, np.float32) / 64)
rates = st.sampled_from([1e-3, 1e-2, 0.05, 0.07, 0.1, 0.29, 0.3, 0.5, 0.9])


@given(scores, rates)
def test_threshold_accepts_no_more_than_its_share(found, rate):
    """Score number ⌊rate · N⌋, strictly above, null under 10 expected events; the rate is meant in decimal digits."""
    hundred_thousandths = round(rate * 100_000)
    threshold = ScoreDistribution.of([found]).threshold(rate)
    if hundred_thousandths * len(found) < 10 * 100_000:
        assert threshold is None
    else:
        allowed = hundred_thousandths * len(found) // 100_000
        assert threshold == np.sort(found)[::-1][allowed]
        assert (found > threshold).sum() <= allowed
        assert (found >= threshold).sum() > allowed


@given(st.integers(200, 3000), rates, st.integers(0, 2**32 - 1))
def test_without_ties_exactly_the_share_is_accepted(count, rate, seed):
    found = np.random.default_rng(seed).permutation(np.arange(-4096, 4096))[:count].astype(np.float32) / 4096
    threshold = ScoreDistribution.of([found]).threshold(rate)
    if threshold is not None:
        assert (found > threshold).sum() == round(rate * 100_000) * count // 100_000


@given(scores, scores)
def test_distribution_counts_what_numpy_counts(found, asked):
    distribution = ScoreDistribution.of([found[:3], found[3:]])
    assert distribution.total == len(found)
    assert distribution.below(asked).tolist() == [(found < a).sum() for a in asked]
    assert distribution.up_to(asked).tolist() == [(found <= a).sum() for a in asked]


@pytest.mark.parametrize("rate", [0.0, 1.0, -1e-3])
def test_a_rate_is_between_0_and_1(rate):
    with pytest.raises(EffaceError, match="expected a number between 0 and 1"):
        ScoreDistribution.of([np.zeros(100, np.float32)]).threshold(rate)


@given(scores, scores)
def test_eer_is_symmetric_and_in_range(genuine, impostors):
    rate = equal_error_rate(genuine, ScoreDistribution.of([impostors]))
    assert 0 <= rate <= 1
    # turning the scores round turns hits into errors
    assert equal_error_rate(-genuine, ScoreDistribution.of([-impostors])) == pytest.approx(1 - rate, abs=1e-9)
    assert equal_error_rate(impostors, ScoreDistribution.of([impostors])) == pytest.approx(0.5, abs=1e-9)


def measured(split, new, old):
    evaluation = Evaluation(split, new, Evaluation(split, old))
    return {
        (key, group, person): None if math.isnan(value) else value
        for key, metric in METRICS.items()
        for group in metric.groups
        for found in [metric.measure(evaluation, group)]
        for person, value in zip(found.people, found.values.tolist(), strict=True)
    }


def small(seed, noise):
    rng = np.random.default_rng(seed)
    split = make_split({"forget": [4, 6], "retain": [5, 2, 7], "holdout": [12, 9, 14, 1, 11]}, rng)
    old = make_embeddings(split, rng, size=8, noise=noise)
    return split, old, jittered(old, rng, 0.1), rng


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 1.0]))
def test_the_order_of_people_and_photos_in_storage_does_not_matter(seed, noise):
    split, old, new, rng = small(seed, noise)
    order = rng.permutation(len(old))  # row order[i] becomes row i
    place = np.argsort(order)
    moved = {
        name: {p: tuple(int(place[i]) for i in own) for p, own in getattr(split, name).items()}
        for name in ("seen", "unseen", "photos")
    }
    groups = [tuple(rng.permutation(getattr(split, g)).tolist()) for g in ("forget", "retain", "holdout")]
    shuffled = Split(*groups, moved["seen"], moved["unseen"], photos=moved["photos"])
    before, after = measured(split, new, old), measured(shuffled, new[order], old[order])
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert after[key] == (value if value is None else pytest.approx(value, abs=1e-6)), key


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 1.0]))
def test_numbers_are_in_range(seed, noise):
    split, old, new, _ = small(seed, noise)
    for (key, group, _), value in measured(split, new, old).items():
        low, high = {"share": (0, 1), "cosine": (-1, 1), "1 − cosine": (0, 2)}[METRICS[key].unit]
        assert value is None or low <= value <= high, (key, group)


@few
@given(st.integers(0, 2**32 - 1))
def test_perfect_embeddings(seed):
    """All photos of a person in one place, people apart: everybody is found and nobody else."""
    rng = np.random.default_rng(seed)
    split = make_split({"forget": [4, 6], "retain": [5, 4, 7], "holdout": [12, 9, 14, 10, 11]}, rng)
    rows = np.empty((sum(map(len, split.photos.values())), 16))
    directions, _ = np.linalg.qr(rng.standard_normal((16, 16)))
    for direction, own in zip(directions, split.photos.values(), strict=False):
        rows[list(own)] = direction
    perfect = {"share": 1.0, "cosine": 1.0}
    for (key, group, person), value in measured(split, unit(rows), unit(rows)).items():
        metric = METRICS[key]
        if value is None:  # too few impostors in this little crowd, never nothing to measure
            assert "1e-3" in key or "1e-4" in key or "fpir" in key or "frozen" in key or key == "seen_pairs_tar", key
        else:
            wanted = perfect[metric.unit] if metric.recognised == "higher" else 0.0
            assert value == pytest.approx(wanted, abs=1e-6), (key, group, person)


def test_a_collapsed_model_finds_nobody_and_is_caught():
    """Everybody in one place: ties count against, thresholds are passed only strictly."""
    rng = np.random.default_rng(0)
    split = make_split({"forget": [10] * 4, "retain": [10] * 20, "holdout": [10] * 16}, rng)
    old = make_embeddings(split, rng)
    found = measured(split, torch.nn.functional.normalize(torch.ones_like(old), dim=-1), old)
    for person in split.retain:
        assert found["rank1", "retain", person] == found["rank5", "retain", person] == 0
        assert found["rank1_multi", "retain", person] == 0
        assert found["map", "retain", person] == pytest.approx(1 / 40)
        assert found["tar@far=1e-3", "retain", person] == 1  # strangers are accepted too, see below
        assert found["tar_recalibrated@far=1e-3", "retain", person] == 0
        assert found["eer", "retain", person] == found["genuine_auc", "retain", person] == 0.5
    assert all(found["far_at_frozen_threshold", "impostors", p] == 1 for p in split.holdout)


def test_a_tie_with_a_stranger_counts_against():
    """One holdout photo is also the template of a retained person: their scores are equal, and it is not found."""
    rng = np.random.default_rng(1)
    split = make_split({"forget": [4], "retain": [4], "holdout": [4, 4]}, rng)
    rows = make_embeddings(split, rng, noise=0.01)
    before = Evaluation(split, rows).searches("holdout").rank
    assert (before == 1).all()
    for a, b in zip(split.unseen["retain0"], split.unseen["holdout0"], strict=True):
        rows[a] = rows[b]
    evaluation = Evaluation(split, rows)
    assert (METRICS["rank1"].measure(evaluation, "holdout").values == [0, 1]).all()
    assert METRICS["map"].measure(evaluation, "holdout").values.tolist() == [0.5, 1]


def test_distractors_join_the_gallery_of_every_rank():
    rng = np.random.default_rng(2)
    split = make_split({"forget": [6, 5], "retain": [4, 8], "holdout": [7, 4]}, rng)
    rows = make_embeddings(split, rng, size=6, noise=0.6)
    strangers = unit(rng.standard_normal((300, 6))).numpy()
    plain, crowded = Evaluation(split, rows), Evaluation(split, rows, distractors=strangers)
    for group in GROUPS:
        for kind in ("searches", "multi_searches"):
            alone, among = getattr(plain, kind)(group), getattr(crowded, kind)(group)
            assert (among.genuine == alone.genuine).all()
            assert (among.rank >= alone.rank).all() and (among.rank > alone.rank).any()
    first, second = split.unseen["forget0"][:2]  # the first row: the second photo against the first
    own = rows[second].double().numpy()
    louder = (strangers.astype(np.float64) @ own >= own @ rows[first].double().numpy()).sum()
    person_first = np.flatnonzero(crowded.searches("forget").person == 0)
    added = crowded.searches("forget").rank - plain.searches("forget").rank
    assert louder > 0 and louder in added[person_first]


def test_models_of_other_sizes_have_no_drift_and_no_cross_version_rank():
    split, old, _, rng = small(0, 0.3)
    found = measured(split, make_embeddings(split, rng, size=5), old)
    assert all(v is None for (key, *_), v in found.items() if key in ("template_drift", "cross_version_rank1"))
    assert any(v is not None for (key, *_), v in found.items() if key == "rank1")


@pytest.mark.parametrize("spoil", [math.nan, 0.0, math.inf])
def test_rows_that_are_no_embeddings(spoil):
    split, old, new, _ = small(0, 0.3)
    new[3] = spoil
    with pytest.raises(EffaceError, match=r"row 3 has length .*, expected 1"):
        Evaluation(split, new, Evaluation(split, old))


def test_rows_must_be_there():
    split, old, new, _ = small(0, 0.3)
    with pytest.raises(EffaceError, match="expected one for each of the 71 photos"):
        Evaluation(split, new[:-1], Evaluation(split, old))
    with pytest.raises(EffaceError, match="found shape"):
        Evaluation(split, new[0])
    with pytest.raises(EffaceError, match="embed them with the model under test"):
        Evaluation(split, new, distractors=np.eye(3))
    bare = Split(("a",), ("b",), (), {"a": ()}, {"a": (), "b": (0,)})
    with pytest.raises(EffaceError, match="a: found no unseen photo"):
        Evaluation(bare, new)
