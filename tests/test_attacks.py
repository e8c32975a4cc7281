"""Each attack's numbers against slow formulas, scikit-learn, or a case whose answer is known; and the audit's part."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn

from efface import config, registry, run
from efface.attacks.attack import Outcome, Subject
from efface.attacks.attempts import attempted
from efface.attacks.layers import entering, groups
from efface.attacks.logistic import Logistic
from efface.attacks.recognition.linear_map import LinearMap
from efface.attacks.recognition.nearest_inner import NearestInner
from efface.attacks.recognition.old_templates import OldTemplates
from efface.attacks.recognition.probe import Probe
from efface.attacks.recognition.prototype import Prototype
from efface.attacks.recognition.quantisation import Quantisation, rounded
from efface.attacks.recognition.relearning import Relearning
from efface.attacks.recognition.streisand import Streisand
from efface.attacks.recognition.view_averaging import ViewAveraging
from efface.errors import EffaceError
from efface.faces.views import shifted
from efface.metrics.audit import audit, pool
from efface.metrics.protocol import SEARCHES, Evaluation
from efface.metrics.recognition.cross_version_rank import CrossVersionRank
from efface.models.recogniser import initialise
from efface.progress import Quiet
from efface.targets.recognition import RecognitionTarget
from efface.testing.attack_contract import Scene
from onnx_files import registered
from synthetic_faces import make_embeddings, make_split


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene.make()


def by_number(outcomes, group: str = "forget") -> dict[str, Outcome]:
    return {o.number: o for o in outcomes if o.group == group}


def slow(probe: np.ndarray, template: np.ndarray, split, group: str, threshold: float) -> dict[str, list[float]]:
    """Per person the protocol's TAR and rank-1 of probes among templates, pair by pair, in double precision."""
    people = (*split.forget, *split.retain, *split.holdout)
    result = {"tar": [], "rank1": []}
    for person in getattr(split, group):
        accepts, firsts = [], []
        for e in range(SEARCHES):
            gallery = {p: split.unseen[p][e % len(split.unseen[p])] for p in people}
            for photo in split.unseen[person]:
                if photo != gallery[person]:
                    scores = {
                        p: float(probe[photo].astype(float) @ template[i].astype(float)) for p, i in gallery.items()
                    }
                    accepts.append(scores[person] > threshold)
                    firsts.append(all(scores[person] > s for p, s in scores.items() if p != person))
        result["tar"].append(float(np.mean(accepts)))
        result["rank1"].append(float(np.mean(firsts)))
    return result


def strangers(rows: np.ndarray, split, rate: float = 1e-2) -> float:
    """The threshold of line 6 from all pairs of photos of different held-out people."""
    owners = [(i, p) for p in split.holdout for i in split.photos[p]]
    scores = sorted((float(rows[i] @ rows[j]) for i, p in owners for j, q in owners if i < j and p != q), reverse=True)
    return scores[int(rate * len(scores) + 1e-9)]


def assert_slow(outcomes, budget: str, probe, template, split, threshold: float) -> None:
    for group, members in (("forget", "forget"), ("control", "retain")):
        found, wanted = by_number(outcomes, group), slow(probe, template, split, members, threshold)
        np.testing.assert_allclose(found[f"tar@{budget},far=1e-2"].people.values, wanted["tar"])
        np.testing.assert_allclose(found[f"rank1@{budget}"].people.values, wanted["rank1"])
        assert found[f"rank1@{budget}"].people.people == getattr(split, members)


# The probe


@pytest.mark.parametrize(("photos", "size"), [(40, 12), (30, 90)])
@pytest.mark.parametrize("strength", [0.1, 100.0])
def test_logistic_regression_is_scikit_learns(photos, size, strength):
    rng = np.random.default_rng(0)
    labels = np.arange(photos) % 5
    features = rng.standard_normal((5, size))[labels] + rng.standard_normal((photos, size))
    theirs = LogisticRegression(C=strength, tol=1e-10, max_iter=20_000).fit(features, labels)
    ours = Logistic.fit(torch.from_numpy(features), torch.from_numpy(labels), strength)
    new = rng.standard_normal((20, size)) * 2
    np.testing.assert_allclose(ours.probabilities(torch.from_numpy(new)), theirs.predict_proba(new), atol=2e-4)


