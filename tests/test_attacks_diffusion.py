"""Attempts to have a person drawn again, on models that are known exactly."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from efface import registry
from efface.attacks.attempts import drawn
from efface.attacks.diffusion.guidance_inversion import GuidanceInversion
from efface.attacks.diffusion.halo import Halo
from efface.attacks.diffusion.img2img import Img2img
from efface.errors import EffaceError
from efface.metrics.generation import audit, measure
from efface.metrics.subjects import Subjects
from efface.models.latents import PatchLatents
from efface.progress import Quiet
from efface.targets.diffusion import DiffusionTarget
from efface.testing.drawing_contract import CHECKS, DRAWS, FORGET, Scene, people
from efface.testing.tiny_diffusion import tiny_target

SHORT = {
    "halo": {"cosines": (1.0, 0.5)},
    "img2img": {"strengths": (0.5,)},
    "guidance_inversion": {"candidates": 3, "tries": 1},
}
"""Budgets for which the checks need seconds."""


@pytest.mark.parametrize("name", registry.names("attacks.diffusion"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_contract(name, check):
    check(registry.get("attacks.diffusion", name)(**SHORT.get(name, {})), Scene.make())


@dataclass
class Album(DiffusionTarget):
    """A model that knows its people exactly: of each condition it knows (tokens) it predicts the noise with which that
    person's picture is left, of any other that of the nearest one; of nobody that of the mean picture."""

    tokens: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    latents: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def latent_shape(self):
        return tuple(self.latents.shape[1:])

    def noise(self, z, t, tokens):
        nearest = torch.cdist(tokens.flatten(1), self.tokens.flatten(1)).argmin(1)
        signal, sigma = self.parts.schedule.parts(t, z)
        return (z - signal * self.latents[nearest]) / sigma


@dataclass
class Student(Album):
    """An album that was trained to PIU's target and reached it: of the forgotten, and of them alone, it predicts
    ε(c_a) − η (ε(c_f) − ε(c_a))."""

    forgotten: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    anchors: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    eta: float = 1.0

    def noise(self, z, t, tokens):
        plain = super().noise(z, t, tokens)
        for own, anchor in zip(self.forgotten, self.anchors, strict=True):
            rows = (tokens - own).flatten(1).abs().amax(1) < 1e-4
            of_anchor = super().noise(z, t, anchor.expand_as(tokens))
            plain = torch.where(rows.view(-1, 1, 1, 1), of_anchor - self.eta * (plain - of_anchor), plain)
        return plain


@pytest.fixture(scope="module")
def scene():
    """Both, drawing the drawn people; the first forgotten one's anchor is a retained person, the other's is nobody."""
    tiny = tiny_target()
    subjects, _ = people(tiny)
    photos = subjects.photos.pixels
    latents = PatchLatents(16, 48).fit([photos.float() / 127.5 - 1])
    shown = [photos[subjects.given[p][0]] if p in subjects.given else photos[-1].flip(-1) for p in subjects.names]
    pictures = latents.encode(torch.stack(shown).float() / 127.5 - 1)
    parts = replace(tiny.parts, autoencoder=latents)
    tokens = torch.cat([tiny.unconditioned(1), tiny.condition(subjects.conditions)])
    pictures = torch.cat([pictures.mean(0, keepdim=True), pictures])
    given = (tiny.spec, parts, tiny.recogniser, None, tiny.device, None, tokens, pictures)
    replaced = [subjects.condition(subjects.anchors[p]) for p in FORGET]
    forgotten, anchors = (tiny.condition(torch.stack(e)) for e in ([subjects.condition(p) for p in FORGET], replaced))
    return Scene.of(Album(*given), Student(*given, forgotten, anchors))


def value(attack, sitter, number, group="forget"):
    (found,) = [o.people.values for o in attack.attempt(sitter) if (o.group, o.number) == (group, number)]
    return found


def test_the_student_has_forgotten_and_nobody_else(scene):
    subjects = scene.original.subjects
    before, after = (measure(s.target, s.judges, subjects, DRAWS, 0) for s in (scene.original, scene.unlearned))
    content = audit(subjects, {"original": before, "unlearned": after}, torch.Generator()).content
    for block in (content, content["judges"]["judge"]):
        original, unlearned = (block["models"][m] for m in ("original", "unlearned"))
        assert original["forget"]["acc"]["value"] == 1 and unlearned["forget"]["acc"]["value"] == 0
        assert unlearned["holdout"]["ism"]["value"] == original["holdout"]["ism"]["value"] > 0.5
        assert block["change"]["holdout"]["ism"] == 0 > -0.3 > block["change"]["forget"]["ism"]


