"""PIU against its formulas written out, row by row, on a tiny model; the pass that teacher and student share."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from diffusion_layouts import SIZE, write_ip_adapter
from diffusion_models import tiny_faces, tiny_request, tiny_target
from efface import training
from efface.errors import EffaceError
from efface.methods.conditions import DrawRequest
from efface.methods.diffusion.piu import Piu, beyond_anchor, mixture
from efface.methods.scopes import SURGICAL, block_of, cross_attention_layers, scope_names, train_only
from efface.methods.teaching import Lesson
from efface.models.diffusion.shipped import unet_config
from efface.models.unet_tail import SharedStart, blocks_before
from efface.targets.diffusion import DiffusionTarget
from efface.testing.tiny_diffusion import tiny_request as request_of

SCOPES = ("surgical", "cross_attention", "full", ("mid_block",), ("up_blocks.3",), ("down_blocks.1", "up_blocks.2"))


class Stop(Exception):
    """The training is not wanted."""


def first_step(monkeypatch, method, request, target=None):
    """(batch, loss, lesson) as PIU hands them to the training loop."""
    caught = {}

    def fit(module, draw, loss, **given):
        caught.update(batch=draw(given["generator"]), loss=loss, lesson=module, optimiser=given["optimiser"])
        raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(training, "fit", fit)
        method.unlearn(target or tiny_target(), request, torch.Generator().manual_seed(0))
    return caught


@torch.no_grad()
def shaken(lesson, generator):
    """The student after it has learned something."""
    for parameter in lesson.learned:
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def noise(target, z, t, embedding):
    return target.noise(z[None], t[None], target.condition(embedding[None]))[0]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_the_loss_and_its_gradient_are_those_of_the_formulas(monkeypatch, generator, scope):
    method = Piu(batch=2, draws=2, retained=3, eta=1.5, retain_weight=7.0, scope=scope)
    request, teacher = tiny_request(2), tiny_target()
    found = first_step(monkeypatch, method, request)
    lesson = found["lesson"]
    shaken(lesson, generator)
    terms = found["loss"](*found["batch"])
    gradients = torch.autograd.grad(sum(terms.values()), list(lesson.learned))

    z, t, embeddings, people = found["batch"]
    assert (people >= 0).tolist() == [True] * 4 + [False] * 3
    student = lesson.result()
    trained = train_only(student.parts.unet, scope_names(student.parts.unet, scope))
    forget, retain = [], []
    for i in range(7):
        learnt = noise(student, z[i], t[i], embeddings[i])
        with torch.no_grad():
            own = noise(teacher, z[i], t[i], embeddings[i])
            if people[i] >= 0:
                anchor = noise(teacher, z[i], t[i], request.anchors[people[i]])
        if people[i] >= 0:
            forget.append(((learnt - (anchor - 1.5 * (own - anchor))) ** 2).mean())
        else:
            retain.append(((learnt - own) ** 2).mean())
    slow = {"forget": sum(forget) / 4, "retain": 7.0 * sum(retain) / 3}
    for name, value in slow.items():
        assert float(terms[name].detach()) == pytest.approx(float(value.detach()), rel=1e-4)
    expected = torch.autograd.grad(sum(slow.values()), trained)
    for one, other in zip(gradients, expected, strict=True):
        assert float((one - other).norm()) < 5e-3 * float(other.norm()) + 1e-6


def test_the_target_lies_beyond_the_anchor(generator):
    own, anchor = torch.randn(2, 3, 4, 2, 2, generator=generator)
    assert torch.equal(beyond_anchor(own, anchor, 0.0), anchor)
    assert torch.allclose(beyond_anchor(own, anchor, 1.0), 2 * anchor - own, atol=1e-6)


def test_at_first_nothing_is_lost_on_the_retained(monkeypatch):
    found = first_step(monkeypatch, Piu(batch=2, retained=4), tiny_request())
    assert float(found["loss"](*found["batch"])["retain"].detach()) < 1e-10


def test_the_batch_and_the_optimiser_are_the_papers(monkeypatch):
    found = first_step(monkeypatch, Piu(), tiny_request())
    z, t, _, people = found["batch"]
    assert len(z) == 64 and int((people == 0).sum()) == 32 and Piu().steps == 400
    group = found["optimiser"].param_groups[0]
    assert isinstance(found["optimiser"], torch.optim.AdamW)
    assert (group["lr"], group["weight_decay"], group["betas"]) == (1e-4, 0.01, (0.9, 0.999))
    trained = {id(p) for p in group["params"]}
    unet = tiny_target().parts.unet
    assert len(trained) == len(scope_names(unet, "surgical"))
    assert len(set(t.tolist())) > 40  # each row has a timestep of its own


def test_without_photos_the_noised_latent_is_unit_noise_at_every_timestep(monkeypatch):
    found = first_step(monkeypatch, Piu(batch=400, draws=2, retained=800), tiny_request())
    z, t, *_ = found["batch"]
    for part in (t < 200, t > 800, t >= 0):
        values = z[part].flatten()
        assert abs(float(values.mean())) < 5 * len(values) ** -0.5
        assert float(values.var()) == pytest.approx(1, abs=5 * (2 / len(values)) ** 0.5)


def test_with_photos_a_row_has_a_photo_of_the_person_it_names(monkeypatch):
    request, target = tiny_request(2), tiny_target()
    found = first_step(monkeypatch, Piu(latents="real", batch=8, retained=6, conditions="individual"), request)
    z, t, embeddings, people = found["batch"]
    latents = target.encode(torch.cat([request.forget.pictures, request.retain.pictures]))
    whose = torch.cat([request.forget.embeddings, request.retain.embeddings])
    signal, sigma = target.parts.schedule.parts(t, z)
    for i in range(len(z)):
        photo = int((whose @ embeddings[i]).argmax())
        assert torch.allclose(whose[photo], embeddings[i], atol=1e-5)
        assert (request.forget.labels()[photo] == people[i]) if people[i] >= 0 else photo >= len(request.forget)
        left = (z[i] - signal[i] * latents[photo]) / sigma[i]  # the noise, if that photo is in it
        if sigma[i] > 0.1:
            assert 0.8 < float(left.std()) < 1.2


@pytest.mark.parametrize("draws", [1, 3])
def test_each_condition_is_there_as_often_as_it_is_drawn(monkeypatch, draws):
    found = first_step(monkeypatch, Piu(batch=3, draws=draws, retained=2), tiny_request())
    embeddings, z = found["batch"][2][: 3 * draws], found["batch"][0][: 3 * draws]
    assert len(embeddings.unique(dim=0)) == 3 and len(z.flatten(1).unique(dim=0)) == 3 * draws
    assert torch.equal(embeddings, embeddings[::draws].repeat_interleave(draws, dim=0))


def basis_request(photos):
    """A person whose photos' embeddings are orthogonal, so that a mixture shows its weights."""
    faces, target = tiny_faces(), tiny_target()
    request = request_of(faces, 1)
    forget = replace(request.forget.take([0] * photos), embeddings=torch.eye(target.spec.embedding_size)[:photos])
    return DrawRequest(forget, request.retain, request.anchors)