def test_probe_is_the_protocol_in_the_space_of_scikit_learns_probabilities(scene):
    """From the definition in docs/attacks.md, without any code of the attack but the layers' features."""
    subject, split = scene.unlearned, scene.unlearned.split
    features = F.normalize(subject.inner["penultimate"], dim=1).double().numpy()
    classes = (*split.forget, *split.retain)
    rows = [i for p in classes for i in split.seen[p]]
    labels = [c for c, p in enumerate(classes) for _ in split.seen[p]]
    fitted = LogisticRegression(C=100.0, tol=1e-9, max_iter=20_000).fit(features[rows], labels)
    space = fitted.predict_proba(features)
    space /= np.linalg.norm(space, axis=1, keepdims=True)
    found, wanted = by_number(Probe().attempt(subject)), slow(space, space, split, "forget", strangers(space, split))
    for number, slowly in wanted.items():
        mark = ",far=1e-2" if number == "tar" else ""
        values = found[f"{number}@layer=penultimate{mark}"].people.values
        np.testing.assert_allclose(values, slowly, atol=0.051)  # one of 20 searches may lie at the threshold


def test_probe_of_shuffled_people_finds_nobody(scene):
    """With seen photos dealt out at random it finds nobody: it reads the answer from the photos it is given."""
    split = scene.original.split
    people = (*split.forget, *split.retain)
    dealt = np.random.default_rng(0).permutation([i for p in people for i in split.seen[p]]).reshape(len(people), -1)
    wrong = dataclasses.replace(split, seen={p: tuple(own.tolist()) for p, own in zip(people, dealt, strict=True)})
    subject = Subject(
        scene.original.target, scene.original.crops, Evaluation(wrong, scene.original.evaluation.embeddings)
    )
    number = "tar@layer=penultimate,far=1e-2"
    right, shuffled = (by_number(Probe().attempt(s))[number].people.values.mean() for s in (scene.original, subject))
    assert right > 0.7 > 0.3 > shuffled


# Layers


