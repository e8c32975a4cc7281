"""Losses, targets and edits of the methods that PIU is compared with, against slow formulas on the tiny model."""

import math

import pytest
import torch
import torch.nn.functional as F
from diffusers.training_utils import EMAModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffusion_models import tiny_request, tiny_target
from efface.errors import EffaceError
from efface.methods import importance
from efface.methods.conditions import DrawRequest
from efface.methods.diffusion.concept_ablation import anchor_latents
from efface.methods.diffusion.erasediff import Erasediff, ahead
from efface.methods.diffusion.esd import away_from_person
from efface.methods.diffusion.rece import Rece, still_gives
from efface.methods.diffusion.salun import GUIDANCE, Salun, saliency
from efface.methods.diffusion.siss import Siss, both_ways, follow
from efface.methods.diffusion.uce import Uce, edit, face_maps, mean_tokens, preserved_people
from efface.methods.diffusion.wid import anchor_terms, identity
from efface.methods.gradients import with_gradient
from efface.methods.importance import largest, only
from efface.methods.noising import (
    Latents,
    Noised,
    as_anchor,
    denoising,
    finished,
    forgotten_latents,
    student_of,
    train_on_noised,
)
from efface.methods.scopes import scope_names
from efface.models.diffusion.ip_adapter import Decoupled


@pytest.fixture(scope="module")
def target():
    return tiny_target()


@pytest.fixture(scope="module")
def request_():
    return tiny_request(2)


@pytest.fixture
def rows(target, request_):
    return forgotten_latents(target, request_).draw(5, torch.Generator().manual_seed(3))


@pytest.fixture
def kept(target, request_):
    return Latents.of(target, request_.retain).draw(5, torch.Generator().manual_seed(4))


def changed(target, result):
    old, new = target.parts.unet.state_dict(), result.parts.unet.state_dict()
    return {name for name, tensor in old.items() if not torch.equal(tensor, new[name])}


def parts_of(target, t):
    """(signal, noise) of a timestep, by the schedule's definition."""
    alpha = float(target.parts.schedule.alphas[t])
    return math.sqrt(alpha), math.sqrt(1 - alpha)


def slow_noise(target, z, t, embedding):
    """ε [c, h, w] of one row: the network's v, turned into noise."""
    signal, sigma = parts_of(target, int(t))
    return signal * slow_output(target, z, t, target.parts.projector(embedding[None])) + sigma * z


def slow_output(target, z, t, tokens):
    """v [c, h, w] of one row; twice, as this network's normalisation wants more than one number a channel."""
    row, same = z.repeat(2, 1, 1, 1), tokens.repeat(2, 1, 1)
    return target.parts.unet(row, t.repeat(2), encoder_hidden_states=same).sample[0]


def slow_mean(losses):
    return sum(losses) / len(losses)


def test_rows_are_photos_noised_by_the_schedule(target, request_, generator):
    side = forgotten_latents(target, request_)
    z, t, noise, embeddings, anchors = side.draw(64, generator)
    labels = request_.forget.labels()
    whole = target.encode(request_.forget.pictures)
    for i in range(64):
        photo = int((request_.forget.embeddings - embeddings[i]).norm(dim=1).argmin())
        signal, sigma = parts_of(target, int(t[i]))
        assert torch.equal(request_.forget.embeddings[photo], embeddings[i])
        assert torch.allclose(z[i], signal * whole[photo] + sigma * noise[i], atol=1e-5)
        assert torch.equal(anchors[i], request_.anchors[labels[photo]])
    assert len(t.unique()) > 50 and {int(t.min()), int(t.max())} <= set(range(1000))
    assert abs(float(noise.std()) - 1) < 0.05
    retained = Latents.of(target, request_.retain).draw(8, generator)
    assert torch.equal(retained.embeddings, retained.anchors)


def test_nobody_retained_is_an_error(target, request_, generator):
    alone = DrawRequest(request_.forget, request_.retain.take([]), request_.anchors)
    for method in (Siss(batch=1), Salun(batch=1, measured=1), Erasediff(batch=1)):
        with pytest.raises(EffaceError, match="retain: found nobody, expected retained people"):
            method.unlearn(target, alone, generator)
    result = Uce().unlearn(target, alone, generator)  # nobody to preserve is no hindrance
    assert changed(target, result)