@pytest.mark.parametrize(("conditions", "expected"), [("dirichlet", 3), ("individual", 1), ("centroid", 5)])
def test_conditions_are_unit_and_of_distinct_photos(generator, conditions, expected):
    method = Piu(conditions=conditions, batch=64)
    photos, people, embeddings = method._forgotten(basis_request(5), generator)
    assert embeddings.shape == (128, 128) and torch.equal(people, torch.zeros(128, dtype=torch.long))
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(128), atol=1e-5)
    assert ((embeddings > 1e-6).sum(1) == expected).all() and not (embeddings < 0).any()
    assert (embeddings[torch.arange(128), photos] > 0).all()  # the photo is one of the mixed
    used = (embeddings > 0).any(0)[:5]
    assert used.all()


def test_a_person_with_two_photos_has_two_mixed(generator):
    embeddings = Piu(batch=32)._forgotten(basis_request(2), generator)[2]
    assert ((embeddings > 0).sum(1) == 2).all()


def test_mixture_weights_are_dirichlets(generator):
    """Dirichlet(1, 1, 1): mean 1/3, variance 1/18, and the share of largest weights above 1/2 is 3/4."""
    mixed = torch.stack([mixture(torch.eye(3), generator) for _ in range(4000)])
    weights = mixed / mixed.sum(1, keepdim=True)
    assert weights.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert weights.var(0).tolist() == pytest.approx([1 / 18] * 3, abs=0.005)
    assert float((weights.amax(1) > 0.5).float().mean()) == pytest.approx(0.75, abs=0.03)


