"""Methods made for classifiers: their losses, masks and noise against slow formulas, and what they may touch."""

import math

import pytest
import torch
import torch.nn.functional as F

from efface.methods.classes import (
    BATCH,
    Photos,
    bounded_ascent,
    class_head,
    distillation,
    forgotten_photos,
    mixture_loss,
    retained_photos,
    train_on_both,
)
from efface.methods.importance import only
from efface.methods.recognition.bad_teacher import BadTeacher, two_teachers_loss
from efface.methods.recognition.delete import erasing_distillation
from efface.methods.recognition.finetune import Finetune
from efface.methods.recognition.negative_gradient_plus import negative_gradient_terms
from efface.methods.recognition.salun import Salun, saliency_mask
from efface.methods.recognition.scrub import Scrub, obeying_terms
from efface.methods.recognition.unsir import Unsir, noise_terms, pixels_of
from efface.methods.seen import LastBlocks, Seen
from efface.methods.unlearner import Request
from efface.models.heads import CosFace
from efface.testing.contract import Problem

CLASSES, SIZE = 5, 6


@pytest.fixture(scope="module")
def problem():
    return Problem.make()


@pytest.fixture(scope="module")
def request_(problem):
    return problem.request()


@pytest.fixture
def head(generator):
    return CosFace(CLASSES, SIZE, scale=8.0).draw(generator)


def unit(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator), dim=-1)


def some(generator, number):
    classes = torch.randint(CLASSES, (number,), generator=generator)
    return Photos(unit(generator, number, SIZE), classes, unit(generator, number, SIZE))


def slow_logits(head, embedding, true=None):
    """s·cos, minus s·m for the true class, class by class."""
    rows = F.normalize(head.weight.detach(), dim=-1).double()
    cosines = [float(row @ embedding.double()) for row in rows]
    return [head.scale * (c - (head.margin if k == true else 0)) for k, c in enumerate(cosines)]


def slow_softmax(logits):
    most = max(logits)
    powers = [math.exp(z - most) for z in logits]
    return [p / sum(powers) for p in powers]


def slow_ce(head, photos, margin=True):
    """Cross-entropy of each photo."""
    pairs = zip(photos.x, photos.classes.tolist(), strict=True)
    return [-math.log(slow_softmax(slow_logits(head, x, true if margin else None))[true]) for x, true in pairs]


def slow_kl(student, teacher, temperature):
    """T²·KL(teacher ‖ student) of two lists of logits."""
    p, q = (slow_softmax([z / temperature for z in logits]) for logits in (teacher, student))
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_its_formula(generator, temperature):
    student, teacher = (5 * torch.randn(7, CLASSES, generator=generator) for _ in range(2))
    teacher[2, 3] = -torch.inf
    slow = mean([slow_kl(s.tolist(), t.tolist(), temperature) for s, t in zip(student, teacher, strict=True)])
    assert distillation(student, teacher, temperature).item() == pytest.approx(slow, rel=1e-5)
    assert distillation(student, student, temperature).item() == pytest.approx(0, abs=1e-5)
    assert distillation(student[:0], teacher[:0], temperature).item() == 0


@pytest.mark.parametrize("most", [0.0, 1.5, 100.0])
def test_ascent_counts_the_photos_below_its_bound(head, generator, most):
    photos = some(generator, 9)
    with_margin, plain = slow_ce(head, photos), slow_ce(head, photos, margin=False)
    slow = -mean([c * (p < most) for c, p in zip(with_margin, plain, strict=True)])
    assert bounded_ascent(head, photos.x, photos.classes, most).item() == pytest.approx(slow, rel=1e-5)
    assert 0 < sum(p < 1.5 for p in plain) < 9


def test_negative_gradient_plus_is_its_formula(head, generator):
    forgotten, retained = some(generator, 4), some(generator, 6)
    found = negative_gradient_terms(head, forgotten, retained, beta=0.7, most=100.0)
    slow = 0.7 * mean(slow_ce(head, retained)) - 0.3 * mean(slow_ce(head, forgotten))
    assert sum(found.values()).item() == pytest.approx(slow, rel=1e-5)


def test_delete_strikes_out_the_true_class_and_keeps_the_ratios_of_the_others(head, generator):
    photos = some(generator, 8)
    slow = []
    for x, true, before in zip(*photos, strict=True):
        shares = slow_softmax(slow_logits(head, before))
        wanted = [0 if k == true else share / (1 - shares[true]) for k, share in enumerate(shares)]
        found = slow_softmax(slow_logits(head, x))
        slow.append(sum(p * math.log(p / q) for p, q in zip(wanted, found, strict=True) if p))
    assert erasing_distillation(head, photos).item() == pytest.approx(mean(slow), rel=1e-5)