def test_the_two_common_losses(target, rows, generator):
    student, _ = student_of(target, ())
    with torch.no_grad():
        for parameter in student.parts.unet.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
        own, anchors = [], []
        for z, t, noise, embedding, anchor in zip(*rows, strict=True):
            found = slow_noise(student, z, t, embedding)
            own.append(float((found - noise).square().mean()))
            anchors.append(float((found - slow_noise(target, z, t, anchor)).square().mean()))
        assert math.isclose(float(denoising(student, rows)), slow_mean(own), rel_tol=1e-4)
        assert math.isclose(float(as_anchor(student, target, rows)), slow_mean(anchors), rel_tol=1e-4)
        assert as_anchor(target, target, rows._replace(anchors=rows.embeddings)) == 0


def test_no_gradient_goes_through_the_teacher_even_if_it_is_the_student(target, rows):
    student, trained = student_of(target, scope_names(target.parts.unet, "surgical"))
    found = torch.autograd.grad(as_anchor(student, student, rows), trained)
    expected = torch.autograd.grad(as_anchor(student, target, rows), trained)  # the same weights, frozen
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(found, expected, strict=True))
    assert any(g.abs().max() > 0 for g in found)


def test_a_given_gradient_is_the_gradient(generator):
    one, other = (nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,)))
    gradients = [torch.randn(p.shape, generator=generator) for p in (one, other)]
    value = with_gradient(torch.tensor(2.5), [one, other], gradients)
    assert value == 2.5
    for found, wanted in zip(torch.autograd.grad(value, [one, other]), gradients, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("beta", [0.0, 0.1, 2.0])
def test_siss_forget_part_is_beta_times_as_long_as_the_retain_part(target, rows, kept, beta):
    student, trained = student_of(target, scope_names(target.parts.unet, "full"))
    terms = both_ways(student, trained, rows, kept, beta)
    parts = {name: torch.autograd.grad(term, trained, retain_graph=True) for name, term in terms.items()}
    lengths = {n: math.sqrt(sum(float(g.double().square().sum()) for g in p)) for n, p in parts.items()}
    assert lengths["retain"] > 0
    assert math.isclose(lengths["forget"], beta * lengths["retain"], rel_tol=1e-4, abs_tol=1e-9)
    retain = torch.autograd.grad(denoising(student, kept), trained)
    forget = torch.autograd.grad(denoising(student, rows), trained)
    for g_r, g_f, plain_r, plain_f in zip(parts["retain"], parts["forget"], retain, forget, strict=True):
        assert torch.allclose(g_r, plain_r, atol=1e-7)
        assert beta == 0 or (g_f * plain_f).sum() <= 0  # up its own slope
    whole = torch.autograd.grad(sum(both_ways(student, trained, rows, kept, beta).values()), trained)
    scale = beta * lengths["retain"] / math.sqrt(sum(float(g.double().square().sum()) for g in forget))
    for found, g_r, g_f in zip(whole, retain, forget, strict=True):
        assert torch.allclose(found, g_r - scale * g_f, atol=1e-6)


def test_siss_averages_weights_as_diffusers_does(generator):
    module = nn.Linear(4, 3)
    oracle = EMAModel(module.parameters(), decay=0.9999)
    mean = None
    for step in range(12):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator))
        oracle.step(module.parameters())
        weight = module.weight.detach()
        mean = weight.clone() if mean is None else follow(mean, weight, torch.tensor(step))
    assert torch.allclose(mean, oracle.shadow_params[0], atol=1e-5)
    assert not torch.allclose(mean, module.weight, atol=0.1)


