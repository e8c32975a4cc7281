"""Dispersion's losses against slow formulas and against the trap of the mean; its floor and its retain term."""

import math

import pytest
import torch
import torch.nn.functional as F

from efface.errors import EffaceError
from efface.methods.recognition.dispersion import Dispersion, dispersion_terms, floor_term, impostor_mean
from efface.methods.seen import drift
from efface.methods.unlearner import Request
from efface.testing.contract import Problem


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def slow_terms(embeddings, labels, floor, temperature):
    """The formulas of the header, pair by pair."""
    per_person = []
    for person in sorted(set(labels.tolist())):
        own = [e.tolist() for e, p in zip(embeddings, labels.tolist(), strict=True) if p == person]
        cosine = {
            (i, j): sum(a * b for a, b in zip(x, y, strict=True))
            for i, x in enumerate(own)
            for j, y in enumerate(own)
            if i != j
        }
        raised = {pair: max(c, floor) for pair, c in cosine.items()}
        nearest = [max(raised[i, j] for j in range(len(own)) if j != i) for i in range(len(own))]
        pairs = len(cosine)
        per_person.append(
            {
                "uniform": math.log(sum(math.exp(-temperature * (2 - 2 * c)) for c in raised.values()) / pairs),
                "hard": sum(nearest) / len(own),
                "mean": sum(raised.values()) / pairs,
            }
        )
    return {name: sum(p[name] for p in per_person) / len(per_person) for name in per_person[0]}


@pytest.mark.parametrize("loss", ["uniform", "hard", "both", "mean"])
@pytest.mark.parametrize("floor", [-1.0, 0.0, 0.1])
def test_losses_are_their_formulas(loss, floor, generator):
    embeddings, labels = unit(generator, 9, 6), torch.tensor([3, 3, 3, 3, 5, 5, 5, 8, 8])
    found = dispersion_terms(embeddings, labels, floor, loss, temperature=1.5)
    expected = slow_terms(embeddings.double(), labels, floor, 1.5)
    assert set(found) == ({"uniform", "hard"} if loss == "both" else {loss})
    for name, value in found.items():
        assert float(value) == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize(("loss", "still_found"), [("mean", True), ("uniform", False), ("hard", False)])
def test_the_mean_is_at_its_optimum_while_everyone_is_still_found(loss, still_found, generator):
    """40 free points in 4 tight groups: the mean cosine falls below 0 for every loss, yet with `mean` each point's
    nearest neighbour stays nearer than any of 20,000 strangers."""
    strangers = unit(generator, 20_000, 512)
    centres = unit(generator, 4, 512).repeat_interleave(10, dim=0)
    points = (centres + 0.85 * unit(generator, 40, 512)).requires_grad_(True)
    labels = torch.zeros(40, dtype=torch.long)
    optimiser = torch.optim.SGD([points], lr=4.0)
    for _ in range(300):
        optimiser.zero_grad()
        terms = dispersion_terms(F.normalize(points, dim=-1), labels, -1.0, loss)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
    with torch.no_grad():
        x = F.normalize(points, dim=-1)
        others = (x @ x.T).fill_diagonal_(-1)
        mean = float((others.sum() + 40) / (40 * 39))
        rank1 = float((others.max(dim=1).values > (x @ strangers.T).max(dim=1).values).float().mean())
    assert mean < 0.02
    assert rank1 == (1.0 if still_found else 0.0)


@pytest.mark.parametrize("loss", ["uniform", "hard", "both", "mean"])
def test_below_the_floor_the_only_pull_is_upwards(loss):
    one = torch.tensor([1.0, 0.0])
    other = F.normalize(torch.tensor([0.2, 1.0]), dim=0).requires_grad_(True)
    pair, labels = torch.stack([one, other]), torch.zeros(2, dtype=torch.long)
    torch.stack(list(dispersion_terms(pair, labels, 0.5, loss).values())).sum().backward()
    assert torch.equal(other.grad, torch.zeros(2))
    term = floor_term(torch.stack([one, other]), labels, 0.5)
    term.backward()
    assert other.grad[0] < 0  # descending raises the cosine, other[0]
    assert term.item() == pytest.approx(0.5 - other[0].item())


def test_the_floor_term_is_its_formula(generator):
    embeddings, labels = unit(generator, 9, 6), torch.tensor([3, 3, 3, 3, 5, 5, 5, 8, 9])
    pairs = [(i, j) for i in range(9) for j in range(9) if i != j and labels[i] == labels[j]]
    slow = sum(max(0.1 - float(embeddings[i] @ embeddings[j]), 0) for i, j in pairs) / len(pairs)
    assert floor_term(embeddings, labels, 0.1).item() == pytest.approx(slow, abs=1e-6)
    assert floor_term(embeddings[7:], labels[7:], 0.1).item() == 0  # two people of one photo each: no pair