def test_a_mixture_is_the_mean_over_both_sides_together(head, generator):
    forgotten, retained = some(generator, 3), some(generator, 7)
    slow = mean(slow_ce(head, forgotten) + slow_ce(head, retained))
    assert mixture_loss(head, forgotten, retained).item() == pytest.approx(slow, rel=1e-5)


def test_two_teachers_are_compared_without_margin_over_both_sides_together(head, generator):
    sides = some(generator, 3), some(generator, 5)
    slow = mean(
        [
            slow_kl(slow_logits(head, x), slow_logits(head, before), 2.0)
            for side in sides
            for x, before in zip(side.x, side.before, strict=True)
        ]
    )
    assert two_teachers_loss(head, *sides, temperature=2.0).item() == pytest.approx(slow, rel=1e-5)


def test_obeying_is_its_formula(head, generator):
    retained = some(generator, 6)
    found = obeying_terms(head, retained, alpha=0.5, gamma=0.9, temperature=4.0)
    kl = [
        slow_kl(slow_logits(head, x), slow_logits(head, before), 4.0)
        for x, before in zip(retained.x, retained.before, strict=True)
    ]
    assert found["divergence"].item() == pytest.approx(0.5 * mean(kl), rel=1e-4)
    assert found["retained"].item() == pytest.approx(0.9 * mean(slow_ce(head, retained)), rel=1e-5)


def test_noise_is_its_formula(head, generator):
    photos, noise = some(generator, 4), torch.randn(4, 3, 5, 5, generator=generator)
    found = noise_terms(head, photos.x, photos.classes, noise, weight=0.1)
    assert found["error"].item() == pytest.approx(-mean(slow_ce(head, photos)), rel=1e-5)
    squares = [sum(value**2 for value in image.flatten().tolist()) for image in noise]
    assert found["size"].item() == pytest.approx(0.1 * mean(squares), rel=1e-5)


def test_noise_of_no_size_is_mid_grey_and_of_one_is_the_pixel_range():
    assert pixels_of(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 127.5, 255]


def test_learned_noise_is_less_like_its_class_than_drawn_noise(problem, request_):
    part = LastBlocks(problem.target, 1)
    head, classes = class_head(Seen.of(part, request_)), torch.tensor([0, 1, 2])

    def error(steps):
        generator = torch.Generator().manual_seed(0)
        method = Unsir(noise_steps=steps, noise_weight=0.0)
        features, labels, embeddings = method.learned_noise(problem.target, part, head, classes, generator)
        with torch.no_grad():
            assert torch.allclose(part(features), embeddings, atol=1e-5)
        return F.cross_entropy(head(embeddings, labels), labels)

    assert error(25) > error(1) + 1


@pytest.fixture(scope="module")
def both(problem, request_):
    """The trained part, the head and the photos of the tiny problem."""
    part = LastBlocks(problem.target, 1)
    seen = Seen.of(part, request_)
    return part, class_head(seen), forgotten_photos(seen), retained_photos(seen)


def test_each_photo_has_its_class_and_its_original_embedding(problem, request_, both):
    _, _, forgotten, retained = both
    people = (*request_.forget.people(), *request_.retain.people())
    pixels = torch.cat([request_.forget.pixels, request_.retain.pixels])
    names = [people.index(who) for who in (*request_.forget.identities, *request_.retain.identities)]
    for photos, wanted in ((forgotten, 3), (retained, len(people) - 3)):
        assert len(photos.classes.unique()) == wanted
        for x, own, before in zip(*photos, strict=True):
            (position,) = (problem.target.embed(pixels) - before).abs().amax(1).lt(1e-6).nonzero().flatten().tolist()
            assert int(own) == names[position]
            with torch.no_grad():
                assert torch.allclose(both[0](x[None])[0], before, atol=1e-5)


def test_saliency_marks_the_largest_sums_of_the_gradients(both):
    part, head, forgotten, _ = both
    trained = part.trained()
    sums = [torch.zeros_like(p) for p in trained]
    for x, true in zip(forgotten.x, forgotten.classes, strict=True):
        loss = F.cross_entropy(head(part(x[None]), true[None]), true[None])
        for total, gradient in zip(sums, torch.autograd.grad(loss, trained), strict=True):
            total += gradient
    flat = torch.cat([s.flatten() for s in sums]).abs()
    marked = torch.cat([m.flatten() for m in saliency_mask(part, head, forgotten, 0.25)]).bool()
    assert int(marked.sum()) == round(0.25 * len(flat))
    assert flat[marked].min() >= flat[~marked].max() * (1 - 1e-4)
    assert [m.shape for m in saliency_mask(part, head, forgotten, 0.25)] == [p.shape for p in trained]


