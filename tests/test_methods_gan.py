"""Methods for face generators: targets and losses against slow formulas, and each old mistake."""

import hashlib
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from efface.errors import EffaceError
from efface.methods.consolidation import Consolidation, fisher
from efface.methods.gan.guide import Guide
from efface.methods.gan.legato import Legato, bending
from efface.methods.gan.pcgrad import dot, projected
from efface.methods.gan.sugar import Sugar
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, student_of
from efface.methods.replacements import kept_apart, length_unit, replacements, unit_offsets
from efface.methods.surrogate import Surrogate
from efface.models import eg3d, flows
from efface.models.lpips import Lpips, LpipsFiles
from efface.testing.tiny_gan import tiny_request, tiny_target


@pytest.fixture(scope="module", params=["eg3d", "stylegan2"])
def target(request):
    return tiny_target(request.param)


@pytest.fixture(scope="module")
def request_(target):
    return tiny_request(target, people=2, retain=3)


def losses_of(target, request, student=None, **fields):
    goals = replacements(target, request, 2.0, "mean", 0.5)
    given = {"weights": Weights(), "views": Views(count=3), "lpips": None, "reach": 3.0, "adjacent": 2, "preserved": 2}
    return Rebuilding(target, student or target, request, goals, **(given | fields))


@torch.no_grad()
def shaken(target, request):
    student, trained = student_of(target, request)
    for p in trained:
        p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return student, trained


def test_target_is_beyond_the_average_by_one_scalar_norm(target, request_):
    found = replacements(target, request_, 30.0, "w", 1.0)
    for goal, w in zip(found, request_.latents, strict=True):
        numbers = (w - target.w_average).flatten().tolist()
        norm = math.sqrt(sum(v * v for v in numbers))
        expected = [a - 30 * v / norm for a, v in zip(target.w_average.flatten().tolist(), numbers, strict=True)]
        assert torch.allclose(goal.flatten(), torch.tensor(expected), atol=1e-4)
        assert math.isclose((goal - target.w_average).norm(), 30, rel_tol=1e-5)  # over all rows, not of each


def test_lengths_are_those_of_w_or_multiples_of_the_mean(target):
    assert length_unit(target, "w") == 1
    drawn = target.sample(1000, torch.Generator().manual_seed(5)) - target.w_average
    mean = sum(float(one.norm()) for one in drawn) / 1000
    assert math.isclose(length_unit(target, "mean"), mean, rel_tol=0.05)
    assert length_unit(target, "mean") == length_unit(target, "mean")


def test_replacements_of_people_who_are_alike_are_turned_apart(target, request_):
    w = request_.latents[0]
    alike = torch.stack([w, w + 0.05 * (request_.latents[1] - w), w, request_.latents[1]])
    directions = unit_offsets(target, alike)
    found = kept_apart(target, directions, 0.5).flatten(1)
    cosines = found @ found.T
    assert (cosines - torch.eye(4)).max() <= 0.5 + 1e-4
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.equal(found[0], directions[0].flatten())  # the first is as published
    turned = [float(found[i] @ directions[i].flatten()) for i in (1, 2)]
    assert all(t >= 0.5 - 1e-3 for t in turned)  # and no one is turned further than needed: 60° apart


def test_people_one_after_another_get_the_targets_that_they_get_together(target, request_):
    w = request_.latents[0]
    both = torch.stack([w, w + 0.05 * (request_.latents[1] - w)])
    together = replacements(target, RebuildRequest(("a", "b"), both, both[:0]), 2.0, "mean", 0.5)
    later = replacements(target, RebuildRequest(("b",), both[1:], both[:0], both[:1]), 2.0, "mean", 0.5)
    assert torch.equal(together[1:], later)


def test_the_average_latent_is_nobody(target):
    with pytest.raises(EffaceError, match="found the average latent at 0"):
        unit_offsets(target, target.w_average[None])