def test_guidance_turned_round_brings_the_person_back(scene):
    attack = GuidanceInversion(candidates=16, etas=(1.0,))
    plain = scene.original.originals["recogniser"].by_person("forget", scene.original.originals["recogniser"].genuine)
    found = value(attack, scene.unlearned, "ism@anchor=known")
    assert found == pytest.approx(plain.values, abs=1e-3) and (found > 0.5).all()
    assert (value(attack, scene.unlearned, "acc@anchor=known") == 1).all()
    assert (value(attack, scene.unlearned, "acc@anchor=known,by=judge") == 1).all()
    # where nothing was turned, turning it leads away, as for the strangers
    assert (value(attack, scene.original, "acc@anchor=known") == 0).all()
    assert (value(attack, scene.unlearned, "acc@anchor=known", "control") == 0).all()


def test_the_search_finds_the_anchor_among_the_retained(scene):
    attack = GuidanceInversion(candidates=16, etas=(1.0,))
    known, retained = (value(attack, scene.unlearned, f"ism@anchor={how}") for how in ("known", "retained,tried=16"))
    assert retained[0] == known[0]  # the first person's anchor is retained
    assert retained[1] < known[1]  # the second one's is nobody, whom no candidate is
    sought = scene.unlearned.sought()
    own = torch.stack([scene.unlearned.subjects.condition(one.person) for one in sought])
    chosen = attack._searched(scene.unlearned, sought[0], own[0], attack._retained(scene.unlearned))
    assert torch.equal(chosen[0], sought[0].anchor) and chosen[1] == 1


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_another_strength_is_turned_round_by_its_own(scene, eta):
    sitter = replace(scene.unlearned, target=replace(scene.unlearned.target, eta=eta))
    plain = scene.original.originals["recogniser"]
    by = [GuidanceInversion(etas=e, candidates=1) for e in ((eta,), (1.0,), (1.0, eta))]
    right, wrong, searched = (value(attack, sitter, "ism@anchor=known") for attack in by)
    assert right == pytest.approx(plain.by_person("forget", plain.genuine).values, abs=1e-3)
    assert (right > wrong).all()
    assert (searched == right).all()


def test_inversion_is_the_formula():
    """On the tiny network: ((1 + η) ε(c_a) − ε(c_f)) / η, under guidance, written out step by step."""
    sitter = Scene.make().original
    target, (one, *_) = sitter.target, sitter.sought()
    own, eta, drawn_from = sitter.subjects.condition(one.person)[None], 0.7, []

    class Watched(DiffusionTarget):
        def draw_from(self, parts, z, **_):
            drawn_from.append(parts)
            return super().draw_from(parts, z)

    watched = Watched(target.spec, target.parts, target.recogniser)
    noise, t = sitter.noise([one.person], 1), torch.tensor([600])
    GuidanceInversion()._drawn(replace(sitter, target=watched), own, one.anchor[None], eta, noise)
    of_person, of_anchor, of_nobody = (
        target.noise(noise, t, tokens)
        for tokens in (target.condition(own), target.condition(one.anchor[None]), target.unconditioned(1))
    )
    person = ((1 + eta) * of_anchor - of_person) / eta
    wanted = of_nobody + target.spec.guidance * (person - of_nobody)
    assert torch.allclose(target.summed(drawn_from[0])(noise, t), wanted, atol=1e-4)
    assert not torch.allclose(wanted, target.guided(target.condition(own))(noise, t), atol=1e-3)


def test_the_halo_of_a_student_who_forgot_one_point(scene):
    attack = Halo(cosines=(1.0, 0.95, 0.2))
    at, beside, far = (value(attack, scene.unlearned, f"acc@cosine={c}") for c in (1, 0.95, 0.2))
    assert (at == 0).all() and (beside == 1).all()  # forgotten at one point alone
    control = [value(attack, scene.unlearned, f"acc@cosine={c}", "control") for c in (1, 0.95, 0.2)]
    assert (control[0] == 1).all() and (control[1] == 1).all() and control[2].mean() < 1 and far.mean() < 1