def test_siss_step_by_step(target, request_):
    """Gradients of both sides shortened to 1 together, AdamW, and the moving average as the result."""
    method = Siss(learning_rate=1e-3, steps=3, batch=4, beta=2.0, scope="surgical")
    result = method.unlearn(target, request_, torch.Generator().manual_seed(0))
    names = scope_names(target.parts.unet, "surgical")
    student, trained = student_of(target, names)
    sides = (forgotten_latents(target, request_), Latents.of(target, request_.retain))
    generator, optimiser = torch.Generator().manual_seed(0), torch.optim.AdamW(trained, lr=1e-3)
    means = []
    for step in range(3):
        forgotten, retained = (side.draw(4, generator) for side in sides)
        forget = torch.autograd.grad(denoising(student, forgotten), trained)
        retain = torch.autograd.grad(denoising(student, retained), trained)
        lengths = [math.sqrt(sum(float(g.square().sum()) for g in one)) for one in (retain, forget)]
        whole = [g_r - 2 * lengths[0] / lengths[1] * g_f for g_r, g_f in zip(retain, forget, strict=True)]
        norm = math.sqrt(sum(float(g.square().sum()) for g in whole))
        for parameter, gradient in zip(trained, whole, strict=True):
            parameter.grad = gradient / max(norm, 1)
        optimiser.step()
        decay = (1, 2 / 11, 3 / 12)[step]
        now = [p.detach().clone() for p in trained]
        means = [m + (1 - decay) * (n - m) for m, n in zip(means, now, strict=True)] if means else now
    found = result.parts.unet.state_dict()
    original = target.parts.unet.state_dict()
    for name, mean in zip(names, means, strict=True):
        moved = mean - original[name]
        assert (found[name] - mean).norm() < 0.02 * moved.norm(), name


def test_wid_compares_noise_and_the_decoded_face(target, rows, generator):
    student, trained = student_of(target, scope_names(target.parts.unet, "full"))
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    noises, faces = [], []
    with torch.no_grad():
        for z, t, _, embedding, anchor in zip(*rows, strict=True):
            found, wanted = slow_noise(student, z, t, embedding), slow_noise(target, z, t, anchor)
            seen = [slow_face(target, z, t, noise) for noise in (found, wanted)]
            noises.append(float((found - wanted).square().mean()))
            faces.append(float((seen[0] - seen[1]).square().mean()))
    terms = anchor_terms(student, target, rows, 0.1)
    assert math.isclose(float(terms["forget"]), slow_mean(noises), rel_tol=1e-4)
    assert math.isclose(float(terms["identity"]), 0.1 * slow_mean(faces), rel_tol=1e-3)
    gradients = torch.autograd.grad(terms["identity"], trained, materialize_grads=True)
    assert sum(float(g.abs().sum()) for g in gradients) > 0  # through the decoder and the recogniser


def slow_face(target, z, t, noise):
    """Embedding [d] of what is left of z without the noise, decoded patch by patch."""
    signal, sigma = parts_of(target, int(t))
    clean = (z - sigma * noise) / max(signal, 1e-4)
    coder, place = target.parts.autoencoder, target.spec.window
    picture = torch.zeros(3, target.spec.size, target.spec.size)
    for row in range(clean.shape[1]):
        for column in range(clean.shape[2]):
            patch = coder.mean + torch.einsum("c,cpij->pij", clean[:, row, column] * coder.scale, coder.basis)
            top, left = row * coder.patch, column * coder.patch
            picture[:, top : top + coder.patch, left : left + coder.patch] = patch
    crop = picture[:, place.top : place.top + place.side, place.left : place.left + place.side]
    return target.recogniser.forward((crop[None] + 1) * 127.5)[0]


def test_wid_sees_faces_as_the_target_recognises_them(target, request_, generator):
    side = forgotten_latents(target, request_)
    clean = side.draw(4, generator)
    almost = clean._replace(t=torch.zeros(4, dtype=torch.long))
    z = target.parts.schedule.noised(target.encode(request_.forget.pictures[:4]), clean.noise, almost.t)
    found = identity(target, almost._replace(z=z), clean.noise)
    decoded = target.decode(target.encode(request_.forget.pictures[:4]))
    assert (found.detach() * target.recognise(decoded)[0]).sum(1).min() > 0.99  # but for rounding to 8 bits


@pytest.mark.parametrize("eta", [0.0, 1.0, 3.0])
def test_esd_target_is_nobody_and_beyond(target, rows, eta):
    found = away_from_person(target, rows, eta)
    with torch.no_grad():
        for i, (z, t, _, embedding, _anchor) in enumerate(zip(*rows, strict=True)):
            nobody, person = (slow_noise(target, z, t, e) for e in (torch.zeros_like(embedding), embedding))
            assert torch.allclose(found[i], nobody - eta * (person - nobody), atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(0, 6), st.floats(0.01, 10), st.floats(0.0, 20))