@pytest.mark.parametrize("retained", [0, 2])
def test_losses_equal_the_slow_formula(target, request_, retained):
    student, _ = shaken(target, request_)
    losses = losses_of(target, request_, student, retained=retained)
    batch = losses.draw(torch.Generator().manual_seed(3))
    latents, wanted, known, view = batch
    camera, w = losses.cameras[view], losses.weights
    person = int(known[0])
    assert torch.equal(latents[0], request_.latents[person]) and torch.equal(wanted[0], losses.goals[person])
    for a, b in zip(latents[1:3], wanted[1:3], strict=True):
        assert torch.allclose(a - latents[0], b - wanted[0], atol=1e-4)
        assert 0 < (a - latents[0]).norm() <= 3.0 + 1e-4
    assert torch.equal(latents[3:], wanted[3:]) and len(latents) == 5 + retained
    assert all(any(torch.equal(row, r) for r in request_.retain) for row in latents[5:])

    @torch.no_grad()
    def perceptual(a, b):
        return float(losses.distance(student.synthesize(a[None], camera), target.synthesize(b[None], camera)))

    @torch.no_grad()
    def pair(a, b):
        mse = float((student.planes(a[None]) - target.planes(b[None])).square().mean())
        one, other = (
            t.recogniser.forward(t.faces(t.synthesize(x[None], camera), camera))[0]
            for t, x in ((student, a), (target, b))
        )
        return 0.01 * mse + perceptual(a, b) + 0.1 * (1 - float(F.cosine_similarity(one, other, dim=0)))

    pairs = [pair(a, b) for a, b in zip(latents[:3], wanted[:3], strict=True)]
    expected = {
        "local": pairs[0],
        "adjacency": pairs[1] + pairs[2],
        "global": sum(perceptual(a, a) for a in latents[3:]),
    }
    for _ in range(2):  # the second time some of it was kept
        found = losses.loss(*batch)
        assert found.keys() == expected.keys() and w == Weights()
        for name, value in expected.items():
            assert math.isclose(found[name].item(), value, rel_tol=1e-4, abs_tol=1e-6), name


def test_gradients_are_those_of_one_graph(target, request_):
    student, trained = shaken(target, request_)
    losses = losses_of(target, request_, student)
    latents, wanted, known, view = losses.draw(torch.Generator().manual_seed(4))
    found = torch.autograd.grad(sum(losses.loss(latents, wanted, known, view).values()), trained, allow_unused=True)
    values = losses.compared(latents, losses.seen(wanted, known, view), view, 3)
    expected = torch.autograd.grad(values.sum(), trained, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max() + 1e-6))


def test_what_recurs_is_drawn_once(target, request_, monkeypatch):
    losses = losses_of(target, request_, adjacent=0, preserved=0)
    drawn = []  # the real planes are drawn, and counted
    monkeypatch.setattr(losses.source, "planes", lambda w, f=target.planes: drawn.append(len(w)) or f(w))
    batch = losses.draw(torch.Generator().manual_seed(3))
    first = losses.seen(*batch[1:])
    second = losses.seen(*batch[1:])
    assert drawn == [1] and all(torch.equal(a, b) for a, b in zip(first.features, second.features, strict=True))


def test_cameras_look_at_the_pivot_of_the_metadata():
    target = tiny_target("eg3d")
    cameras = Views().cameras(target)
    assert len(cameras) == 11
    pose = cameras[:, :16].view(-1, 4, 4)
    forward = pose[:, :3, 2]
    towards = F.normalize(torch.tensor(target.parts.generator.rendering.pivot) - pose[:, :3, 3], dim=1)
    assert torch.allclose(forward, towards, atol=1e-5)  # not [0, 0, 0], as the official code by a misspelt key
    assert torch.allclose(pose[:, :3, 3].norm(dim=1), torch.tensor(2.7), atol=1e-4)
    yaws = torch.atan2(pose[:, 0, 3], pose[:, 2, 3])
    assert torch.allclose(yaws, torch.linspace(-1, 1, 11) * math.radians(15), atol=1e-4)


