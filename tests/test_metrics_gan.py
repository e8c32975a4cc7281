"""The numbers of a face generator, against slow formulas, on a tiny generator and photos of the pack."""

import itertools
import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from efface.errors import EffaceError
from efface.metrics import perception
from efface.metrics.distances import frechet_distance, kernel_distance
from efface.metrics.drawings import Drawings
from efface.metrics.metric import audited_metrics
from efface.metrics.rebuilding import (
    GROUPS,
    SAMPLES,
    YAWS,
    Drawn,
    Rebuilt,
    audit,
    measure,
    photo_of,
    photographed,
)
from efface.metrics.subjects import OWN, Subjects
from efface.targets.perceptual import FeatureDistance
from efface.testing.gan_scene import FORGET, Scene
from efface.testing.tiny_gan import tiny_target


@lru_cache(maxsize=2)
def scene(kind="eg3d") -> Scene:
    return Scene.make(kind)


@lru_cache(maxsize=2)
def drawn(kind="eg3d") -> dict[str, Drawn]:
    one = scene(kind)
    return {name: measure(s.target, s.judges, one.sources, None) for name, s in
            (("original", one.original), ("unlearned", one.unlearned))}  # fmt: skip


def rebuilt(scorer=OWN, kind="eg3d") -> tuple[Rebuilt, Rebuilt]:
    subjects = scene(kind).sources.subjects
    original = Rebuilt(subjects, drawn(kind)["original"], scorer)
    return original, Rebuilt(subjects, drawn(kind)["unlearned"], scorer, original)


def metric(key: str):
    return audited_metrics("metrics.gan")[key]


def rows_of(subjects: Subjects, group: str, person: str) -> list[tuple[int, str]]:
    """(position of a picture, the name that it is of) of a person in a group, one view after the other."""
    found = []
    for i, name in enumerate(name for name in subjects.names for _ in YAWS):
        by_photo = name in subjects.by_photo
        who = subjects.by_photo[name][0] if by_photo else name
        if who == person and by_photo == (group == "forget_others"):
            found.append((i, name))
    return found


def template(subjects: Subjects, scorer: str, person: str, without: int | None = None) -> np.ndarray:
    photos = [i for i in subjects.unseen[person] if i != without]
    mean = subjects.photos.embeddings[scorer][photos].double().mean(0)
    return (mean / mean.norm()).numpy()


@pytest.mark.parametrize("scorer", [OWN, "judge"])
def test_what_is_drawn_is_compared_with_photos_of_nobody_else(scorer):
    """id_photo, acc and tar, picture by picture; of what was drawn from a photo, without that photo."""
    _, model = rebuilt(scorer)
    subjects = model.subjects
    faces = drawn()["unlearned"].pictures.embeddings[scorer].double().numpy()
    others = {p: template(subjects, scorer, p) for p in subjects.gallery}
    threshold = model.scored.threshold(1e-2)
    assert threshold is not None
    for group in GROUPS:
        for i, person in enumerate(subjects.groups[group]):
            scores, nearest, yaws = [], [], []
            for row, name in rows_of(subjects, group, person):
                without = subjects.by_photo[name][1] if group == "forget_others" else None
                own = float(faces[row] @ template(subjects, scorer, person, without))
                scores.append(own)
                nearest.append(own > max(float(faces[row] @ t) for p, t in others.items() if p != person))
                yaws.append(YAWS[row % len(YAWS)])
            scores = np.array(scores)
            found = {key: metric(key).measure(model, group) for key in ("id_photo", "acc", "tar@far=1e-2")}
            assert all(f.people == subjects.groups[group] and f.trials[i] == len(scores) for f in found.values())
            assert found["id_photo"].values[i] == pytest.approx(scores.mean(), abs=2e-6)
            assert found["acc"].values[i] == np.mean(nearest)
            if np.abs(scores - threshold).min() > 1e-5:
                assert found["tar@far=1e-2"].values[i] == (scores > threshold).mean()
            for yaw in (-45.0, 0.0):
                here = scores[np.array(yaws) == yaw]
                seen = metric(f"id_photo@yaw={yaw:g}").measure(model, group)
                assert seen.values[i] == pytest.approx(here.mean(), abs=2e-6) and seen.trials[i] == len(here)


