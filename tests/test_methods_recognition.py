"""What gradient methods train and draw, the head of the class methods, and the closed-form methods, against slow
formulas on the tiny model."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from efface import registry
from efface.errors import EffaceError
from efface.methods.classes import class_head, wrong_labels
from efface.methods.recognition.boundary_shrink import nearest_wrong_class
from efface.methods.recognition.esc import Esc
from efface.methods.recognition.gradient_ascent import GradientAscent
from efface.methods.recognition.head_only import HeadOnly
from efface.methods.recognition.noise import Noise
from efface.methods.recognition.random_label import RandomLabel
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request
from efface.models.recogniser import InputConvention, Recogniser, initialise
from efface.targets.recognition import RecognitionTarget
from efface.testing.contract import Problem
from onnx_files import registered


@pytest.fixture(scope="module")
def problem():
    return Problem.make()


@pytest.fixture(scope="module")
def request_(problem):
    return problem.request()


def seen_of(problem, request, blocks=1):
    return Seen.of(LastBlocks(problem.target, blocks), request)


@pytest.mark.parametrize("name", registry.names("models.recognition"))
def test_last_blocks_are_the_network_and_hold_its_last_weights(problem, name):
    spec = registered(name)
    target = RecognitionTarget(spec, initialise(spec.build(), torch.Generator().manual_seed(0)))
    pixels = problem.crops.pixels[:6]
    for count in sorted({0, 1, 2, 3, len(spec.blocks) // 2, len(spec.blocks) - 1, len(spec.blocks)}):
        part = LastBlocks(target, count)
        features, embeddings = part.entering(pixels)
        with torch.no_grad():
            assert torch.allclose(part(features), embeddings, atol=1e-6), count
        assert torch.equal(embeddings, target.embed(pixels))
        assert {p.data_ptr() for p in part.trained()} == {p.data_ptr() for p in part.clone.last_blocks(count)}


class Between(nn.Module):
    """Computes something between its blocks: `fault` says what."""

    def __init__(self, fault):
        super().__init__()
        self.fault = fault
        self.one, self.two = nn.Conv2d(3, 4, 3, stride=8), nn.Linear(4, 5)

    def forward(self, x):
        x = self.one(x)
        return self.two(x.mean((2, 3)) if self.fault == "shape" else x[(..., *[0] * (x.dim() - 2))] * 2 + 1)


@dataclass(frozen=True, kw_only=True)
class BetweenRecogniser(Recogniser):
    fault: str
    convention: ClassVar = InputConvention()
    embedding_size: ClassVar = 5
    blocks: ClassVar = (("one",), ("two",))

    def build(self):
        return Between(self.fault)


@pytest.mark.parametrize("fault", ["value", "shape"])
def test_a_network_that_computes_between_its_blocks_is_refused(problem, fault, generator):
    spec = BetweenRecogniser(fault=fault)
    target = RecognitionTarget(spec, initialise(spec.build(), generator))
    pixels = problem.crops.pixels[:9]
    with pytest.raises(EffaceError, match=r"the last 1 of 2 blocks of test_methods_recognition .* blocks 0$"):
        LastBlocks(target, 1).entering(pixels)
    for count in (0, 2):
        assert torch.equal(LastBlocks(target, count).entering(pixels)[1], target.embed(pixels))


def test_a_parameter_that_the_network_holds_fixed_is_not_trained(problem, request_, generator):
    spec = registry.get("models.recognition", "iresnet")(depth=18)
    target = RecognitionTarget(spec, initialise(spec.build(), torch.Generator().manual_seed(0)))
    few = Request(request_.forget.take(range(4)), request_.retain.take(range(4)))
    result = RandomLabel(steps=1, blocks=1).unlearn(target, few, generator)
    old, new = target.network.state_dict(), result.network.state_dict()
    assert torch.equal(new["features.weight"], torch.ones(512))
    assert not torch.equal(new["features.bias"], old["features.bias"])


def test_more_blocks_than_there_are_is_an_error(problem):
    with pytest.raises(EffaceError, match=r"blocks: found 6, expected 0 \(all\) to 5"):
        LastBlocks(problem.target, 6)


@pytest.mark.parametrize("count", [1, 2])
def test_training_changes_the_last_blocks_weights_and_nothing_else(problem, request_, generator, count):
    result = RandomLabel(steps=2, blocks=count).unlearn(problem.target, request_, generator)
    old, new = problem.target.network.state_dict(), result.network.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    last = {name for group in problem.target.spec.blocks[-count:] for name in group}
    assert changed and all(name.split(".")[0] in last for name in changed)
    assert not any("running" in name or "tracked" in name for name in changed)  # BatchNorm statistics are frozen
    assert not any(p.requires_grad for p in result.network.parameters())


def test_a_batch_holds_the_photos_it_says(problem, request_, generator):
    seen = seen_of(problem, request_)
    features, labels, before, real = seen.draw(generator, people=2, photos=3, retained=7, variations=2)
    assert len(features) == len(labels) == len(before) == len(real) == 2 * 3 * 3 + 7
    assert labels.tolist()[18:] == [-1] * 7 and real.tolist() == [True] * 6 + [False] * 12 + [True] * 7
    assert len(labels[:6].unique()) == 2 and torch.equal(labels[:6].repeat(3), labels[:18])
    for feature, label in zip(features[:6], labels[:6], strict=True):
        assert any(torch.equal(feature, own) for own in seen.forget[seen.labels == label])
    for feature, embedding in zip(features[18:], before[18:], strict=True):
        (position,) = (seen.retain == feature).flatten(1).all(1).nonzero().flatten()
        assert torch.equal(seen.before[position], embedding)


def test_a_variation_adds_the_difference_of_two_photos_of_one_retained_person(problem, request_, generator):
    seen = seen_of(problem, request_)
    people = request_.retain.labels()
    features, *_ = seen.draw(generator, people=3, photos=5, retained=0, variations=1)
    half = len(features) // 2
    for added in features[half:] - features[:half]:
        distance = (seen.retain[:, None] - seen.retain[None] - added).flatten(2).abs().amax(2)
        one, other = divmod(int(distance.argmin()), len(people))
        assert distance.min() < 1e-4
        assert people[one] == people[other] and one != other


def test_photos_of_one_retained_person_need_not_be_neighbours(problem, request_):
    mixed = request_.retain.take(torch.randperm(len(request_.retain), generator=torch.Generator().manual_seed(3)))
    seen = seen_of(problem, Request(request_.forget, mixed))
    labels = seen.start.unique(return_inverse=True)[1]
    for label in labels.unique():
        own = seen.before[labels == label]
        names = [i for i, x in enumerate(problem.target.embed(mixed.pixels)) if (x == own).all(1).any()]
        assert len({mixed.identities[i] for i in names}) == 1 and len(names) == len(own)


def test_the_head_is_the_normalised_class_means_forgotten_people_first(problem, request_):
    head = class_head(seen_of(problem, request_))
    people = (*request_.forget.people(), *request_.retain.people())
    for row, person in zip(head.weight, people, strict=True):
        crops = request_.forget if person in request_.forget.people() else request_.retain
        own = problem.target.embed(crops.take([i for i, who in enumerate(crops.identities) if who == person]).pixels)
        assert torch.allclose(row, F.normalize(own.mean(0), dim=-1), atol=1e-5)
    assert head.scale == 32 and not head.weight.requires_grad


def test_class_methods_need_retained_people(problem, request_, generator):
    alone = Request(request_.forget, request_.retain.take([]))
    with pytest.raises(EffaceError, match="retain: found nobody"):
        RandomLabel().unlearn(problem.target, alone, generator)


def test_wrong_labels_are_every_class_but_the_own_equally_often(generator):
    true = torch.arange(4).repeat_interleave(3000)
    drawn = wrong_labels(true, 4, generator)
    counts = torch.stack([torch.bincount(drawn[true == c], minlength=4) for c in range(4)])
    assert torch.equal(counts.diagonal(), torch.zeros(4, dtype=torch.long))
    assert counts[~torch.eye(4, dtype=torch.bool)].min() > 850  # 1000 expected


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_the_nearest_wrong_class_is_the_best_other_class_after_one_step(problem, request_, epsilon):
    head, labels = class_head(seen_of(problem, request_)), request_.forget.labels()
    gradients = [p.grad for p in problem.target.network.parameters()]
    found = nearest_wrong_class(problem.target, head, request_.forget.pixels, labels, epsilon)
    for pixels, label, wrong in zip(request_.forget.pixels, labels, found, strict=True):
        x = pixels[None].float().requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(head(problem.target.forward(x)), label[None]), x)
        stepped = (x + epsilon * 255 * slope.sign()).clamp(0, 255).detach()
        logits = head(problem.target.forward(stepped))[0].tolist()
        assert int(wrong) == max((c for c in range(len(logits)) if c != int(label)), key=lambda c: logits[c])
    after = [p.grad for p in problem.target.network.parameters()]
    assert all(a is b for a, b in zip(gradients, after, strict=True))


def test_ascent_stops_at_its_bound(problem, request_, generator):
    result = GradientAscent(bound=0.0, retain_weight=0.0).unlearn(problem.target, request_, generator)
    for name, tensor in problem.target.network.state_dict().items():
        assert torch.equal(result.network.state_dict()[name], tensor)


@pytest.mark.parametrize("directions", [0, 1, 3])
def test_esc_is_the_projection_of_each_embedding(problem, request_, generator, directions):
    x, labels = problem.target.embed(request_.forget.pixels), request_.forget.labels()
    groups = [x] if directions == 0 else [x[labels == p] for p in labels.unique()]
    count = round(0.015 * 64) if directions == 0 else directions
    basis = torch.linalg.qr(torch.cat([torch.linalg.svd(g).Vh[:count] for g in groups]).double().T).Q
    pixels = problem.crops.pixels[::7]
    old = problem.target.embed(pixels).double()
    expected = F.normalize(old - old @ basis @ basis.T, dim=-1)
    found = Esc(directions=directions).unlearn(problem.target, request_, generator).embed(pixels)
    assert torch.allclose(found.double(), expected, atol=1e-4)


def test_esc_refuses_to_remove_the_whole_space(problem, request_, generator):
    everyone = Request(problem.crops.take(range(0, 200)), problem.crops.take(range(200, 300)))
    with pytest.raises(EffaceError, match="directions to remove of 64"):
        Esc(directions=5).unlearn(problem.target, everyone, generator)


@pytest.mark.parametrize("distance", [0.0, 0.03])
def test_noise_has_the_stated_relative_distance_on_every_weight(problem, request_, generator, distance):
    result = Noise(distance=distance).unlearn(problem.target, request_, generator)
    for old, new in zip(problem.target.network.parameters(), result.network.parameters(), strict=True):
        assert float(((new - old).norm() / old.norm()).detach()) == pytest.approx(distance, abs=1e-4)


def test_head_only_leaves_the_embeddings(problem, request_, generator):
    result = HeadOnly().unlearn(problem.target, request_, generator)
    pixels = problem.crops.pixels[:20]
    assert torch.equal(result.embed(pixels), problem.target.embed(pixels))
