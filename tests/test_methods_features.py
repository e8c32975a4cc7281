"""Losses, attacks and additions of opc, jit, l2ul, spotter and gs_lora against slow formulas on the tiny model."""

import math

import pytest
import torch
import torch.nn.functional as F

from efface.errors import EffaceError
from efface.methods.adversaries import of_length, of_sign, towards, within_length, within_range
from efface.methods.classes import class_head
from efface.methods.low_rank import LowRank
from efface.methods.recognition.gs_lora import GsLora, group_norm, linear_maps
from efface.methods.recognition.jit import Jit, roughness
from efface.methods.recognition.l2ul import L2ul, both_ways, freedom
from efface.methods.recognition.opc import Opc
from efface.methods.recognition.spotter import Spotter, masked_logits, pair_cosine
from efface.methods.seen import LastBlocks, Seen
from efface.models.heads import CosFace
from efface.testing.contract import Problem


@pytest.fixture(scope="module")
def problem():
    return Problem.make()


@pytest.fixture(scope="module")
def request_(problem):
    return problem.request()


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def moved(problem, result):
    """How far the weights went, by name."""
    old, new = problem.target.network.state_dict(), result.network.state_dict()
    assert {n: t.shape for n, t in old.items()} == {n: t.shape for n, t in new.items()}
    return {n: float((new[n].double() - old[n].double()).norm()) for n in old if not torch.equal(old[n], new[n])}


@pytest.mark.parametrize("blocks", [0, 1])
def test_opc_takes_one_step_down_its_formula(problem, request_, generator, blocks):
    seen = Seen.of(LastBlocks(problem.target, blocks), request_)
    result = Opc(learning_rate=1e-3, steps=1, blocks=blocks).unlearn(problem.target, request_, generator)
    slow = problem.target.clone()
    weight = slow.network.linear.weight.requires_grad_(True)
    with torch.no_grad():
        original = problem.target.network(problem.target.inputs(request_.forget.pixels)).square().sum(1).sqrt().mean()
    lengths = slow.network(slow.inputs(request_.forget.pixels)).square().sum(1).sqrt()
    (lengths.mean() / original).backward()  # the drift of the retained has no slope at the start
    assert len(seen.forget) <= 64  # one batch holds them all
    change = result.network.linear.weight - problem.target.network.linear.weight
    assert torch.allclose(change, -1e-3 * weight.grad, rtol=1e-2, atol=1e-7)


def test_opc_shortens_the_outputs_of_the_forgotten(problem, request_, generator):
    result = Opc().unlearn(problem.target, request_, generator)
    before, after = (
        {
            side: t.network(t.inputs(getattr(request_, side).pixels)).norm(dim=1).mean().item()
            for side in ("forget", "retain")
        }
        for t in (problem.target, result)
    )
    assert after["forget"] < 0.5 * before["forget"] and after["retain"] > 0.8 * before["retain"]


def test_roughness_is_its_formula(generator):
    x, copies, lengths = unit(generator, 4, 6), unit(generator, 4, 3, 6), torch.rand(4, 3, generator=generator) + 0.1
    slow = [math.dist(x[i].tolist(), copies[i, j].tolist()) / float(lengths[i, j]) for i in range(4) for j in range(3)]
    assert float(roughness(x, copies, lengths)) == pytest.approx(sum(slow) / 12, abs=1e-5)


def test_noisy_copies_have_the_noise_that_is_stated(problem, request_, generator):
    part = LastBlocks(problem.target, 0)  # what enters it are the pixels themselves
    pixels = request_.forget.pixels[:3]
    noisy, lengths = Jit(noise=0.02, copies=5)._noisy(part, pixels, generator)
    change = (noisy - pixels[:, None].float()) / 255
    assert noisy.shape == (3, 5, 3, 112, 112) and noisy.min() >= 0 and noisy.max() <= 255
    assert torch.allclose(lengths, change.flatten(2).square().sum(-1).sqrt())
    inside = change[(pixels[:, None] > 40).expand_as(change) & (pixels[:, None] < 215).expand_as(change)]
    assert float(inside.std()) == pytest.approx(0.02, rel=0.02) and abs(float(inside.mean())) < 1e-3


