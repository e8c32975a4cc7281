"""Inversion by optimisation and pivotal tuning, on tiny generators."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE
from efface.models import official
from efface.models.encoder import scaled
from efface.targets.inversion import Shots, optimised, tuned
from efface.targets.perceptual import FeatureDistance
from efface.testing.tiny_gan import tiny_target

KINDS = ("eg3d", "stylegan2")


def shots(target, people=(0, 1), seed=0, views=1):
    """What the target itself draws of latents of people who never existed, and these latents."""
    w = target.sample(max(people) + 1, torch.Generator().manual_seed(seed))
    who = torch.tensor([p for p in people for _ in range(views)])
    cameras = target.camera(torch.linspace(-0.3, 0.3, len(who)))
    return Shots(target.draw(w[who], cameras), cameras, who), w


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_latent_is_found_that_draws_the_photo(kind, space):
    target = tiny_target(kind)
    seen, _ = shots(target, views=2)
    before = {n: t.clone() for n, t in target.parts.generator.state_dict().items()}
    _, start = optimised(target, seen, steps=0)
    w, loss = optimised(target, seen, space=space, steps=20, rate=0.1)
    assert (loss < 0.7 * start).all(), (start, loss)
    assert w.shape == (2, *target.w_average.shape) and not w.requires_grad
    assert (space == "w") == bool((w == w[:, :1]).all())
    state = target.parts.generator.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in before.items())
    assert all(p.grad is None and not p.requires_grad for p in target.parts.generator.parameters())


def test_w_plus_comes_nearer_than_w():
    target = tiny_target()
    mixed = target.sample(2, torch.Generator().manual_seed(3))
    mixed[0, 3:] = mixed[1, 3:]  # no single row draws it
    camera = target.camera()
    seen = Shots(target.draw(mixed[:1], camera), camera, torch.tensor([0]))
    (wide,), (narrow,) = (optimised(target, seen, space=s, steps=25, rate=0.1)[1] for s in ("w+", "w"))
    assert wide < narrow


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_that_of_the_slow_formula(kind):
    target = tiny_target(kind)
    seen, _ = shots(target, (0, 0, 1))
    metric = FeatureDistance(target.recogniser)
    photos = scaled(seen.pixels, target.size)

    def slow(w):
        """Photo by photo."""
        sums, counts = [torch.zeros(()), torch.zeros(())], [0, 0]
        for photo, camera, who in zip(photos, seen.cameras, seen.people.tolist(), strict=True):
            drawn = target.synthesize(w[who][None], camera[None])
            term = 0.7 * metric(drawn, photo[None])[0] + 0.3 * (drawn[0] - photo).square().mean()
            sums[who], counts[who] = sums[who] + term, counts[who] + 1
        return torch.stack([s / c for s, c in zip(sums, counts, strict=True)])

    w = target.w_average.repeat(2, 1, 1).requires_grad_(True)
    expected = slow(w)
    _, loss = optimised(target, seen, steps=0, perceptual=0.7, pixels=0.3)
    assert torch.allclose(loss, expected, atol=1e-6)
    (slope,) = torch.autograd.grad(expected.sum(), w)
    # Adam's first step is rate · gradient / (|gradient| + ε)
    after = w.detach() - 0.01 * slope / (slope.abs() + 1e-8)
    found, loss = optimised(target, seen, steps=1, rate=0.01, perceptual=0.7, pixels=0.3)
    assert torch.allclose(found, after, atol=1e-4)
    assert torch.allclose(loss, slow(found), atol=1e-6)


def test_nobodys_latent_depends_on_the_others(monkeypatch):
    target = tiny_target()
    seen, _ = shots(target, (0, 1, 2))
    together, _ = optimised(target, seen, steps=3)
    monkeypatch.setattr("efface.targets.inversion.TOGETHER", 1)
    apart, losses = optimised(target, seen, steps=3)
    assert torch.allclose(together, apart, atol=1e-4) and len(losses) == 3
    alone, _ = optimised(target, seen.of(torch.tensor([2])), steps=3)
    assert torch.allclose(alone[0], apart[2], atol=1e-6)


def test_it_begins_where_it_is_told():
    target = tiny_target()
    seen, w = shots(target)
    found, loss = optimised(target, seen, start=w, steps=0)
    average, other = optimised(target, seen, steps=0)
    assert torch.equal(found, w) and torch.equal(average, target.w_average.expand_as(w)) and (loss < other).all()
    narrow, _ = optimised(target, seen, start=w, steps=0, space="w")
    assert torch.equal(narrow, w[:, :1].expand_as(w))


@pytest.mark.parametrize("kind", KINDS)
def test_pivotal_tuning_draws_the_photo_at_the_pivot(kind):
    target = tiny_target(kind)
    seen, w = shots(target, seed=5)
    pivots = target.w_average.repeat(2, 1, 1) + 0.1 * (w - target.w_average)
    (_, before), state = optimised(target, seen, start=pivots, steps=0), target.parts.generator.state_dict()
    kept = {n: t.clone() for n, t in state.items()}
    twin = tuned(target, seen, pivots, steps=15, rate=3e-3)
    _, after = optimised(twin, seen, start=pivots, steps=0)
    assert after.mean() < 0.8 * before.mean()
    changed = twin.changes(target)
    assert changed and not any("mapping" in name for name in changed)
    assert all(torch.equal(t, state[n]) for n, t in kept.items())
    assert all(p.grad is None and not p.requires_grad for p in twin.parts.generator.parameters())
    assert torch.equal(twin.w_average, target.w_average)
    assert not tuned(target, seen, pivots, steps=0).changes(target)


def test_photos_for_a_generator_are_framed_where_it_draws_faces():
    target = tiny_target()
    place = target.spec.window
    assert target.framing == (128, place.left, place.top, place.side)
    bare = replace(target, parts=replace(target.parts, encoder=None))
    size, left, top, side = bare.framing
    # the tiny model's average face lies in the window of a photo, here in a picture of another size
    assert (size, left, top, side) == (32, 2, 3, 28)
    bare.parts.face = official.face("eg3d")
    size, left, top, side = bare.framing
    scale = side / 112
    framed = (TEMPLATE + 0.5) * scale + [left, top] - 0.5
    assert np.abs(framed - bare.five(bare.camera())[0]).max() < 1.5  # a person is no template


def test_bad_input_is_one_line():
    target = tiny_target()
    seen, w = shots(target)
    camera = target.camera()
    for match, make in {
        "found photos of torch.float32": lambda: Shots(seen.pixels.float(), seen.cameras, seen.people),
        r"found photos of shape \[2, 32, 32\]": lambda: Shots(seen.pixels[:, 0], seen.cameras, seen.people),
        r"found cameras of shape \[1, 25\]": lambda: Shots(seen.pixels, camera, seen.people),
        r"of the people \[0, 2\], expected some of each": lambda: Shots(seen.pixels, seen.cameras, 2 * seen.people),
        r"of the people \[\], expected": lambda: Shots(seen.pixels[:0], seen.cameras[:0], seen.people[:0]),
        r"found w of shape \[1, 16\]": lambda: optimised(target, seen, start=w[:1, 0]),
        r"found start of shape \[1,": lambda: optimised(target, seen, start=w[:1]),
        "found NaN or infinity": lambda: tuned(target, seen, w * math.nan),
        "camera 0: found matrices": lambda: optimised(target, Shots(seen.pixels, -seen.cameras.abs(), seen.people)),
    }.items():
        with pytest.raises(EffaceError, match=match) as caught:
            make()
        assert "\n" not in str(caught.value)