def way(target: DiffusionTarget, result: DiffusionTarget, request: DrawRequest, person: int = 0) -> float:
    """How far the noise predicted for a person went, in distances to what is predicted for the anchor."""
    generator = torch.Generator().manual_seed(5)
    z, t = target.draw(48, generator), torch.randint(1000, (48,), generator=generator)
    own = target.condition(request.forget.centroids()[person].expand(48, -1))
    anchor = target.condition(request.anchors[person].expand(48, -1))
    with torch.no_grad():
        before, goal, after = target.noise(z, t, own), target.noise(z, t, anchor), result.noise(z, t, own)
    return float(((after - before) * (goal - before)).sum() / (goal - before).square().sum())


QUICK = {"steps": 15, "learning_rate": 1e-2, "batch": 8, "retained": 8, "retain_weight": 1.0}


def test_negative_guidance_goes_beyond_the_anchor():
    target, request = tiny_target(), tiny_request()
    plain, beyond = (
        way(target, Piu(eta=eta, **QUICK).unlearn(target, request, torch.Generator().manual_seed(0)), request)
        for eta in (0.0, 1.0)
    )
    assert plain > 0.15 and beyond > 1.25 * plain


def test_people_one_after_another_and_at_once():
    target, both = tiny_target(), tiny_request(2)
    result = target
    for person in both.forget.people():
        rows = [i for i, name in enumerate(both.forget.identities) if name == person]
        index = both.forget.people().index(person)
        single = DrawRequest(both.forget.take(rows), both.retain, both.anchors[index : index + 1])
        result = Piu(**QUICK).unlearn(result, single, torch.Generator().manual_seed(0))
    at_once = Piu(**QUICK).unlearn(target, both, torch.Generator().manual_seed(0))
    after = [way(target, result, both, person) for person in (0, 1)]
    together = [way(target, at_once, both, person) for person in (0, 1)]
    assert min(together) > 0.1
    assert after[1] > 0.1  # the second is gone
    assert after[0] > 0.05  # and the first has not come back altogether, although nothing held it


def test_checkpointing_learns_the_same():
    few = {"steps": 3, "batch": 4, "retained": 4, "learning_rate": 1e-3}
    target, request = tiny_target(), tiny_request()
    plain, other = (
        Piu(**few, checkpointing=given).unlearn(target, request, torch.Generator().manual_seed(0))
        for given in (False, True)
    )
    for one, two in zip(plain.parts.unet.parameters(), other.parts.unet.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_checkpointing_keeps_fewer_numbers(generator):
    """What the backward pass is to be given: the inputs of the layers, not what they hold inside."""
    target = tiny_target()
    kept = []
    for checkpointing in (False, True):
        lesson, sizes = Lesson(target, "surgical", checkpointing=checkpointing), []
        z, t, tokens = target.draw(4, generator), torch.arange(4), target.condition(tiny_faces().embeddings[:4])
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: (s.append(x.numel()), x)[1], lambda x: x):
            lesson.both(z, t, tokens, learning=4)
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_bf16_passes_are_nearly_those_of_fp32(generator):
    target = tiny_target()
    z, t, tokens = target.draw(8, generator), torch.arange(100, 900, 100), target.condition(tiny_faces().embeddings[:8])
    exact, rounded = (Lesson(target, "surgical", precision=p).both(z, t, tokens, learning=4) for p in ("fp32", "bf16"))
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32 and 0 < float((one - other).std() / one.std()) < 0.03


def test_a_retained_term_without_anybody_retained_is_refused(generator):
    request = tiny_request()
    nobody = DrawRequest(request.forget, request.retain.take([]), request.anchors)
    with pytest.raises(EffaceError, match="retain: found nobody, expected retained people; or set retain_weight to 0"):
        Piu().unlearn(tiny_target(), nobody, generator)
    Piu(retain_weight=0.0, steps=1, batch=2).unlearn(tiny_target(), nobody, generator)


@pytest.mark.parametrize("scope", [("down_blocks.3",), ("up_block",), ("mid_block", "elsewhere")])
def test_a_scope_without_cross_attention_is_refused(scope):
    with pytest.raises(EffaceError, match=r"found no cross-attention in '.*', expected blocks among: down_blocks\.0"):
        scope_names(tiny_target().parts.unet, scope)