def test_an_edit_is_the_least_squares_solution(seed, erased, preserved, hold, weight):
    generator = torch.Generator().manual_seed(seed)
    module = nn.Linear(7, 5, bias=False)
    tokens, goals = (torch.randn(erased, n, generator=generator, dtype=torch.float64) for n in (7, 5))
    kept, held = (torch.randn(preserved, n, generator=generator, dtype=torch.float64) for n in (7, 5))
    before = module.weight.detach().double()
    edit(module, [(weight, tokens, goals), (0.5, kept, held)], hold)
    left = torch.cat([math.sqrt(hold) * torch.eye(7).double(), math.sqrt(weight) * tokens, math.sqrt(0.5) * kept])
    right = torch.cat([math.sqrt(hold) * before.T, math.sqrt(weight) * goals, math.sqrt(0.5) * held])
    expected = torch.linalg.lstsq(left, right).solution.T
    assert torch.allclose(module.weight.double(), expected, atol=1e-5)


def test_uce_edits_every_key_and_value_map_by_least_squares(target, request_):
    method = Uce(preserved=3)
    result = method.unlearn(target, request_, torch.Generator().manual_seed(0))
    maps = face_maps(target.parts.unet)
    assert len(maps) == 32
    assert changed(target, result) == {f"{name}.weight" for name in maps}
    chosen = torch.randperm(len(request_.retain.people()), generator=torch.Generator().manual_seed(0))[:3]
    with torch.no_grad():
        persons = [target.condition(e[None])[0].double().mean(0) for e in request_.forget.centroids()]
        anchors = [target.condition(e[None])[0].double().mean(0) for e in request_.anchors]
        kept = [target.condition(request_.retain.centroids()[i][None])[0].double().mean(0) for i in chosen]
        for name, module in maps.items():
            before = module.weight.double()
            left, right = [math.sqrt(0.7) * torch.eye(before.shape[1]).double()], [math.sqrt(0.7) * before.T]
            for c, star in zip(persons, anchors, strict=True):
                left.append(math.sqrt(20) * c[None])
                right.append(math.sqrt(20) * (before @ star)[None])
            for c in kept:
                left.append(c[None])
                right.append((before @ c)[None])
            expected = torch.linalg.lstsq(torch.cat(left), torch.cat(right)).solution.T
            found = face_maps(result.parts.unet)[name].weight.double()
            assert torch.allclose(found, expected, atol=1e-5), name