def test_impostor_mean_is_the_mean_over_pairs(generator):
    embeddings, people = unit(generator, 12, 5), torch.tensor([0, 0, 0, 4, 4, 7, 7, 7, 7, 9, 0, 9])
    slow = [
        float(embeddings[i] @ embeddings[j]) for i in range(12) for j in range(12) if int(people[i]) != int(people[j])
    ]
    assert impostor_mean(embeddings, people) == pytest.approx(sum(slow) / len(slow), abs=1e-6)


def test_impostor_mean_needs_two_people(generator):
    with pytest.raises(EffaceError, match="found 1 people, expected at least 2"):
        impostor_mean(unit(generator, 3, 5), torch.zeros(3, dtype=torch.long))


def test_drift_is_zero_for_what_stayed_and_two_for_what_turned_round(generator):
    x = unit(generator, 4, 8)
    assert float(drift(x, x)) == pytest.approx(0, abs=1e-6)
    assert float(drift(x, -x)) == pytest.approx(2)
    assert float(drift(x[:0], x[:0])) == 0


@pytest.fixture(scope="module")
def problem():
    return Problem.make()


def pair_cosines(target, crops):
    """Cosines of all pairs of one person's crops."""
    x, labels = target.embed(crops.pixels), crops.labels()
    same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
    return (x @ x.T)[same]


def test_seen_photos_end_at_strangers_level_and_not_below(problem):
    request = problem.request()
    floor = impostor_mean(problem.target.embed(request.retain.pixels), request.retain.labels())
    before = pair_cosines(problem.target, request.forget).mean()
    after = pair_cosines(problem.unlearn(Dispersion()), request.forget).mean()
    assert floor - 0.05 < after < (before + floor) / 2


def test_the_retain_term_keeps_retained_and_unknown_people_where_they_were(problem):
    def moved(target, people):
        pixels = problem.crops.take([i for p in people for i in problem.split.unseen[p]]).pixels
        return float(drift(target.embed(pixels), problem.target.embed(pixels)))

    kept, free = (problem.unlearn(Dispersion(retain_weight=w)) for w in (50, 0))
    for people in (problem.split.retain, problem.split.holdout):
        assert moved(kept, people) < moved(free, people) / 2


def one_photo_each(crops):
    return crops.take([crops.identities.index(p) for p in crops.people()])


def test_one_seen_photo_is_enough_with_variations_and_an_error_without(problem, generator):
    request = problem.request()
    retained = one_photo_each(request.retain)
    person = request.retain.people()[0]
    two = [i for i, who in enumerate(request.retain.identities) if who == person][:2]
    others = [request.retain.identities.index(p) for p in request.retain.people()[1:]]
    single = Request(one_photo_each(request.forget), request.retain.take([*two, *others]))
    result = Dispersion(steps=2).unlearn(problem.target, single, generator)
    assert not torch.equal(result.embed(single.forget.pixels), problem.target.embed(single.forget.pixels))
    with pytest.raises(EffaceError, match="a person with one seen photo, expected two; or set variations above 0"):
        Dispersion(variations=0).unlearn(problem.target, single, generator)
    for variations in (0, 3):  # neither setting helps here, and neither is advised
        with pytest.raises(EffaceError, match=r"expected two of either; add photos$"):
            Dispersion(variations=variations).unlearn(problem.target, Request(single.forget, retained), generator)


def test_variations_need_a_retained_person_with_two_photos(problem, generator):
    request = problem.request()
    sparse = Request(request.forget, one_photo_each(request.retain))
    with pytest.raises(EffaceError, match=r"no person with two seen photos, expected one; or set variations to 0$"):
        Dispersion(steps=1).unlearn(problem.target, sparse, generator)
    with pytest.raises(EffaceError, match=r"set variations to 0 and photos above 1$"):
        Dispersion(steps=1, photos=1).unlearn(problem.target, sparse, generator)
    assert Dispersion(steps=1, variations=0).unlearn(problem.target, sparse, generator) is not problem.target


def test_a_batch_needs_two_of_each_person(problem, generator):
    with pytest.raises(EffaceError, match=r"photos 1, variations 0: .* at least 2; raise photos$"):
        Dispersion(photos=1, variations=0).unlearn(problem.target, problem.request(), generator)
    for photos, variations in ((2, 0), (1, 1)):
        method = Dispersion(steps=1, photos=photos, variations=variations)
        assert method.unlearn(problem.target, problem.request(), generator) is not problem.target