@pytest.mark.parametrize("name", sorted(registry.names("models.recognition")))
def test_layers_of_every_network_are_what_enters_their_group(name):
    spec = registered(name)
    network = initialise(spec.build(), torch.Generator().manual_seed(0))
    target = RecognitionTarget(spec, network)
    pixels = torch.randint(0, 256, (2, 3, 112, 112), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    found = entering(target, pixels)
    assert set(found) == {"penultimate", "middle"} and groups(target)["middle"] < groups(target)["penultimate"]
    for layer, number in groups(target).items():
        taken: list[torch.Tensor] = []
        handle = network.get_submodule(spec.blocks[number][0]).register_forward_pre_hook(
            lambda _module, x, taken=taken: taken.append(x[0])
        )
        with torch.no_grad():
            target.forward(pixels)
        handle.remove()
        features = taken[0]
        if features.ndim == 4 and features.shape[-1] > 7:
            features = F.adaptive_avg_pool2d(features, 7)
        assert torch.equal(found[layer], features.flatten(1)) and found[layer].shape[1] > spec.embedding_size / 2


def test_penultimate_features_make_the_embedding(scene):
    target, crops = scene.original.target, scene.original.crops
    linear, norm = (target.network.get_submodule(name) for name in target.spec.blocks[-1])
    with torch.no_grad():
        rebuilt = F.normalize(norm(linear(scene.original.inner["penultimate"])), dim=1)
    assert torch.allclose(rebuilt, target.embed(crops.pixels), atol=1e-5)


def test_nearest_inner_by_a_slow_formula(scene):
    outcomes = list(NearestInner().attempt(scene.unlearned))
    for layer, features in scene.unlearned.inner.items():
        rows = F.normalize(features.double(), dim=1).numpy()
        split = scene.unlearned.split
        assert_slow(outcomes, f"layer={layer}", rows, rows, split, strangers(rows, split))


# Attacks on embeddings


def test_prototype_by_a_slow_formula():
    rng = np.random.default_rng(0)
    split = make_split({"forget": [13, 8, 3], "retain": [12] * 4, "holdout": [10] * 6}, rng)
    rows = make_embeddings(split, rng, noise=0.5)
    evaluation = Evaluation(split, rows)
    for count in (1, 5):
        found = by_number(Prototype(photos=(count,)).attempt(Subject(None, None, evaluation)))  # embeddings are enough
        exact, threshold = rows.double().numpy(), strangers(rows.double().numpy(), split)
        for place, person in enumerate(split.forget):
            own, accepts, firsts = split.unseen[person], [], []
            for k, photo in enumerate(own):
                following = [own[(k + step) % len(own)] for step in range(1, len(own))][:count]
                scores = {
                    p: exact[photo] @ unit(exact[list(split.unseen[p][:count])].mean(0)) for p in evaluation.people
                }
                scores[person] = exact[photo] @ unit(exact[following].mean(0))
                accepts.append(scores[person] > threshold)
                firsts.append(max(scores, key=scores.__getitem__) == person)
            tar, first = (found[f"{n}@photos={count}{m}"].people for n, m in (("tar", ",far=1e-2"), ("rank1", "")))
            assert tar.values[place] == pytest.approx(np.mean(accepts)) and tar.trials[place] == len(own)
            assert first.values[place] == pytest.approx(np.mean(firsts))


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def test_old_templates_and_their_reverse_by_a_slow_formula(scene):
    new, old = scene.unlearned.evaluation.embeddings, scene.original.evaluation.embeddings
    split, threshold = scene.unlearned.split, scene.original.evaluation.impostors.threshold(1e-2)
    outcomes = list(OldTemplates().attempt(scene.unlearned))
    assert_slow(outcomes, "gallery=old", new, old, split, threshold)
    assert_slow(outcomes, "gallery=new", old, new, split, threshold)
    metric = CrossVersionRank().measure(scene.unlearned.evaluation, "forget")
    assert np.array_equal(by_number(outcomes)["rank1@gallery=old"].people.values, metric.values)


def test_old_templates_of_another_length_are_null(scene):
    old = Evaluation(scene.original.split, F.normalize(torch.randn(300, 7), dim=1))
    new = Evaluation(old.split, scene.original.evaluation.embeddings, old)
    outcomes = list(OldTemplates().attempt(Subject(scene.original.target, scene.original.crops, new)))
    assert outcomes and all(np.isnan(o.people.values).all() and not o.people.trials.any() for o in outcomes)


def test_linear_map_undoes_a_rotation_and_nothing_undoes_noise():
    rng = np.random.default_rng(0)
    split = make_split({"forget": [10] * 3, "retain": [10] * 20, "holdout": [10] * 8}, rng)
    rows = make_embeddings(split, rng, size=16, noise=0.2)
    old = Evaluation(split, rows)
    rotation = np.linalg.qr(rng.standard_normal((16, 16)))[0].astype(np.float32)
    noise = F.normalize(torch.from_numpy(rng.standard_normal(rows.shape).astype(np.float32)), dim=1)
    subjects = {
        name: Subject(None, None, Evaluation(split, new, old))
        for name, new in (("same", rows), ("rotated", rows @ torch.from_numpy(rotation)), ("noise", noise))
    }
    tar = {
        n: by_number(LinearMap().attempt(s))["tar@ridge=0.1,far=1e-2"].people.values.mean() for n, s in subjects.items()
    }
    plain = by_number(OldTemplates().attempt(subjects["rotated"]))["tar@gallery=old,far=1e-2"].people.values.mean()
    assert tar["same"] > 0.7 and tar["rotated"] == pytest.approx(tar["same"], abs=0.02)
    assert plain < 0.3 and tar["noise"] < 0.3, "without the map, and without a relation, nothing is found"


# Attacks on photos


def test_shifted_photos():
    picture = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).view(2, 3, 4, 5)
    right, up = shifted(picture, 2, 0), shifted(picture, 0, -1)
    assert torch.equal(right[..., 2:], picture[..., :-2])
    assert torch.equal(right[..., 0], picture[..., 0]) and torch.equal(right[..., 1], picture[..., 0])
    assert torch.equal(up[..., :-1, :], picture[..., 1:, :]) and torch.equal(up[..., -1, :], picture[..., -1, :])