def test_scopes_are_nested_and_blocks_are_named():
    unet = tiny_target().parts.unet
    surgical, crossing, full = (set(scope_names(unet, s)) for s in ("surgical", "cross_attention", "full"))
    assert surgical < crossing < full == {name for name, _ in unet.named_parameters()}
    assert surgical == set(scope_names(unet, SURGICAL)) and len(cross_attention_layers(unet)) == 16
    assert {block_of(name) for name in surgical} == set(SURGICAL)
    per_layer = {name.partition(".attn2.")[2] for name in crossing}
    assert per_layer == {"to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "to_out.0.bias"}


BLOCKS = ("conv_in", *(f"down_blocks.{i}" for i in range(4)), "mid_block", *(f"up_blocks.{i}" for i in range(4)))


@pytest.mark.parametrize(
    ("trained", "count"),
    [
        (["down_blocks.2.attentions.0.x", "up_blocks.1.y"], 3),
        (["mid_block.attentions.0.x"], 5),
        (["up_blocks.3.attentions.0.x"], 9),
        (["conv_out.weight"], 11),
        (["conv_in.weight"], 0),
        (["time_embedding.linear_1.weight", "up_blocks.3.x"], 0),
        (["down_blocks.10.x"], 0),
    ],
)
def test_the_student_repeats_nothing_before_its_first_trained_block(trained, count):
    expected = (*BLOCKS, "conv_norm_out")[:count]
    assert blocks_before(tiny_target().parts.unet, trained) == expected


def test_the_shared_start_is_the_teachers_and_is_let_go(generator):
    target = tiny_target()
    student = target.clone()
    names = scope_names(student.parts.unet, "surgical")
    shared = SharedStart(target.parts.unet, student.parts.unet, names)
    calls = []
    handles = [
        model.parts.unet.get_submodule("down_blocks.1").register_forward_hook(lambda *_, m=i: calls.append(m))
        for i, model in enumerate((target, student))
    ]
    z, t = target.draw(6, generator), torch.arange(6)
    tokens = target.condition(tiny_faces().embeddings[:6])
    taught, learnt = shared.both(z, t, tokens, learning=4)
    assert calls == [0]  # the teacher's alone
    for handle in handles:
        handle.remove()
    assert torch.allclose(learnt, taught[:4], atol=1e-5)
    assert all(replay.made is None for replay in shared._replays.values())
    assert not any(m._forward_hooks for m in target.parts.unet.modules())


@pytest.mark.parametrize("lora", [True, False])
def test_decoupled_attention_is_learned_too(tmp_path, generator, lora):
    target = DiffusionTarget.load("ip_adapter", write_ip_adapter(tmp_path / "ip", lora), size=SIZE)
    lesson = Lesson(target, "surgical")
    shaken(lesson, generator)
    tokens = target.condition(F.normalize(torch.randn(3, 512, generator=generator), dim=1))
    z, t = target.draw(3, generator), torch.tensor([3, 500, 900])
    taught, learnt = lesson.both(z, t, tokens, learning=2)
    gradients = torch.autograd.grad(learnt.square().sum(), list(lesson.learned))
    student = lesson.result()
    names = scope_names(student.parts.unet, "surgical")
    trained = train_only(student.parts.unet, names)
    whole = student.noise(z[:2], t[:2], tokens[:2])
    assert torch.allclose(learnt, whole, atol=1e-4) and not torch.allclose(learnt, taught[:2], atol=1e-2)
    halves = {name for name in names if "to_k_ip" in name or "to_v_ip" in name}
    assert halves
    for name, one, other in zip(names, gradients, torch.autograd.grad(whole.square().sum(), trained), strict=True):
        assert float((one - other).norm()) < 5e-3 * float(other.norm()) + 1e-6, name
        assert name not in halves or float(one.abs().max()) > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_the_benchmark_of_a_step_shows_equal_losses(monkeypatch):
    """The table of the full size, on a small network: a process for each row, Linux only."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    step = importlib.import_module("benchmarks.diffusion_step")
    monkeypatch.delitem(step.STEPS, "PIU, bf16")
    size = step.Size(unet_config((16, 16, 16, 16), 4, 8, 16), (4, 16), 2, 2)
    _, _, *lines, said = step.table(size, {"PIU": 3.5})
    naive, ours = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert naive[0::2][:2] == ["naive", "1.00"] and ours[:2] == ["PIU", "3.50"]
    assert float(said.split()[-4]) < 1e-4
    for one, other in zip(naive[4:], ours[4:], strict=True):
        assert 0 < float(one) == pytest.approx(float(other), rel=1e-2)  # of which six decimals are shown