def test_encoder_and_renderings_are_deterministic_while_a_method_trains(target, request_):
    photos = torch.randint(256, (2, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = target.invert(photos)
    method = Guide(steps=1, lengths="mean", distance=1.0, reach=0.5, views=Views(count=1), adjacent=0, preserved=1)
    result = method.unlearn(target, request_, torch.Generator().manual_seed(0))
    encoder = result.parts.encoder
    assert encoder is not None
    encoder.train()  # as training would leave it
    assert torch.equal(result.invert(photos), before)  # evaluation mode: two passes of one photo agree
    camera = target.camera(0.1)
    one, other = (result.synthesize(request_.latents[:1], camera) for _ in range(2))
    assert torch.equal(one, other)


def test_the_identity_term_of_sugar_reaches_its_surrogate(target, request_, monkeypatch):
    seen = []

    def watch(module, draw, loss, *, generator, **_):
        terms = loss(*draw(generator))
        seen.append(torch.autograd.grad(terms["identity"], list(module.parameters()), allow_unused=True))

    monkeypatch.setattr("efface.training.fit", watch)  # the real loss and its real gradient, without the steps
    sugar = Sugar(lengths="mean", distance=2.0, views=Views(count=1))
    sugar.learned(target, request_, torch.Generator().manual_seed(0))
    assert max(float(g.abs().max()) for g in seen[0] if g is not None) > 1e-6


def second_stage(target, request, monkeypatch, **fields):
    """What SUGAR trains the student by: (T, the synthesis, draw, loss, the generator's state after stage 1), where T's
    last weights are drawn at random."""
    seen = []

    def watch(module, draw, loss, *, generator, **_):
        if isinstance(module, Surrogate):
            torch.nn.init.normal_(module.leave.weight, std=0.3, generator=torch.Generator().manual_seed(2))
            seen.extend([module, generator.get_state()])
        else:
            seen.extend([module, draw, loss])

    monkeypatch.setattr("efface.training.fit", watch)
    method = Sugar(lengths="mean", distance=2.0, reach=0.5, measured=2, views=Views(count=1), **fields)
    method.unlearn(target, request, torch.Generator().manual_seed(0))
    surrogate, state, synthesis, draw, loss = seen
    return surrogate, synthesis, draw, loss, state


def test_sugar_asks_its_surrogate_for_each_target(target, request_, monkeypatch):
    w = request_.latents
    alike = replace(request_, latents=torch.stack([w[0], w[0] + 0.05 * (w[1] - w[0])]))
    surrogate, _, draw, _, _ = second_stage(target, alike, monkeypatch)
    d = 2.0 * length_unit(target, "mean")

    @torch.no_grad()
    def slow(latent):
        turned = surrogate((latent - target.w_average)[None]).flatten().tolist()
        norm = math.sqrt(sum(v * v for v in turned))
        values = [a - d * v / norm for a, v in zip(target.w_average.flatten().tolist(), turned, strict=True)]
        return torch.tensor(values).view_as(latent)

    generator, people = torch.Generator().manual_seed(3), set()
    for _ in range(8):
        latents, wanted, known, _ = draw(generator)
        assert len(latents) == 3 and not wanted.requires_grad
        for latent, goal in zip(latents[1:], wanted[1:], strict=True):
            assert torch.allclose(goal, slow(latent), atol=1e-4)
            assert not torch.allclose(goal - wanted[0], latent - latents[0], atol=1e-2)  # GUIDE's: moved along
        person = int(known[0])
        people.add(person)
        # the first person's is T's; the other's, who is alike, is turned apart from it
        assert torch.allclose(wanted[0], slow(latents[0]), atol=1e-4) == (person == 0)
    assert people == {0, 1}
    _, _, draw, _, _ = second_stage(target, request_, monkeypatch, adjacent=0)
    assert len(draw(generator)[1]) == 1


def test_lambda_weighs_the_consolidation_of_sugar(target, request_, monkeypatch):
    _, synthesis, draw, loss, state = second_stage(target, request_, monkeypatch, consolidation=7.0)
    batch = draw(torch.Generator().manual_seed(3))
    terms = loss(*batch)
    assert terms.keys() == {"local", "adjacency", "consolidation"} and terms["consolidation"] == 0
    generator = torch.Generator()
    generator.set_state(state)  # with which SUGAR measured
    student, trained = student_of(target, request_)
    measured = fisher(student, trained, Views(count=1), 2, generator)
    expected = 0.0
    with torch.no_grad():
        for i, (p, f) in enumerate(zip(synthesis.parameters(), measured, strict=True)):
            p += 0.01 * (i % 3)
            expected += 7.0 / 2 * float(f.sum()) * (0.01 * (i % 3)) ** 2
    assert expected > 0
    assert math.isclose(float(loss(*batch)["consolidation"]), expected, rel_tol=1e-3)


def test_surrogate_begins_at_the_offset_and_is_drawn_from_the_generator():
    offsets = torch.randn(2, 7, 15, generator=torch.Generator().manual_seed(0))  # sides that do not halve
    one, other = (Surrogate(torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one(offsets), offsets)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_fisher_information_is_the_mean_square_of_all_derivatives():
    target = tiny_target("stylegan2")
    student = target.clone()
    bias = student.backbone.synthesis.b4.torgb.bias.requires_grad_(True)
    held = Consolidation(student, [bias], Views(), 400, torch.Generator().manual_seed(0))
    # a colour's bias is added, and four times doubled: each pixel's derivative follows from doubling a constant
    w = target.sample(1, torch.Generator().manual_seed(1))
    jacobian = torch.autograd.functional.jacobian(
        lambda b: torch.func.functional_call(student.backbone.synthesis, {"b4.torgb.bias": b}, (w,)), bias.detach()
    )
    expected = jacobian.square().sum((0, 1, 2, 3)) / jacobian[..., 0].numel()
    assert torch.allclose(held.fisher[0], expected, rtol=0.35)
    assert held.loss() == 0
    with torch.no_grad():
        bias += 0.5
    assert torch.allclose(held.loss(), (held.fisher[0] * 0.25).sum() / 2)


def test_projected_gradients_do_not_conflict():
    own, other = [torch.tensor([1.0, 0.0]), torch.tensor([1.0])], [torch.tensor([-2.0, 1.0]), torch.tensor([0.0])]
    turned = projected(own, [other])
    assert abs(float(dot(turned, other))) < 1e-6
    assert torch.allclose(turned[0], torch.tensor([1 - 4 / 5, 2 / 5])) and torch.equal(turned[1], own[1])
    assert projected(own, [own]) is own  # what does not conflict stays


def test_flows_are_a_dial(tmp_path):
    target = tiny_target("eg3d")
    request = tiny_request(target)
    method = Legato(
        steps=4, lengths="mean", distance=2.0, reach=0.5, hidden=8, learning_rate=1e-2, views=Views(count=1)
    )
    result = method.unlearn(target, request, torch.Generator().manual_seed(0))
    synthesis = result.backbone.synthesis
    camera = target.camera()
    moved = []
    for until in (0.0, 0.8, 1.0, 1.6):
        flows.turn(synthesis, until)
        moved.append(
            float((result.synthesize(request.latents, camera) - target.synthesize(request.latents, camera)).norm())
        )
    assert moved[0] == 0 and 0 < moved[1] < moved[2] < moved[3]
    flows.turn(synthesis, 0.7)
    result.save(tmp_path / "out")
    loaded = type(result).load("eg3d", tmp_path / "out")
    assert flows.attached(loaded.backbone.synthesis) == flows.Flows(hidden=8, until=0.7)
    assert torch.equal(loaded.synthesize(request.latents, camera), result.synthesize(request.latents, camera))
    for until in (-1.0, math.nan):
        with pytest.raises(EffaceError, match="expected a time from 0"):
            flows.turn(synthesis, until)
    with pytest.raises(EffaceError, match="found no flows"):
        flows.turn(target.backbone.synthesis, 1.0)


def test_a_flow_follows_euler_steps_and_a_last_part_of_one():
    flow = flows.Flow(3, flows.Flows(hidden=4, until=1.0))
    torch.nn.init.normal_(flow.velocity[2].weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(1, 3, 2, 2)
    expected = x
    for step in (0.4, 0.4, 0.2):
        expected = expected + step * flow.velocity(expected)
    assert torch.allclose(flow(x), expected, atol=1e-5)


def test_as_many_flow_parameters_as_published():
    with torch.device("meta"):
        synthesis = eg3d.Generator().backbone.synthesis
        flows.attach(synthesis, flows.Flows())
    assert sum(p.numel() for flow in flows.of(synthesis) for p in flow.parameters()) == 1_249_152  # paper: 1.25 M


def test_smoothness_is_the_change_of_velocity():
    one, two = torch.full((1, 2), 2.0), torch.full((1, 2), 3.0)
    assert math.isclose(float(bending([[one, two, one], [two]])), (1 / 4 + 1 / 4) / 2)
    assert float(bending([[one]])) == 0


def test_lpips_equals_the_slow_formula_and_reads_published_names(tmp_path):
    torch.manual_seed(0)
    network = Lpips(((2, 2), (3, 2), (4, 3), (4, 3), (4, 3)))
    for k in range(5):
        torch.nn.init.uniform_(network.get_parameter(f"lin{k}.model.1.weight"))
    a, b = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    expected = torch.zeros(2)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    xs = [(x - shift.view(3, 1, 1)) / scale.view(3, 1, 1) for x in (a, b)]
    k = 0
    for i, layer in enumerate(network.vgg):
        xs = [layer(x) for x in xs]
        if i in (3, 8, 15, 22, 29):  # relu1_2, 2_2, 3_3, 4_3, 5_3
            units = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in xs]
            weight = network.get_parameter(f"lin{k}.model.1.weight")
            expected += ((units[0] - units[1]).square() * weight.view(1, -1, 1, 1)).sum(1).mean((1, 2))
            k += 1
    assert torch.allclose(network(a, b), expected, rtol=1e-4)
    assert torch.allclose(network(a, network.features(b)), expected, rtol=1e-4)
    assert torch.equal(network(a, a), torch.zeros(2))


def test_lpips_files_are_checked(tmp_path):
    with torch.device("meta"):
        shapes = Lpips().state_dict()
    assert sum(t.numel() for n, t in shapes.items() if n.startswith("vgg")) == 14_714_688  # VGG-16 without classifier
    vgg = {f"features.{n.removeprefix('vgg.')}": torch.zeros(t.shape) for n, t in shapes.items() if n.startswith("vgg")}
    linear = {n: torch.ones(t.shape) for n, t in shapes.items() if n.startswith("lin")}
    torch.save(vgg | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg.pth")
    torch.save(linear, tmp_path / "lin.pth")
    sums = [hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in ("vgg.pth", "lin.pth")]
    files = LpipsFiles(vgg=tmp_path / "vgg.pth", vgg_sha256=sums[0], linear=tmp_path / "lin.pth", linear_sha256=sums[1])
    network = files.load(torch.device("cpu"))
    assert not any(p.requires_grad for p in network.parameters())
    assert float(network(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32))) == 0  # its features are all 0
    for wrong in ({"vgg_sha256": sums[1]}, {"vgg": tmp_path / "none.pth"}, {"linear": tmp_path / "vgg.pth"}):
        with pytest.raises(EffaceError) as error:
            replace(files, **wrong).load(torch.device("cpu"))
        assert "\n" not in str(error.value)