def test_streisand_is_scikit_learns_area(scene):
    subject, split = scene.unlearned, scene.unlearned.split
    pixels, plain = subject.crops.pixels, subject.evaluation.embeddings.astype(float)
    moved = [subject.target.embed(shifted(pixels, *by)).double().numpy() for by in ((2, 0), (-2, 0), (0, 2), (0, -2))]
    unstable = 1 - np.mean([(plain * view).sum(1) for view in moved], axis=0)
    outcomes = list(Streisand().attempt(subject))
    cases = ((("forget"), split.forget, (*split.retain, *split.holdout)), ("control", split.retain, split.holdout))
    for group, people, others in cases:
        crowd = [unstable[i] for p in others for i in split.unseen[p]]
        for person, value in zip(people, by_number(outcomes, group)["auc@shift=2"].people.values, strict=True):
            own = [unstable[i] for i in split.unseen[person]]
            wanted = roc_auc_score([1] * len(own) + [0] * len(crowd), [*own, *crowd])
            assert value == pytest.approx(wanted, abs=2e-3)


def test_view_averaging_by_a_slow_formula(scene):
    subject, split = scene.unlearned, scene.unlearned.split
    pixels = subject.crops.pixels
    views = [pixels, pixels.flip(-1), *(shifted(pixels, *by) for by in ((2, 0), (-2, 0), (0, 2), (0, -2)))]
    rows = F.normalize(torch.stack([subject.target.embed(v).double() for v in views]).mean(0), dim=1).numpy()
    assert_slow(list(ViewAveraging().attempt(subject)), "views=6", rows, rows, split, strangers(rows, split))


# Attacks on weights


def test_rounded_weights():
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0
    found = rounded(weight, 8)
    scale = weight.flatten(1).abs().amax(1) / 127
    assert ((found - weight).flatten(1).abs() <= scale[:, None] / 2 * 1.001).all() and (found[2] == 0).all()
    assert torch.equal(found.flatten(1).abs().amax(1), weight.flatten(1).abs().amax(1)), "the largest is kept"
    assert max(len(channel.unique()) for channel in rounded(weight, 3)) <= 7
    gain = torch.tensor([0.1, -3.0, 1.0, 0.5, 20.0, -0.01]).view(-1, 1, 1, 1)
    assert torch.allclose(rounded(weight * gain, 8), found * gain, atol=1e-6), "as after folding BatchNorm"


def test_quantisation_rounds_every_convolution_and_linear_map(scene):
    subject, split = scene.unlearned, scene.unlearned.split
    twin = copy.deepcopy(subject.target.network)
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data = rounded(subject.target.network.get_submodule(name).weight.data, 4)
    rows = RecognitionTarget(subject.target.spec, twin).embed(subject.crops.pixels).double().numpy()
    threshold = scene.original.evaluation.impostors.threshold(1e-2)
    assert_slow(list(Quantisation(bits=4).attempt(subject)), "bits=4", rows, rows, split, threshold)