def test_weights_outside_the_mask_stay_bitwise_and_the_others_move(problem, request_, generator):
    part = LastBlocks(problem.target, 1)
    seen = Seen.of(part, request_)
    mask = saliency_mask(part, class_head(seen), forgotten_photos(seen), 0.3)
    result = Salun(share=0.3, steps=5).unlearn(problem.target, request_, generator)
    old = [dict(problem.target.network.named_parameters())[n] for n in ("linear.weight", "bn.weight", "bn.bias")]
    new = [dict(result.network.named_parameters())[n] for n in ("linear.weight", "bn.weight", "bn.bias")]
    for before, after, marked in zip(old, new, mask, strict=True):
        assert torch.equal(before[marked == 0], after[marked == 0])
        assert (before != after)[marked == 1].float().mean() > 0.99


def test_a_mask_ends_with_its_block(both):
    part, _, forgotten, _ = both
    first = part.trained()[0]
    with only(part.trained(), [torch.zeros_like(p) for p in part.trained()]):
        part(forgotten.x)[:, 0].sum().backward()
        assert not first.grad.any()
    part(forgotten.x)[:, 0].sum().backward()
    assert first.grad.any()
    part.zero_grad()


def test_a_batch_holds_as_many_of_each_side_as_said(problem, request_, generator):
    part = LastBlocks(problem.target, 1)
    seen = Seen.of(part, request_)
    given = forgotten_photos(seen), retained_photos(seen)
    sizes = []

    def loss(*sides):
        sizes.append(tuple(len(side.x) for side in sides))
        for side, own in zip(sides, given, strict=True):
            for before, label in zip(side.before, side.classes, strict=True):
                (position,) = (own.before == before).all(1).nonzero().flatten().tolist()
                assert own.classes[position] == label
            with torch.no_grad():
                assert torch.allclose(side.x, side.before, atol=1e-5)
        return {"all": torch.cat([side.x for side in sides]).sum() * 0}

    for batch in ((4, 9), (0, 7), (1000, 0)):
        optimiser = torch.optim.SGD(part.trained(), lr=0.1)
        train_on_both(part, *given, loss, optimiser=optimiser, steps=2, generator=generator, batch=batch)
    assert sizes == [(4, 9)] * 2 + [(0, 7)] * 2 + [(len(given[0].x), 0)] * 2


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_a_step_of_fine_tuning_is_that_of_the_retained_photos_loss(problem, request_, generator, weight):
    few = Request(request_.forget, request_.retain.take(range(BATCH)))  # one batch holds them all
    method = Finetune(steps=2, learning_rate=0.01, blocks=1, retain_weight=weight)
    found = method.unlearn(problem.target, few, generator).network.state_dict()
    part = LastBlocks(problem.target, 1)
    seen = Seen.of(part, few)
    head, (x, classes, before) = class_head(seen), retained_photos(seen)
    speed = [torch.zeros_like(p) for p in part.trained()]
    for _ in range(2):
        logits = 32 * (part(x) @ head.weight.T - 0.35 * F.one_hot(classes, len(head.weight)))
        chosen = logits.log_softmax(1)[torch.arange(BATCH), classes]
        loss = -chosen.mean() + weight * (1 - (part(x) * before).sum(1)).mean()
        for v, p, gradient in zip(speed, part.trained(), torch.autograd.grad(loss, part.trained()), strict=True):
            p.data -= 0.01 * v.mul_(0.9).add_(gradient)
    for name, tensor in part.clone.network.state_dict().items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name
    assert not torch.allclose(found["linear.weight"], problem.target.network.state_dict()["linear.weight"], atol=1e-5)


def test_the_first_turn_of_scrub_leaves_the_original_so_that_it_can_be_disobeyed(problem, request_):
    """Without a turn before it, the first step away from the original has no gradient."""
    part = LastBlocks(problem.target, 1)
    seen = Seen.of(part, request_)
    head = class_head(seen)
    loss = distillation(head(part(seen.forget)), head(seen.given), 4.0)
    for gradient in torch.autograd.grad(loss, part.trained()):
        assert gradient.abs().max() < 1e-4
    moved = Scrub(rounds=1, disobeying=1, steps=3).unlearn(problem.target, request_, torch.Generator().manual_seed(0))
    kept = Scrub(rounds=1, disobeying=0, steps=3).unlearn(problem.target, request_, torch.Generator().manual_seed(0))
    away = [float(distillation(head(t.embed(request_.forget.pixels)), head(seen.given), 4.0)) for t in (moved, kept)]
    assert away[0] > away[1] > 0


def test_a_bad_teacher_sends_the_forgotten_together_and_keeps_the_retained(problem, request_):
    def between(target):
        """Mean cosine of photos of different people to forget."""
        x, labels = target.embed(request_.forget.pixels), request_.forget.labels()
        return float((x @ x.T)[labels[:, None] != labels].mean())

    result = problem.unlearn(BadTeacher())
    assert between(result) > between(problem.target) + 0.2
    kept = [t.embed(request_.retain.pixels) for t in (result, problem.target)]
    assert kept[0].mul(kept[1]).sum(1).mean() > 0.9
