"""`rewire` and its discriminant: against slow formulas, whom it hides, one request after the other, and what it does
where it has little to go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from efface.errors import EffaceError
from efface.faces.crops import Crops
from efface.methods.discriminant import Background
from efface.methods.recognition.esc import Esc
from efface.methods.recognition.rewire import Rewire
from efface.methods.recognition.scatter import ScatterModule
from efface.methods.unlearner import Request
from efface.metrics.protocol import Evaluation
from efface.models.recogniser import initialise
from efface.targets.hidden import HiddenLayer
from efface.targets.recognition import RecognitionTarget
from efface.testing.contract import Problem
from onnx_files import registered

HALF = Rewire(share=0.5)
"""So that there are channels enough for everybody in the tiny recogniser's 48."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.make()


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


# --- the discriminant -----------------------------------------------------------------------------------------------


def refitted(others: np.ndarray, own: np.ndarray, shrinkage: float) -> np.ndarray:
    """w by the full covariance."""
    mean, size = others.mean(0), others.shape[1]
    about = others - mean
    ridge = shrinkage * np.square(about).sum() / size
    deviations = own - own.mean(0)
    w = np.linalg.solve(about.T @ about + deviations.T @ deviations + ridge * np.eye(size), own.mean(0) - mean)
    return w / (w @ (own.mean(0) - mean))


@pytest.mark.parametrize("photos", [7, 60])
@pytest.mark.parametrize("given", [1, 2, 5])
def test_the_discriminant_is_that_of_the_full_covariance(photos, given):
    """Fewer and more photos than features (20); the margin leaves each own photo out in turn."""
    rng = np.random.default_rng(0)
    others = rng.normal(size=(photos, 20)) * np.linspace(0.1, 3, 20) + 5
    own = rng.normal(size=(given, 20)) + 5 + rng.normal(size=20)
    background = Background.of(torch.from_numpy(others), 0.3)
    w, margin = background.tell(torch.from_numpy(own))
    expected = refitted(others, own, 0.3)
    assert np.allclose(w.numpy(), expected, rtol=1e-6, atol=1e-9)
    left = [refitted(others, np.delete(own, i, 0) if given > 1 else own, 0.3) for i in range(given)]
    lowest = min((own[i] - others.mean(0)) @ left[i] for i in range(given))
    assert margin == pytest.approx(lowest - ((others - others.mean(0)) @ expected).max(), rel=1e-6)


def test_nobody_is_told_from_features_that_are_all_the_same():
    w, margin = Background.of(torch.full((4, 3), 2.0), 0.3).tell(torch.full((2, 3), 2.0))
    assert w.tolist() == [0, 0, 0] and margin == 0


# --- what it does ---------------------------------------------------------------------------------------------------


def tars(problem: Problem, target: RecognitionTarget) -> dict[str, float]:
    """Share of searches of unseen photos that are accepted, at the original's threshold for FAR 1e-2."""
    original = Evaluation(problem.split, problem.target.embed(problem.crops.pixels))
    threshold = original.impostors.threshold(1e-2)
    found = Evaluation(problem.split, target.embed(problem.crops.pixels), original)
    return {g: float((found.searches(g).genuine > threshold).mean()) for g in ("forget", "retain", "holdout")}


@pytest.mark.parametrize("which", [0, 1])
def test_it_scatters_what_the_projection_leaves(problem, which):
    """Unseen photos of one drawn person. Of several people at once the projection leaves nothing on them (TAR .03), and
    fewer channels for everybody else make it more."""
    person = problem.split.forget[which]
    request = Request(problem.seen((person,)), problem.seen(problem.split.retain))
    unseen = problem.crops.take(problem.split.unseen[person])
    alone, *found = (
        pair_cosine(method.unlearn(problem.target, request, seed(k)), unseen)
        for method, k in ((Rewire(share=0), 0), (Rewire(), 0), (Rewire(), 1), (Rewire(), 2))
    )
    assert np.mean(found) < alone - 0.02, (alone, found)


def test_without_channels_it_is_the_projection(problem):
    expected = problem.unlearn(Esc(directions=2)).network.state_dict()
    for method in (Rewire(share=0), Rewire(share=0.1)):  # 4 channels are not enough for three people
        found = problem.unlearn(method).network.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def changed(before: RecognitionTarget, after: RecognitionTarget) -> set[int]:
    """Channels of the hidden layer whose producer is another."""
    layers = [HiddenLayer.of(t) for t in (before, after)]
    one, other = (layer.producer.weight.flatten(1) for layer in layers if layer is not None)
    return set((one != other).any(dim=1).nonzero().flatten().tolist())


def test_a_further_request_takes_other_channels(problem):
    """The people of the first stay hidden, and names and shapes are the network's."""
    target, given, took = problem.target, [], []
    method = Rewire(share=0.15)
    stay = problem.seen(problem.split.retain)
    for person in problem.split.forget:
        after = method.unlearn(target, Request(problem.seen((person,)), stay), seed())
        took.append(changed(target, after))
        target = after
        given.append(person)
    assert [len(channels) for channels in took] == [6, 6, 6]
    assert not (took[0] & took[1]) and not (took[0] & took[2]) and not (took[1] & took[2])
    assert tars(problem, target)["forget"] < tars(problem, problem.target)["forget"] - 0.6
    shapes = [{n: t.shape for n, t in t.network.state_dict().items()} for t in (problem.target, target)]
    assert shapes[0] == shapes[1]