def test_jit_brings_photos_to_their_noisy_copies(problem, request_, generator):
    method = Jit()
    noisy, lengths = method._noisy(LastBlocks(problem.target, 0), request_.forget.pixels, generator)
    before, after = (
        float(
            roughness(
                t.embed(request_.forget.pixels),
                t.embed(noisy.flatten(0, 1)).unflatten(0, noisy.shape[:2]),
                lengths,
            )
        )
        for t in (problem.target, method.unlearn(problem.target, request_, generator))
    )
    assert after < 0.9 * before


@pytest.mark.parametrize("kind", ["length", "range"])
def test_an_attack_stays_within_its_bound_and_leads_to_its_goal(problem, request_, generator, kind):
    head = class_head(Seen.of(LastBlocks(problem.target, 1), request_))
    pixels = request_.forget.pixels[:6]
    goals = request_.forget.labels()[:6] + 1
    shape = pixels.shape
    if kind == "length":
        bound, step, start = within_length(3.0), of_length(1.0), 3 * unit(generator, 6, shape[1:].numel()).view(shape)
    else:
        bound, step, start = within_range(0.03), of_sign(0.01), 0.03 * torch.ones(shape)
    found = towards(problem.target, head, pixels, goals, start, step=step, bound=bound, steps=6)
    change = (found - pixels) / 255
    size = change.flatten(1).norm(dim=1).max() if kind == "length" else change.abs().max()
    assert found.min() >= 0 and found.max() <= 255
    assert 0.01 < float(size) <= (3.0 if kind == "length" else 0.03) * (1 + 1e-4)
    with torch.no_grad():
        before, after = (F.cross_entropy(head(problem.target.forward(x)), goals) for x in (pixels, found))
    assert after < before - 1


def test_an_attack_takes_the_steps_of_its_formula(problem, request_):
    head = class_head(Seen.of(LastBlocks(problem.target, 1), request_))
    pixels, goals = request_.forget.pixels[:2], torch.tensor([4, 9])
    x = pixels.double().float() / 255
    for _ in range(2):
        x = x.detach().requires_grad_(True)
        F.cross_entropy(head(problem.target.forward(x * 255)), goals, reduction="sum").backward()
        stepped = x.detach() - 0.01 * x.grad.sign()
        x = torch.minimum(torch.maximum(stepped, pixels / 255 - 0.015), pixels / 255 + 0.015).clamp(0, 1)
    start = torch.zeros(pixels.shape)
    found = towards(problem.target, head, pixels, goals, start, step=of_sign(0.01), bound=within_range(0.015), steps=2)
    assert float((found / 255 - x).abs().gt(1e-4).float().mean()) < 1e-3  # a slope of 0 ± rounding has either sign


def test_both_ways_is_its_formula(generator):
    head = CosFace(5, 8, scale=32.0).draw(generator).requires_grad_(False)
    own = F.normalize(head.weight, dim=-1)
    photos = torch.stack([own[0], own[1], F.normalize(own[2] + own[3] * 2, dim=0), own[4]])
    classes = torch.tensor([0, 1, 2, 3 + 5])  # recognised, recognised, taken for 3, attacked towards 3
    slow = 0.0
    for photo, label, sign in zip(photos, (0, 1, 2, 3), (-1, -1, 0, 1), strict=True):
        logits = [32 * (float(photo @ row) - (0.35 if c == label else 0)) for c, row in enumerate(own)]
        slow += sign * (math.log(sum(math.exp(v) for v in logits)) - logits[label])
    assert float(both_ways(head, photos, classes)) == pytest.approx(slow / 4, abs=1e-4)