def test_with_decoupled_attention_only_the_faces_maps_are_edited(target, request_, generator):
    decoupled = target.clone()
    unet = decoupled.parts.unet
    for name in list(unet.attn_processors):
        if name.endswith("attn2.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            layer.set_processor(Decoupled(layer.to_k.in_features, layer.to_k.out_features, 2, 1.0))
    unet.requires_grad_(False)
    result = Uce().unlearn(decoupled, request_, generator)
    edited = changed(decoupled, result)
    assert len(edited) == 32 and all("to_k_ip" in name or "to_v_ip" in name for name in edited)
    tokens = decoupled.condition(request_.anchors)
    assert torch.allclose(mean_tokens(decoupled, request_.anchors), tokens[:, 2:].double().mean(1))


def test_a_network_without_cross_attention_is_an_error():
    with pytest.raises(EffaceError, match=r"found no attn2.to_k or attn2.to_v"):
        face_maps(nn.Sequential(nn.Linear(3, 3)))


def test_preserved_people_are_different_retained_ones(request_, generator):
    everyone = request_.retain.centroids()
    found = preserved_people(request_, 4, generator)
    rows = [int((everyone - f).norm(dim=1).argmin()) for f in found]
    assert len(set(rows)) == 4 and torch.equal(everyone[rows], found)
    assert len(preserved_people(request_, 20, generator)) == len(everyone)


def test_rece_derives_the_tokens_that_still_give_the_person(generator):
    weights, originals = ([torch.randn(n, 6, generator=generator).double() for n in (4, 9)] for _ in range(2))
    c = torch.randn(6, generator=generator).double()
    left = torch.cat([*weights, math.sqrt(0.05) * torch.eye(6).double()])
    right = torch.cat([*(w @ c for w in originals), torch.zeros(6).double()])
    expected = torch.linalg.lstsq(left, right[:, None]).solution[:, 0]
    assert torch.allclose(still_gives(weights, originals, 0.05) @ c, expected)


def test_rece_is_uce_alternated_with_derived_tokens(target, request_):
    result = Rece(rounds=2, preserved=3).unlearn(target, request_, torch.Generator().manual_seed(0))
    slow = target.clone()
    people = preserved_people(request_, 3, torch.Generator().manual_seed(0))
    persons, anchors, kept = (mean_tokens(target, e) for e in (request_.forget.centroids(), request_.anchors, people))
    maps, originals = face_maps(slow.parts.unet), face_maps(target.parts.unet)
    tokens = persons
    with torch.no_grad():
        for done in range(3):
            if done:
                stacked = torch.cat([m.weight.double() for m in maps.values()])
                given = torch.cat([m.weight.double() for m in originals.values()])
                inverse = torch.linalg.inv(1e-3 * torch.eye(stacked.shape[1]).double() + stacked.T @ stacked)
                tokens = torch.stack([inverse @ stacked.T @ given @ c for c in persons])
            for name, module in maps.items():
                w0 = originals[name].weight.double()
                numerator, denominator = 0.1 * module.weight.double(), 0.1 * torch.eye(w0.shape[1]).double()
                for c, star in zip(tokens, anchors, strict=True):
                    numerator, denominator = numerator + (w0 @ star).outer(c), denominator + c.outer(c)
                for c in kept:
                    numerator, denominator = numerator + 0.1 * (w0 @ c).outer(c), denominator + 0.1 * c.outer(c)
                module.weight.copy_(numerator @ torch.linalg.inv(denominator))
    assert changed(target, result) == {f"{name}.weight" for name in maps}
    for name, module in face_maps(result.parts.unet).items():
        assert torch.allclose(module.weight, maps[name].weight, atol=1e-4), name


def test_concept_ablation_learns_on_pictures_of_the_anchor(target, request_):
    drawn = anchor_latents(target, request_, 3, torch.Generator().manual_seed(0))
    pictures = target.generate(request_.anchors, 3, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.clean, target.encode(pictures))
    labels = request_.forget.labels()
    for i in range(6):
        person = i // 3
        assert torch.equal(drawn.anchors[i], request_.anchors[person])
        own = request_.forget.embeddings[labels == person]
        assert (own == drawn.embeddings[i]).all(1).any()
    assert len({tuple(e.tolist()) for e in drawn.embeddings}) == 6  # of different photos


def test_salun_measures_the_guided_loss_of_every_batch(target, request_, generator):
    student, trained = student_of(target, scope_names(target.parts.unet, "surgical"))
    side = forgotten_latents(target, request_)
    batches = [side.draw(3, generator) for _ in range(2)]
    sums = saliency(student, trained, batches)
    losses = []
    for batch in batches:
        for z, t, noise, embedding, _ in zip(*batch, strict=True):
            signal, sigma = parts_of(target, int(t))
            person = slow_noise(student, z, t, embedding)
            tokens = target.unconditioned(1)
            nobody = signal * slow_output(student, z, t, tokens) + sigma * z
            losses.append(((1 + GUIDANCE) * person - GUIDANCE * nobody - noise).square().mean() / 3)
    expected = torch.autograd.grad(sum(losses), trained)
    for found, wanted in zip(sums, expected, strict=True):
        assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_salun_moves_the_larger_half_and_leaves_the_rest_to_the_bit(target, request_):
    method = Salun(learning_rate=1e-3, steps=3, batch=4, measured=2, scope="surgical")
    result = method.unlearn(target, request_, torch.Generator().manual_seed(0))
    names = scope_names(target.parts.unet, "surgical")
    student, trained = student_of(target, names)
    side, generator = forgotten_latents(target, request_), torch.Generator().manual_seed(0)
    sums = saliency(student, trained, [side.draw(4, generator) for _ in range(2)])
    old, new = target.parts.unet.state_dict(), result.parts.unet.state_dict()
    moved = torch.cat([(new[name] != old[name]).flatten() for name in names])
    sizes = torch.cat([s.abs().flatten() for s in sums])
    threshold = sizes.median()
    assert not moved[sizes < threshold * 0.999].any()
    assert moved[sizes > threshold * 1.001].float().mean() > 0.99
    assert changed(target, result) <= set(names)


def test_the_largest_of_several_tensors():
    values = [torch.tensor([[3.0, -5.0], [0.0, 1.0]]), torch.tensor([-4.0, 2.0])]
    assert [m.tolist() for m in largest(values, 0.5)] == [[[1, 1], [0, 0]], [1, 0]]
    parameter = nn.Parameter(torch.ones(2))
    with only([parameter], [torch.tensor([1.0, 0.0])]):
        (2 * parameter).sum().backward()
    assert parameter.grad is not None and parameter.grad.tolist() == [2, 0]
    (2 * parameter).sum().backward()
    assert parameter.grad.tolist() == [4, 2]


sizes_of_weights = st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]))