def test_the_threshold_is_that_of_the_originals_strangers():
    original, model = rebuilt()
    subjects = original.subjects
    held_out = subjects.groups["holdout"]
    faces = drawn()["original"].pictures.embeddings[OWN].double().numpy()
    scores = [
        float(faces[row] @ template(subjects, OWN, other))
        for person in held_out
        for row, _ in rows_of(subjects, "holdout", person)
        for other in subjects.strangers
        if other != person
    ]
    assert len(scores) == original.scored.impostors.total
    expected = sorted(scores, reverse=True)[len(scores) // 100]
    assert model.scored.threshold(1e-2) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("scorer", [OWN, "judge"])
def test_id_is_the_cosine_before_and_after_at_the_same_latent_and_camera(scorer):
    original, model = rebuilt(scorer)
    before, after = (d.pictures.embeddings[scorer].double().numpy() for d in drawn().values())
    for group in GROUPS:
        found = metric("id").measure(model, group)
        for i, person in enumerate(model.subjects.groups[group]):
            rows = [row for row, _ in rows_of(model.subjects, group, person)]
            assert found.values[i] == pytest.approx(np.mean([before[r] @ after[r] for r in rows]), abs=2e-6)
        assert np.isnan(metric("id").measure(original, group).values).all()
    same = Rebuilt(model.subjects, drawn()["original"], scorer, original)
    assert metric("id").measure(same, "retain").values == pytest.approx(1, abs=2e-6)


def test_perceptual_is_the_judges_distance_of_the_pictures():
    original, model = rebuilt()
    distance = FeatureDistance(perception.judge())
    before, after = (d.pictures.pixels.float() / 127.5 - 1 for d in drawn().values())
    found = metric("perceptual").measure(model, "forget")
    for i, person in enumerate(FORGET):
        rows = [row for row, _ in rows_of(model.subjects, "forget", person)]
        each = [float(distance(after[r][None], before[r][None])) for r in rows]
        assert found.values[i] == pytest.approx(np.mean(each), rel=1e-4)
    assert np.isnan(metric("perceptual").measure(original, "forget").values).all()
    same = Rebuilt(model.subjects, drawn()["original"], OWN, original)
    assert metric("perceptual").measure(same, "retain").values == pytest.approx(0, abs=1e-7)


def test_distances_are_of_the_same_latents_before_and_after():
    original, model = rebuilt()
    photos = model.subjects.real_faces[1]
    for group in (SAMPLES, *GROUPS):
        crops = {name: d.samples.crops for name, d in drawn().items()}
        if group != SAMPLES:
            rows = [r for p in model.subjects.groups[group] for r, _ in rows_of(model.subjects, group, p)]
            crops = {name: d.pictures.crops[sorted(rows)] for name, d in drawn().items()}
        after, before = (perception.features(crops[name]).numpy() for name in ("unlearned", "original"))
        moved = {"fid_pre": frechet_distance(after, before), "kid": kernel_distance(after, before, paired=True)}
        for key, expected in moved.items():
            assert metric(key).measure(model, group).values[0] == pytest.approx(expected, rel=1e-3), (key, group)
        ends = [frechet_distance(features, photos) for features in (after, before)]
        assert ends[0] is not None and ends[1] is not None
        further = ends[0] - ends[1]
        found = metric("delta_fid_real").measure(model, group)
        assert found.values[0] == pytest.approx(further, rel=1e-3, abs=1e-3) and found.trials[0] == len(after)
        for key in ("fid_pre", "kid", "delta_fid_real"):
            assert np.isnan(metric(key).measure(original, group).values).all()


def test_replacements_are_compared_view_by_view():
    for model in rebuilt():
        faces = model.drawn.pictures.embeddings[OWN].double().numpy()
        found = metric("replacement_similarity").measure(model, "forget")
        for i, person in enumerate(FORGET):
            own = [row for row, _ in rows_of(model.subjects, "forget", person)]
            rest = [row for p in FORGET if p != person for row, _ in rows_of(model.subjects, "forget", p)]
            pairs = [faces[a] @ faces[b] for a, b in itertools.product(own, rest) if a % len(YAWS) == b % len(YAWS)]
            assert found.values[i] == pytest.approx(np.mean(pairs), abs=2e-6) and found.trials[i] == len(pairs)
    subjects = replace(scene().sources.subjects, groups={**scene().sources.subjects.groups, "forget": FORGET[:1]})
    alone = Rebuilt(subjects, drawn()["original"], OWN)
    assert np.isnan(metric("replacement_similarity").measure(alone, "forget").values).all()


def test_pictures_without_a_face_are_counted_apart():
    before, after = drawn()["original"], drawn()["unlearned"]
    row = rows_of(scene().sources.subjects, "forget", FORGET[0])[0][0]
    found = after.pictures.found.clone()
    found[row] = False
    subjects = scene().sources.subjects
    original = Rebuilt(subjects, before, OWN)
    embeddings = {s: e.clone() for s, e in after.pictures.embeddings.items()}
    for e in embeddings.values():
        e[row] = 0
    pictures = replace(after.pictures, found=found, embeddings=embeddings)
    model = Rebuilt(subjects, replace(after, pictures=pictures), OWN, original)
    assert metric("undetected").measure(model, "forget").values.tolist() == pytest.approx([1 / 7, 0])
    for key in ("id", "id_photo", "acc", "tar@far=1e-2", "perceptual"):
        number = metric(key).measure(model, "forget")
        assert number.trials.tolist() == [6, 7] and np.isfinite(number.values).all(), key
    assert metric("replacement_similarity").measure(model, "forget").trials.tolist() == [6, 6]
    assert metric("fid_pre").measure(model, "forget").trials.tolist() == [13]


@pytest.mark.parametrize("kind", ["eg3d", "stylegan2"])
def test_the_audit_holds_every_number_and_nothing_that_is_not_one(kind, generator):
    one = scene(kind)
    found = audit(one.sources, drawn(kind), generator)
    text = json.dumps(found.content, allow_nan=False)
    assert json.loads(text) == found.content and "summary" not in found.content
    models, judged = found.content["models"], found.content["judges"]["judge"]["models"]
    assert set(models) == {"original", "unlearned"} == set(judged)
    flat = kind == "stylegan2"
    for key in (
        "id",
        "id_photo",
        "acc",
        "tar@far=1e-2",
        "perceptual",
        "fid_pre",
        "kid",
        "delta_fid_real",
        "undetected",
    ):
        for group in GROUPS:
            assert key in models["unlearned"][group], (key, group)
            assert (key in judged["unlearned"][group]) == (key in ("id", "id_photo", "acc", "tar@far=1e-2"))
    for yaw in YAWS:
        assert (f"tar@far=1e-2,yaw={yaw:g}" in models["unlearned"]["retain"]) == (not flat or yaw == 0)
    assert found.content["yaws"] == ([0.0] if flat else list(YAWS))
    assert models["unlearned"][SAMPLES]["fid_pre"]["n_trials"] == len(one.sources.samples)
    assert models["unlearned"]["forget"]["id"]["n"] == 2 and models["original"]["forget"]["id"]["value"] is None
    assert set(found.content["change"]["forget"]) >= {"id_photo", "acc"}
    controls = found.content["controls"]
    assert controls["photos"]["retain"]["id_photo"]["value"] > 0.3  # real photos are of the people
    assert set(controls["stranger"]["forget"]) == {"id_photo", "acc", "tar@far=1e-2"}
    assert isinstance(found.drawings[OWN]["unlearned"], Drawings)
    with pytest.raises(EffaceError, match="expected `original` among them"):
        audit(one.sources, {"unlearned": drawn(kind)["unlearned"]}, generator)


def test_everybody_is_drawn_from_the_photo_that_is_said():
    one = scene()
    subjects, target = one.sources.subjects, one.original.target
    assert [photo_of(subjects, p) for p in FORGET] == [one.split.seen[p][0] for p in FORGET]
    others = [n for n in subjects.names if n in subjects.by_photo]
    assert sorted(photo_of(subjects, n) for n in others) == sorted(i for p in FORGET for i in one.split.unseen[p])
    photos = subjects.photos.pixels[[photo_of(subjects, n) for n in subjects.names]]
    assert torch.allclose(target.invert(photos), one.sources.latents, atol=1e-5)
    assert torch.equal(one.sources.of(FORGET), one.sources.latents[:2])
    # a picture is that of its latent from its yaw
    at = subjects.names.index(others[0])
    camera = target.camera(float(np.radians(-30)))
    (picture,) = target.draw(one.sources.latents[at : at + 1], camera)
    row = at * len(YAWS) + 1
    assert drawn()["original"].yaws[row] == -30 and drawn()["original"].pictures.people[row] == others[0]
    apart = (picture.int() - drawn()["original"].pictures.pixels[row].int()).abs()
    assert apart.max() <= 1
    with pytest.raises(EffaceError, match=r"latents: found 1, expected \d+, one for each"):
        replace(one.sources, latents=one.sources.latents[:1])


def test_photos_are_scored_as_they_are_framed():
    target = tiny_target()
    pixels = torch.randint(256, (2, 3, 128, 128), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    seen = photographed(target, {"judge": perception.judge()}, pixels, ("a", "b"))
    place = target.spec.window
    crop = pixels[..., place.top : place.top + 112, place.left : place.left + 112]
    assert torch.equal(seen.crops, crop) and seen.found.all()
    assert torch.equal(seen.embeddings[OWN], target.recogniser.embed(crop))
