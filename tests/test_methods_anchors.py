"""Anchors: who may be one, who is drawn, and that nobody's is."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.errors import EffaceError
from efface.methods.anchors import Anchors, synthetic
from efface.methods.conditions import Faces

CHOICES = ("band", "closest", "nearest", "farthest", "mean", "synthetic")


def faces(names, seed, dimensions=16, photos=2):
    embeddings = torch.randn(len(names) * photos, dimensions, generator=torch.Generator().manual_seed(seed))
    identities = tuple(name for name in names for _ in range(photos))
    return Faces(torch.empty(len(identities), 3, 0, 0, dtype=torch.uint8), F.normalize(embeddings, dim=1), identities)


def people(forgotten, retained, seed):
    return faces([f"f{i}" for i in range(forgotten)], seed), faces([f"r{i}" for i in range(retained)], seed + 1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(0, 10_000), st.sampled_from([c for c in CHOICES if c != "band"])
)
def test_an_anchor_is_retained_or_nobody_and_a_unit_vector(forgotten, retained, seed, choice):
    forget, retain = people(forgotten, retained, seed)
    chosen = Anchors(choice=choice).choose(forget, retain, torch.Generator().manual_seed(seed))
    centroids = dict(zip(retain.people(), retain.centroids(), strict=True))
    own = forget.centroids()
    assert torch.allclose(chosen.embeddings.norm(dim=1), torch.ones(forgotten), atol=1e-5)
    assert set(chosen.who) <= {*retain.people(), None}
    assert chosen.cosines == pytest.approx((chosen.embeddings * own).sum(1).tolist(), abs=1e-5)
    named = [name for name in chosen.who if name is not None]
    assert len(set(named)) == min(len(named), retained)  # different ones as far as there are
    for i, (anchor, name) in enumerate(zip(chosen.embeddings, chosen.who, strict=True)):
        if name:
            assert torch.equal(anchor, centroids[name])
        others = [float(anchor @ v) for n, v in centroids.items() if n != name]
        others += [float(anchor @ v) for j, v in enumerate(own) if j != i]
        assert chosen.nearest[i] == pytest.approx(max(others, default=-1.0), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.3, 0.3), st.floats(0.01, 0.2))
def test_the_band_holds_its_people_and_no_others(seed, tau, epsilon):
    forget, retain = people(1, 40, seed)
    cosines = (forget.centroids() @ retain.centroids().T)[0]
    inside = {n for n, c in zip(retain.people(), cosines.tolist(), strict=True) if abs(c - tau) < epsilon}
    rule = Anchors(tau=tau, epsilon=epsilon)
    if not inside:
        with pytest.raises(EffaceError, match="found none of 40 retained people"):
            rule.choose(forget, retain, torch.Generator())
        return
    drawn = {rule.choose(forget, retain, torch.Generator().manual_seed(s)).who[0] for s in range(60)}
    assert drawn <= inside and (len(inside) > 4 or drawn == inside)  # each of few is drawn at some time
    again = [rule.choose(forget, retain, torch.Generator().manual_seed(3)).who for _ in range(2)]
    assert again[0] == again[1]


def test_everyone_in_the_band_is_equally_likely():
    forget, retain = people(1, 40, 5)
    rule, generator = Anchors(tau=0.0, epsilon=0.1), torch.Generator().manual_seed(0)
    cosines = (forget.centroids() @ retain.centroids().T)[0]
    inside = int((cosines.abs() < 0.1).sum())
    drawn = [rule.choose(forget, retain, generator).who[0] for _ in range(200 * inside)]
    counts = [drawn.count(name) for name in set(drawn)]
    assert len(counts) == inside and all(140 < count < 260 for count in counts)  # 200 ± 4.2 deviations


def test_an_empty_band_names_the_nearest_candidates():
    forget, retain = people(1, 6, 0)
    cosines = (forget.centroids() @ retain.centroids().T)[0]
    nearest = retain.people()[int((cosines - 0.99).abs().argmin())]
    with pytest.raises(EffaceError, match=rf"anchor of f0: .*0\.989 to 0\.991, nearest are {nearest} \(0\.\d\d\d\), r"):
        Anchors(tau=0.99, epsilon=0.001).choose(forget, retain, torch.Generator())


def test_closest_nearest_and_farthest():
    forget, retain = people(1, 30, 2)
    cosines = (forget.centroids() @ retain.centroids().T)[0]
    expected = {"closest": (cosines - 0.2).abs().argmin(), "nearest": cosines.argmax(), "farthest": cosines.argmin()}
    for choice, row in expected.items():
        assert Anchors(choice=choice).choose(forget, retain, torch.Generator()).who == (f"r{int(row)}",)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60))
def test_percentiles_are_of_the_persons_own_cosines(seed, low):
    forget, retain = people(1, 50, seed)
    cosines = (forget.centroids() @ retain.centroids().T)[0]
    name = Anchors(percentiles=(low, low + 10)).choose(forget, retain, torch.Generator().manual_seed(seed)).who[0]
    rank = int((cosines < cosines[retain.people().index(name)]).sum())  # how many of 50 are less alike
    assert 49 * low / 100 <= rank <= 49 * (low + 10) / 100


def test_people_with_fewer_candidates_choose_first():
    flat = torch.tensor
    forget = Faces(torch.empty(2, 3, 0, 0), flat([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), ("f0", "f1"))
    one, both = F.normalize(flat([[0.2, 0.9, 0.1], [0.2, 0.2, 0.9]]), dim=1)
    retain = Faces(torch.empty(2, 3, 0, 0), torch.stack([one, both]), ("only f0's", "either's"))
    for seed in range(10):
        chosen = Anchors(epsilon=0.05).choose(forget, retain, torch.Generator().manual_seed(seed))
        assert chosen.who == ("only f0's", "either's")


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(-0.2, 0.4))
def test_a_synthetic_anchor_is_nobody(seed, forgotten, tau):
    forget = faces([f"f{i}" for i in range(forgotten)], seed, 64)
    retain = faces([f"r{i}" for i in range(50)], seed + 1, 64)
    chosen = Anchors(choice="synthetic", tau=tau).choose(forget, retain, torch.Generator().manual_seed(seed))
    assert chosen.who == (None,) * forgotten
    assert chosen.cosines == pytest.approx([tau] * forgotten, abs=1e-5)
    strangers = F.normalize(torch.randn(200, 64, generator=torch.Generator().manual_seed(seed)), dim=1)
    typical = (strangers @ retain.centroids().T).amax(1).median()
    assert max(chosen.nearest) < typical / 2  # farther from everybody than strangers are
    if forgotten > 1:
        assert float(chosen.embeddings[0] @ chosen.embeddings[1]) < 0.9


def test_descent_to_a_synthetic_anchor_beats_many_random_ones(generator):
    own, *others = F.normalize(torch.randn(31, 24, generator=generator), dim=1)
    found = synthetic(own, torch.stack(others), 0.2, generator)
    guesses = torch.randn(5000, 24, generator=generator)
    guesses = 0.2 * own + 0.96**0.5 * F.normalize(guesses - (guesses @ own)[:, None] * own, dim=1)
    reached = float((found @ torch.stack(others).T).max())
    assert reached < float((guesses @ torch.stack(others).T).amax(1).min())


def test_the_mean_face(generator):
    forget, retain = people(2, 9, 1)
    chosen = Anchors(choice="mean").choose(forget, retain, generator)
    mean = F.normalize(retain.centroids().mean(0), dim=0)
    assert torch.allclose(chosen.embeddings, mean.expand(2, -1), atol=1e-6)


@pytest.mark.parametrize(
    ("given_", "line"),
    [
        ({"tau": 1.5}, r"tau: found 1\.5, expected"),
        ({"epsilon": 0.0}, "epsilon: found 0, expected"),
        ({"percentiles": (20.0, 10.0)}, "percentiles: found 20, 10, expected"),
        ({"percentiles": (-1.0, 10.0)}, "percentiles: found -1, 10, expected"),
    ],
)
def test_what_is_no_rule_is_refused(given_, line):
    with pytest.raises(EffaceError, match=line):
        Anchors(**given_)


def test_nobody_retained_is_refused(generator):
    forget, retain = people(1, 1, 0)
    with pytest.raises(EffaceError, match="retain: found nobody"):
        Anchors().choose(forget, retain.take([]), generator)