@settings(max_examples=50, deadline=None)
@given(st.lists(sizes_of_weights, min_size=1, max_size=4).filter(any), st.floats(0.01, 1), st.integers(1, 7))
def test_the_largest_are_those_of_a_sort(numbers, share, piece):
    values = [torch.tensor(some, dtype=torch.float32) for some in numbers]
    flat = torch.cat(values).abs()
    wanted = torch.zeros(len(flat), dtype=torch.bool)
    wanted[flat.argsort(descending=True, stable=True)[: max(1, round(share * len(flat)))]] = True
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(importance, "PIECE", piece)
        found = largest(values, share)
    assert [m.shape for m in found] == [v.shape for v in values] and torch.equal(torch.cat(found), wanted)


def test_erasediff_looks_ahead_and_comes_back(target, rows):
    student, trained = student_of(target, scope_names(target.parts.unet, "surgical"))
    optimiser = torch.optim.Adam(trained, lr=1e-3)
    reached = ahead(trained, lambda: as_anchor(student, student, rows), optimiser, 2)
    assert not changed(target, student)
    moments = [optimiser.state[p]["exp_avg"] for p in trained]
    assert any(m.abs().max() > 0 for m in moments)
    slow, weights = student_of(target, scope_names(target.parts.unet, "surgical"))
    steps = torch.optim.Adam(weights, lr=1e-3)
    before = float(as_anchor(slow, slow, rows).detach())
    for _ in range(2):
        steps.zero_grad()
        with torch.no_grad():
            wanted = slow.noise(rows.z, rows.t, slow.condition(rows.anchors))
        F.mse_loss(slow.noise(rows.z, rows.t, slow.condition(rows.embeddings)), wanted).backward()
        steps.step()
    assert math.isclose(float(reached), float(as_anchor(slow, slow, rows)), rel_tol=1e-4)
    assert not reached.requires_grad and float(reached) < before
    for one, other in zip(moments, (steps.state[p]["exp_avg"] for p in weights), strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_training_is_given_rows_of_each_side_and_leaves_no_gradient(target, request_, generator):
    student, trained = student_of(target, scope_names(target.parts.unet, "surgical"))
    sides = (forgotten_latents(target, request_), Latents.of(target, request_.retain))
    seen = []

    def loss(forgotten: Noised, retained: Noised):
        seen.append((forgotten, retained))
        return {"loss": denoising(student, forgotten) + denoising(student, retained)}

    options = {"steps": 2, "batch": 3, "generator": generator}
    train_on_noised(student.parts.unet, sides, loss, optimiser=torch.optim.SGD(trained, lr=0.0), **options)
    for forgotten, retained in seen:
        assert all(len(column) == 3 for column in (*forgotten, *retained))
        assert all((request_.forget.embeddings == e).all(1).any() for e in forgotten.embeddings)
        assert all((request_.retain.embeddings == e).all(1).any() for e in retained.embeddings)
    unet = finished(student).parts.unet
    assert not any(p.requires_grad or p.grad is not None for p in unet.parameters())
