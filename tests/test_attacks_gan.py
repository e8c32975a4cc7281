"""Attempts to have a tiny face generator rebuild a forgotten person."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from efface import registry
from efface.attacks.attack import Attack
from efface.attacks.gan.latent_optimisation import LatentOptimisation
from efface.attacks.gan.pivotal_retuning import PivotalRetuning
from efface.attacks.gan.radius_sweep import RadiusSweep
from efface.attacks.rebuilding import Rebuilder
from efface.errors import EffaceError
from efface.metrics.metric import audited_metrics
from efface.metrics.rebuilding import Rebuilt, measure
from efface.metrics.subjects import OWN
from efface.targets.inversion import optimised, tuned
from efface.testing.gan_scene import CHECKS, FORGET, Scene, outcomes

QUICK: dict[str, Attack] = {
    "latent_optimisation": LatentOptimisation(steps=2, starts=1, learning_rate=0.05),
    "radius_sweep": RadiusSweep(radii=(0.0, 0.5), draws=2),
    "pivotal_retuning": PivotalRetuning(photos=(1, 3), pivot_steps=2, steps=2, learning_rate=1e-3),
}


def test_every_attack_is_tried():
    assert set(registry.names("attacks.gan")) == set(QUICK)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(name, check):
    check(QUICK[name], Scene.make("eg3d"))


@pytest.mark.parametrize("name", QUICK)
def test_a_generator_of_pictures_is_attacked_too(name):
    scene = Scene.make("stylegan2")
    found = outcomes(QUICK[name], scene.unlearned)
    assert all(o.people.trials.max() <= 2 for o in found)  # one view each


def values(attack: Attack, subject: Rebuilder, number: str, group: str = "forget") -> np.ndarray:
    (found,) = [o.people.values for o in outcomes(attack, subject) if (o.group, o.number) == (group, number)]
    return found


def test_at_radius_0_it_is_the_persons_own_latent():
    scene = Scene.make("eg3d")
    model = Rebuilt(scene.sources.subjects, measure(scene.unlearned.target, {}, scene.sources), OWN,
                    scene.unlearned.originals[OWN])  # fmt: skip
    for number in ("id_photo", "acc", "tar@far=1e-2"):
        kept = audited_metrics("metrics.gan")[number].measure(model, "forget").values
        name = {"tar@far=1e-2": "tar@radius=0,far=1e-2"}.get(number, f"{number}@radius=0")
        assert values(QUICK["radius_sweep"], scene.unlearned, name) == pytest.approx(kept, abs=2e-6)
    near, far = (values(QUICK["radius_sweep"], scene.unlearned, f"id_photo@radius={r}") for r in ("0", "0.5"))
    assert not np.allclose(near, far)


def test_the_radius_is_in_mean_distances_from_the_average():
    subject = Scene.make("eg3d").unlearned
    people = subject.sought()
    (first, own), (second, moved) = RadiusSweep(radii=(0.0, 0.25), draws=3).around(subject)
    assert (first, second) == (0.0, 0.25)
    mean = np.mean([float((w - subject.target.w_average).norm()) for w in subject.sources.samples])
    away = [float((a - b).norm()) for a, b in zip(own, moved, strict=True)]
    assert away == pytest.approx([0.25 * mean] * (3 * len(people)), rel=1e-4)
    assert torch.equal(own[::3], subject.sources.of(people))


def test_the_search_begins_anywhere_and_the_nearest_is_taken():
    subject = Scene.make("eg3d").unlearned
    attack = QUICK["latent_optimisation"]
    assert isinstance(attack, LatentOptimisation)
    shots = subject.shots(subject.sought(), 1)
    begins = [
        subject.target.w_average.expand(4, -1, -1),
        subject.sources.of(subject.sought()),
        subject.target.sample(1, subject.generator("starts")).expand(4, -1, -1),
    ]
    found = [optimised(subject.target, shots, start=b, steps=2, rate=0.05) for b in begins]
    for person in range(2):
        nearest = min(range(3), key=lambda i: float(found[i][1][person]))
        name = ("average", "own", "other1")[nearest]
        best = values(attack, subject, "id_photo@start=best")[person]
        assert best == values(attack, subject, f"id_photo@start={name}")[person]


def test_each_person_is_tuned_alone_on_photos_that_do_not_judge():
    scene = Scene.make("eg3d")
    subject = scene.unlearned
    people = subject.sought()
    assert people[:2] == FORGET and set(people[2:]) <= set(scene.split.holdout)
    shots = subject.shots(people, 3)
    assert torch.bincount(shots.people).tolist() == [3] * 4
    photos = scene.sources.subjects.photos.pixels
    judging = {i for p in people for i in scene.split.unseen[p]}
    assert not any(torch.equal(a, photos[i]) for a in shots.pixels for i in judging)
    assert torch.equal(subject.shots(people, 1).pixels[0], photos[scene.split.seen[FORGET[0]][0]])
    # the last person, alone
    alone = subject.shots(people[3:], 3)
    pivot, _ = optimised(subject.target, alone, space="w", steps=2)
    twin = tuned(subject.target, alone, pivot, steps=2, rate=1e-3)
    faces, _ = twin.recognise(subject.views(pivot, twin)[0], subject.target.camera(torch.linspace(-0.7854, 0.7854, 7)))
    template = torch.from_numpy(scene.sources.subjects.templates(OWN))[scene.sources.subjects.gallery.index(people[3])]
    found = values(QUICK["pivotal_retuning"], subject, "id_photo@photos=3", "control")[1]
    assert found == pytest.approx(float((faces @ template).mean()), abs=1e-3)


def test_too_few_people_are_one_line():
    subject = Scene.make("eg3d").unlearned
    subjects = subject.sources.subjects
    few = replace(subjects, groups={**subjects.groups, "control": subjects.groups["control"][:1]})
    with pytest.raises(EffaceError, match=r"attacks: found 1 held-out people .* each of the 2 forgotten"):
        replace(subject, sources=replace(subject.sources, subjects=few)).sought()
    with pytest.raises(EffaceError, match=r"radius_sweep: found 12 people who never existed, expected at least 13"):
        list(RadiusSweep(draws=13).attempt(subject))