def test_freedom_is_one_minus_the_scaled_importance():
    assert torch.allclose(freedom(torch.tensor([1.0, 2.0, 5.0])), torch.tensor([1.0, 0.75, 0.0]))
    assert torch.equal(freedom(torch.full((3,), 2.0)), torch.ones(3))


def test_l2ul_holds_the_weights_by_its_penalty(problem, request_):
    free, held = (
        sum(
            moved(
                problem,
                L2ul(importance_weight=w, steps=20).unlearn(problem.target, request_, torch.Generator().manual_seed(0)),
            ).values()
        )
        for w in (0.0, 30.0)
    )
    assert held < 0.7 * free


def test_the_teacher_knows_no_forgotten_class(generator):
    head = CosFace(6, 8, scale=32.0).draw(generator).requires_grad_(False)
    before = unit(generator, 4, 8)
    shares = torch.softmax(masked_logits(head, before, 2), dim=1)
    plain = torch.softmax(head(before), dim=1)
    plain[:, :2] = 0
    assert torch.allclose(shares, plain / plain.sum(1, keepdim=True), atol=1e-6)


def test_pair_cosine_is_the_mean_over_pairs_of_one_person(generator):
    x, labels = unit(generator, 6, 5), torch.tensor([0, 0, 0, 3, 3, 7])
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    slow = sum(float(x[i] @ x[j]) for i, j in pairs) / len(pairs)
    assert float(pair_cosine(x, labels)) == pytest.approx(slow, abs=1e-6)
    assert float(pair_cosine(x[4:], labels[4:])) == 0


def test_spotter_refuses_a_share_above_one():
    with pytest.raises(EffaceError, match=r"balance: found 1\.5, expected 0 to 1"):
        Spotter(balance=1.5)


@pytest.mark.parametrize("shape", [(5, 7), (6, 4, 3, 3), (2, 9)])
def test_an_addition_is_nothing_at_first_and_of_low_rank_then(generator, shape):
    weight = torch.randn(shape, generator=generator)
    addition = LowRank(weight, 3, generator)
    rank = min(3, shape[0])
    assert torch.equal(addition(weight), weight)
    assert addition.down.detach().abs().max() <= weight[0].numel() ** -0.5
    torch.nn.init.normal_(addition.up, generator=generator)
    change = (addition(weight) - weight).flatten(1).detach()
    slow = sum(torch.outer(addition.up[:, r], addition.down[r]) for r in range(rank)) / rank
    assert torch.allclose(change, slow, atol=1e-5) and int(torch.linalg.matrix_rank(change, atol=1e-4)) == rank
    values = [v for p in addition.parameters() for v in p.flatten().tolist()]
    assert group_norm([addition, addition]).item() == pytest.approx(math.sqrt(2 * sum(v * v for v in values)), rel=1e-5)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_gs_lora_changes_linear_maps_by_low_rank_and_nothing_else(problem, request_, generator, blocks):
    result = GsLora(rank=2, steps=2, blocks=blocks).unlearn(problem.target, request_, generator)
    last = problem.target.spec.blocks[-blocks:]
    maps = [m for names in last for m in linear_maps(problem.target.network, names)]
    names = {n for n, m in problem.target.network.named_modules() if any(m is one for one in maps)}
    assert set(moved(problem, result)) == {f"{n}.weight" for n in names}
    assert list(result.network.state_dict()) == list(problem.target.network.state_dict())
    for name in names:
        old, new = (t.network.get_parameter(f"{name}.weight") for t in (problem.target, result))
        assert int(torch.linalg.matrix_rank((new - old).flatten(1), rtol=1e-3)) <= 2
        assert type(result.network.get_submodule(name)) is type(problem.target.network.get_submodule(name))
    assert not any(p.requires_grad for p in result.network.parameters())


def test_gs_lora_gains_nothing_above_its_bound(problem, request_, generator):
    free = GsLora(bound=1e-6, retain_weight=0.0, alpha=0.0, steps=3).unlearn(problem.target, request_, generator)
    assert not moved(problem, free)  # no slope, and what decays is multiplied by B = 0