def test_relearning_by_hand(scene):
    """Two steps of Adam written out, for one person; the attack fits its own photos, the control starts at nothing."""
    subject, split = scene.unlearned, scene.unlearned.split
    person = split.forget[0]
    network, pixels = copy.deepcopy(subject.target.network), subject.crops.pixels
    network.requires_grad_(True)
    twin = RecognitionTarget(subject.target.spec, network)
    seen = pixels[list(split.seen[person][:5])]
    mean = F.normalize(twin.embed(seen).mean(0), dim=0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        (1 - F.cosine_similarity(network(twin.inputs(seen)), mean[None], dim=1)).mean().backward()
        optimiser.step()
    threshold = subject.evaluation.frozen.impostors.threshold(1e-2)
    rows = twin.embed(pixels).double().numpy()
    wanted = [rows[i] @ rows[j] > threshold for i in split.unseen[person] for j in split.unseen[person] if i != j]
    own = [rows[i] @ rows[j] > threshold for i in split.seen[person] for j in split.seen[person] if i < j]
    outcomes = list(Relearning(steps=(0, 2, 10), people=1).attempt(subject))
    found = by_number(outcomes)
    assert found["tar@steps=2,far=1e-2"].people.values == pytest.approx([np.mean(wanted)])
    assert found["fitted@steps=2,far=1e-2"].people.values == pytest.approx([np.mean(own)])
    now = strangers(rows, split)
    wanted = [rows[i] @ rows[j] > now for i in split.unseen[person] for j in split.unseen[person] if i != j]
    assert now > threshold + 0.02, "the attack makes strangers alike"
    assert found["tar_recalibrated@steps=2,far=1e-2"].people.values == pytest.approx([np.mean(wanted)])
    assert found["fitted@steps=10,far=1e-2"].people.values == 1, "the attack fits what it was given"
    control = by_number(outcomes, "control")["tar@steps=0,far=1e-2"].people
    assert control.people == ("+".join(split.holdout[:5]),) and control.values[0] < 0.1
    assert control.trials == [10 * 9 * 9], "ten pairs of people with nine other photos each"


# In the audit


@pytest.fixture(scope="module")
def measured(scene):
    """An audit of two models with two attacks, and the lines that were said."""
    said = []

    class Watcher(Quiet):
        def say(self, line: str) -> None:
            said.append(line)

    embeddings = {n: torch.from_numpy(getattr(scene, n).evaluation.embeddings) for n in ("original", "unlearned")}
    plain = audit(scene.original.split, embeddings, torch.Generator().manual_seed(3))
    targets = {n: getattr(scene, n).target for n in embeddings}
    tried = (Probe(), OldTemplates())
    drawing = torch.Generator().manual_seed(3)
    return plain, attempted(plain, tried, targets, scene.original.crops, drawing, Watcher()), said


def test_audit_holds_every_number_of_both_models(measured, scene):
    plain, found, said = measured
    assert plain.attacks == {} and set(found.attacks) == {"probe", "old_templates"}
    number = found.attacks["probe"]["forget"]["tar@layer=penultimate,far=1e-2"]
    assert set(number) == {"original", "unlearned"} and set(number["unlearned"]) == {
        "value", "low", "high", "n", "n_trials"
    }  # fmt: skip
    outcome = by_number(Probe().attempt(scene.unlearned))["tar@layer=penultimate,far=1e-2"]
    assert number["unlearned"]["value"] == pytest.approx(outcome.people.values.mean())
    assert found.attacks["probe"]["control"]["rank1@layer=middle"]["original"]["low"] is not None
    assert {k: v for k, v in found.as_dict().items() if k != "attacks"} == {
        k: v for k, v in plain.as_dict().items() if k != "attacks"
    }
    assert [line.partition(":")[0] for line in said] == ["attack probe", "attack old_templates"]


def test_people_csv_gives_the_same_numbers_again(measured):
    _, found, _ = measured
    pooled = pool([found.people], torch.Generator().manual_seed(3))
    assert pooled == {name: getattr(found, name) for name in pooled} and pooled["attacks"] == found.attacks


BASE = {"model": "tiny", "faces": {"name": "drawn", "people": 12, "photos": 6}, "forget": ["person-003"]}


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ("some", "attacks: found 'some', expected all, or a list of names"),
        (["nothing"], "attacks.name: found 'nothing', expected one of: linear_map"),
        (
            [{"name": "probe", "strenght": 1}],
            "attacks.strenght: found 1, expected no such key here; the keys are: strength",
        ),
        ([{"name": "relearning", "photos": 1}], "attacks.photos: found 1, expected greater than or equal to 2"),
        (["probe", "probe"], "expected each attack once"),
    ],
)
def test_a_wrong_attack_is_one_clear_line(attacks, said):
    with pytest.raises(EffaceError) as refused:
        config.parse(BASE | {"attacks": attacks}, "test")
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_all_attacks_and_their_budgets_are_stored():
    everything = config.parse(BASE | {"attacks": "all"}, "test")
    assert [a.name for a in everything.attacks] == list(registry.names("attacks.recognition"))
    few = config.parse(BASE | {"attacks": [{"name": "relearning", "steps": [0, 2]}, "probe"]}, "test")
    assert few.attacks[0].value == Relearning(steps=(0, 2)) and config.parse(few.plain(), "again") == few


def test_nobody_to_bring_back():
    given = config.parse(BASE | {"forget": [], "attacks": ["probe"]}, "test")
    with pytest.raises(EffaceError, match="attacks: found nobody to forget"):
        run.evaluate(given, None, Quiet())


def test_nobody_retained():
    faces = {"name": "drawn", "people": 2, "photos": 4}
    given = config.parse(BASE | {"faces": faces, "forget": ["person-000", "person-001"], "attacks": ["probe"]}, "test")
    with pytest.raises(EffaceError, match="found no seen photo of a retained person"):
        run.evaluate(given, None, Quiet())