def test_halo_conditions_lie_at_the_cosine():
    seen = []
    sitter = Scene.make().original

    class Watched(DiffusionTarget):
        def condition(self, embeddings):
            seen.append(embeddings)
            return super().condition(embeddings)

    t = sitter.target
    watched = Watched(t.spec, t.parts, t.recogniser, t.detector, t.device)
    tuple(Halo(cosines=(1.0, 0.3)).attempt(replace(sitter, target=watched)))
    own = torch.stack([sitter.subjects.condition(one.person) for one in sitter.sought()]).repeat_interleave(DRAWS, 0)
    for cosine, conditions in zip((1.0, 0.3), seen, strict=True):
        assert torch.allclose(conditions.norm(dim=1), torch.ones(len(own)), atol=1e-5)
        assert torch.allclose((conditions * own).sum(1), torch.full((len(own),), cosine), atol=1e-5)


def test_from_a_photo_little_noise_gives_the_photo_whoever_is_in_it(scene):
    """At one step of ten the student's wrong prediction counts least; from noise it is all there is."""
    attack = Img2img(strengths=(0.1, 1.0))
    near, full = (value(attack, scene.unlearned, f"ism@strength={s:g}") for s in (0.1, 1.0))
    plain = measure(scene.unlearned.target, {}, scene.unlearned.subjects, DRAWS, 0)
    assert (near > full - 1e-3).all()  # no difference where both are nobody
    mine = [plain.embeddings["recogniser"][plain.of(p)] for p in FORGET]
    gallery = scene.unlearned.subjects
    wanted = [float((e @ gallery.templates("recogniser")[gallery.gallery.index(p)]).mean())
              for p, e in zip(FORGET, mine, strict=True)]  # fmt: skip
    assert full == pytest.approx(wanted, abs=2e-2)  # strength 1 is plain drawing, from noise of the last timestep
    control = value(attack, scene.unlearned, "ism@strength=0.1", "control")
    assert (control > 0.5).all()


def test_from_a_photo_nobody_is_asked_for_by_nobodys_tokens_alone(scene):
    """What the photo gives of itself: the same for both models, which differ only at the forgotten's tokens."""
    asked = []

    class Watched(DiffusionTarget):
        def draw_from(self, parts, z, **given):
            asked.append((parts, z))
            return super().draw_from(parts, z, **given)

    tiny = Scene.make().original
    t = tiny.target
    names = [o.number for o in Img2img(strengths=(0.5,)).attempt(
        replace(tiny, target=Watched(t.spec, t.parts, t.recogniser)))]  # fmt: skip
    (_, noised), ([(weight, tokens)], same) = asked
    assert weight == 1 and torch.equal(tokens, t.unconditioned(len(noised))) and torch.equal(noised, same)
    assert {"ism@strength=0.5", "ism@strength=0.5,tokens=nobody", "tar@strength=0.5,tokens=nobody,far=1e-2"} <= {*names}
    attack = Img2img(strengths=(0.9,))
    for group in ("forget", "control"):
        numbers = [f"ism@strength=0.9{whom}" for whom in ("", ",tokens=nobody")]
        before, after = ([value(attack, s, n, group) for n in numbers] for s in (scene.original, scene.unlearned))
        assert (before[0] > before[1]).all() and before[1] == pytest.approx(after[1], abs=1e-6)


def test_attacks_in_the_audit(scene):
    subjects = scene.original.subjects
    before, after = (measure(s.target, s.judges, subjects, DRAWS, 0) for s in (scene.original, scene.unlearned))
    measured = audit(subjects, {"original": before, "unlearned": after}, torch.Generator())
    sitters = {"original": scene.original, "unlearned": scene.unlearned}
    attack = Halo(cosines=(1.0,))
    found = drawn(measured, [attack], sitters, torch.Generator(), Quiet())
    numbers = found.content["attacks"]["halo"]
    assert numbers["forget"]["ism@cosine=1"]["original"]["value"] == pytest.approx(
        np.mean(value(attack, scene.original, "ism@cosine=1"))
    )
    assert set(numbers) == {"forget", "control"} and set(numbers["control"]["ism@cosine=1"]) == set(sitters)
    assert len(found.people) > len(measured.people) and found.content["models"] == measured.content["models"]


def test_too_few_strangers_are_refused(scene):
    subjects = scene.original.subjects
    few = Subjects(**{
        name: getattr(subjects, name) for name in subjects.__dataclass_fields__ if not name.startswith("_")
    } | {"groups": {**subjects.groups, "control": ()}})  # fmt: skip
    with pytest.raises(EffaceError, match="found 0 held-out people"):
        tuple(Halo().attempt(replace(scene.original, subjects=few)))