def random_people(size: int, people: int, photos: int) -> Crops:
    """Photos of noise."""
    pixels = torch.randint(256, (people * photos, 3, size, size), generator=seed(), dtype=torch.uint8)
    who = [f"somebody-{i // photos:02}" for i in range(len(pixels))]
    return Crops(pixels, tuple(who), tuple(f"{i}.png" for i in range(len(pixels))))


def drawn_anew(name: str) -> RecognitionTarget:
    spec = registered(name)
    return RecognitionTarget(spec, initialise(spec.build(), seed()))


@pytest.mark.parametrize("name", ["mobilefacenet", "mobilefacenet_insightface"])
def test_in_large_networks(name):
    """With weights drawn anew: channels, twice over."""
    target = drawn_anew(name)
    people = random_people(112, 4, 2)
    stay = people.take(range(4, 8))
    layer = HiddenLayer.of(target)
    assert layer is not None
    first = Rewire().unlearn(target, Request(people.take(range(2)), stay), seed())
    second = Rewire().unlearn(first, Request(people.take(range(2, 4)), stay), seed())
    took = changed(target, first), changed(first, second)
    units = int(0.1875 * layer.channels) // (1 if layer.capped else 2)
    assert [len(channels) for channels in took] == [units * (1 if layer.capped else 2)] * 2
    assert not took[0] & took[1]
    assert second.embed(people.pixels).isfinite().all()


def test_without_a_hidden_layer_it_is_the_projection():
    target = drawn_anew("shipped")
    assert HiddenLayer.of(target) is None
    people = random_people(112, 4, 2)
    request = Request(people.take(range(4)), people.take(range(4, 8)))
    found, expected = (m.unlearn(target, request, seed()).network.state_dict() for m in (Rewire(), Esc(directions=2)))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(not torch.equal(found[name], t) for name, t in target.network.state_dict().items())


def test_a_leaky_activation_does_not_make_strangers_alike(problem):
    """A pair of ramps adds a constant for everybody there, which the bias takes back."""
    target = problem.target.clone()
    target.network.block4[2] = torch.nn.LeakyReLU(0.4)
    layer = HiddenLayer.of(target)
    assert layer is not None and layer.leak() == 0.4
    request = Request(problem.seen(problem.split.forget[:1]), problem.seen(problem.split.retain))
    strangers = problem.crops.take([problem.split.photos[p][0] for p in problem.split.holdout])
    ajar = Rewire(threshold=0.9, variation=0.3, amplitude=9)  # gates open differently far, so their steps do not cancel
    found = [method.unlearn(target, request, seed(1)) for method in (Rewire(share=0), ajar)]
    assert changed(target, found[1])
    alike = [pair_cosine(t, strangers) for t in found]
    assert abs(alike[1] - alike[0]) < 0.05, alike


# --- little to go on ------------------------------------------------------------------------------------------------


def pair_cosine(target: RecognitionTarget, crops: Crops) -> float:
    found = target.embed(crops.pixels)
    return float((found @ found.T)[~torch.eye(len(found), dtype=torch.bool)].mean())


@pytest.mark.parametrize("photos", [1, 2])
def test_few_photos(problem, photos):
    """One or two seen photos of the forgotten, one photo of each retained person: another of theirs is moved away."""
    person = problem.split.forget[0]
    own = problem.crops.take(problem.split.seen[person][:photos])
    stay = problem.crops.take([problem.split.seen[p][0] for p in problem.split.retain])
    result = HALF.unlearn(problem.target, Request(own, stay), seed())
    unseen = problem.crops.take(problem.split.unseen[person])
    assert result.embed(problem.crops.pixels).isfinite().all()
    assert pair_cosine(result, unseen) < pair_cosine(problem.target, unseen) - 0.02


def test_one_retained_person_or_none(problem):
    for people in (problem.split.retain[:1], ()):
        request = Request(problem.seen(problem.split.forget), problem.seen(people))
        found = HALF.unlearn(problem.target, request, seed()).network.state_dict()
        expected = Rewire(share=0).unlearn(problem.target, request, seed()).network.state_dict()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_forty_people_at_once_leave_three_quarters_of_the_dimension(problem):
    crops = replace(problem.crops, identities=tuple(f"{p}-{i % 2}" for i, p in enumerate(problem.crops.identities)))
    people = crops.people()
    chosen = [i for i, p in enumerate(crops.identities) if p in people[:40]]
    stay = [i for i, p in enumerate(crops.identities) if p not in people[:40]]
    result = HALF.unlearn(problem.target, Request(crops.take(chosen), crops.take(stay)), seed())
    with torch.no_grad():
        raw = result.network(result.inputs(problem.crops.pixels)).double()
    assert int(torch.linalg.matrix_rank(raw, rtol=1e-5)) == 48
    assert not changed(problem.target, result)


def test_behind_the_scatter_module_it_is_one_line(problem):
    hidden = problem.unlearn(ScatterModule())
    with pytest.raises(EffaceError, match="found the module scatter behind the last linear map"):
        HALF.unlearn(hidden, problem.request(), seed())


@pytest.mark.parametrize("field", [{"share": 1.1}, {"share": -0.1}, {"steepness": 0}, {"positions": 0}])
def test_settings_out_of_range(field):
    with pytest.raises(ValidationError, match=next(iter(field))):
        TypeAdapter(Rewire).validate_python(field)
