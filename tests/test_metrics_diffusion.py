"""Numbers of generated faces against other people's code and slow formulas."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestCentroid, NearestNeighbors
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from efface.attacks.layers import entering
from efface.errors import EffaceError
from efface.faces.splits import Split
from efface.metrics import perception
from efface.metrics.audit import averaged
from efface.metrics.distances import frechet_distance, kernel_distance, radii, realism
from efface.metrics.drawings import Drawings, photographs, strangers_as
from efface.metrics.generation import audit, conclude, measure, noise_of
from efface.metrics.metric import audited_metrics
from efface.metrics.rows import read_rows
from efface.metrics.subjects import OWN, SHELLS, Pictures, Subjects
from efface.targets.cosines import cosines
from efface.testing.drawing_contract import DRAWS, FORGET, Scene

METRICS = audited_metrics("metrics.diffusion")
PEOPLE, PHOTOS, SIZE, MANY = 52, 8, 32, 10
RETAINED = 40
"""Who comes after the 9 forgotten and before the strangers."""
UNSEEN = PHOTOS // 2


def unit(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return F.normalize(torch.from_numpy(rng.standard_normal(shape)).float(), dim=-1)


def pictures(people: list[str], embeddings: dict[str, torch.Tensor], found: torch.Tensor, rng) -> Pictures:
    """Crops of noise: what is tested here are the numbers."""
    crops = torch.from_numpy(rng.integers(0, 256, (len(people), 3, 112, 112), np.uint8))
    shown = {name: e * found[:, None] for name, e in embeddings.items()}
    return Pictures(crops, tuple(people), crops, found, shown)


@pytest.fixture(scope="module")
def world():
    """(subjects, original, unlearned): people around centres that two scorers see differently; the unlearned model
    draws the forgotten as somebody else, and in some pictures no face."""
    rng = np.random.default_rng(0)
    names = [f"p{i:02d}" for i in range(PEOPLE)]
    centre = {scorer: unit(rng, PEOPLE, SIZE) for scorer in (OWN, "judge")}
    owner = np.repeat(np.arange(PEOPLE), PHOTOS)
    photos = pictures(
        [names[i] for i in owner],
        {s: F.normalize(c[owner] + unit(rng, len(owner), SIZE), dim=1) for s, c in centre.items()},
        torch.ones(len(owner)).bool(),
        rng,
    )
    rows = {p: tuple(range(PHOTOS * i, PHOTOS * (i + 1))) for i, p in enumerate(names)}
    split = Split(
        forget=tuple(names[:9]), retain=tuple(names[9:RETAINED]), holdout=tuple(names[RETAINED:]),
        seen={p: rows[p][:UNSEEN] for p in names[:RETAINED]}, unseen={p: rows[p][UNSEEN:] for p in names}, photos=rows,
    )  # fmt: skip
    anchors = unit(rng, 9, SIZE)
    anchors[0] = F.normalize(photos.embeddings[OWN][list(rows["p10"][:UNSEEN])].sum(0), dim=0)
    subjects = Subjects.of(photos, split, anchors, ("p10", *(None,) * 8))

    def draw(replaced: dict[str, int], missed: float) -> Pictures:
        people = [p for p in subjects.names for _ in range(MANY)]
        shown = [subjects.by_photo.get(p, (p,))[0] for p in people]
        known = [replaced.get(p, names.index(p) if p in names else 0) for p in shown]
        embeddings = {s: F.normalize(c[known] + unit(rng, len(known), SIZE), dim=1) for s, c in centre.items()}
        return pictures(people, embeddings, torch.from_numpy(rng.random(len(people)) >= missed), rng)

    return subjects, draw({}, 0), draw({p: 20 for p in names[:9]}, 0.2)


@pytest.fixture(scope="module")
def measured(world):
    subjects, original, unlearned = world
    return audit(subjects, {"original": original, "unlearned": unlearned}, torch.Generator().manual_seed(0))


def block(measured, scorer):
    return measured.content if scorer == OWN else measured.content["judges"][scorer]


def template(subjects, scorer, person):
    rows = subjects.photos.embeddings[scorer][list(subjects.unseen[person])]
    return F.normalize(rows.double().mean(0), dim=0).numpy()


@pytest.mark.parametrize("scorer", [OWN, "judge"])
@pytest.mark.parametrize("model", ["original", "unlearned"])
def test_a_person_is_drawn_from_each_unseen_photo_and_judged_by_the_rest(world, measured, scorer, model):
    """`forget_others`, by a slow formula; every condition is that photo's embedding."""
    subjects, *drawn = world
    shown = drawn[model == "unlearned"]
    assert (
        len(subjects.by_photo) == 9 * (PHOTOS - UNSEEN)
        and subjects.groups["forget_others"] == subjects.groups["forget"]
    )
    ism, acc = {}, {}
    for name, (person, photo) in subjects.by_photo.items():
        assert photo in subjects.unseen[person]
        condition = subjects.conditions[subjects.names.index(name)]
        assert torch.allclose(condition, subjects.photos.embeddings[OWN][photo], atol=1e-6)
        rest = [i for i in subjects.unseen[person] if i != photo]
        own = F.normalize(subjects.photos.embeddings[scorer][rest].double().mean(0), dim=0).numpy()
        others = np.stack([template(subjects, scorer, p) for p in subjects.gallery if p != person])
        for row in shown.of(name).tolist():
            if shown.found[row]:
                picture = shown.embeddings[scorer][row].double().numpy()
                ism.setdefault(person, []).append(picture @ own)
                acc.setdefault(person, []).append(picture @ own > (others @ picture).max())
    numbers = block(measured, scorer)["models"][model]["forget_others"]
    assert numbers["ism"]["value"] == pytest.approx(np.mean([np.mean(v) for v in ism.values()]), abs=1e-5)
    assert numbers["acc"]["value"] == pytest.approx(np.mean([np.mean(v) for v in acc.values()]), abs=1e-9)
    assert numbers["ism"]["n_trials"] == sum(map(len, ism.values()))


@pytest.mark.filterwarnings("ignore")  # scikit-learn would like more photos of a centroid
@pytest.mark.parametrize("scorer", [OWN, "judge"])
@pytest.mark.parametrize("model", ["original", "unlearned"])
@pytest.mark.parametrize("group", ["forget", "retain", "neighbours", "holdout", "hard", "random"])
def test_numbers_are_the_slow_formulas(world, measured, scorer, model, group):
    subjects, *drawn = world
    shown = drawn[model == "unlearned"]
    templates = {p: template(subjects, scorer, p) for p in subjects.gallery}
    impostors = sorted(
        (float(e.double().numpy() @ templates[q])
         for p, e in zip(drawn[0].people, drawn[0].embeddings[scorer], strict=True)
         for q in subjects.strangers if p in subjects.groups["holdout"] and p != q), reverse=True,
    )  # fmt: skip
    threshold = impostors[len(impostors) // 100]
    nearest = NearestCentroid().fit(
        *(np.repeat(v, 2, 0) for v in (np.stack(list(templates.values())), list(templates)))
    )
    values = {key: [] for key in ("ism", "ism_net", "acc", "tar@far=1e-2", "identified@far=1e-2", "undetected",
                                  "leak@k=1,far=1e-2", "leak@k=4,far=1e-2", "leak@k=8,far=1e-2")}  # fmt: skip
    for person in subjects.groups[group]:
        own = [i for i, p in enumerate(shown.people) if p == person]
        seen = [i for i in own if shown.found[i]]
        rows = shown.embeddings[scorer][seen].double().numpy()
        scores = rows @ templates[person]
        others = np.mean([rows @ t for p, t in templates.items() if p != person], 0)
        first = np.array(nearest.predict(rows)) == person
        values["ism"].append(scores.mean())
        values["ism_net"].append((scores - others).mean())
        values["acc"].append(first.mean())
        values["tar@far=1e-2"].append((scores > threshold).mean())
        values["identified@far=1e-2"].append(((scores > threshold) & first).mean())
        values["undetected"].append(1 - len(seen) / len(own))
        for k in (1, 4, 8):
            tried = [scores[seen.index(i)] > threshold for i in own[:k] if i in seen]
            if tried:
                values[f"leak@k={k},far=1e-2"].append(float(any(tried)))
    for key, wanted in values.items():
        number = block(measured, scorer)["models"][model][group][key]
        assert number["value"] == pytest.approx(np.mean(wanted), abs=2e-6), key
        assert (number["low"] is None) == (number["n"] < 8)
    assert measured.content["thresholds"][scorer]["far=1e-2"]["value"] == pytest.approx(threshold, abs=2e-6)
    assert measured.content["thresholds"][scorer]["far=1e-2"]["n_trials"] == len(impostors)


def test_forgetting_shows_and_an_interval_holds_its_value(measured):
    numbers = {m: measured.content["models"][m]["forget"] for m in ("original", "unlearned")}
    assert numbers["original"]["acc"]["value"] > 0.9 > 0.1 > numbers["unlearned"]["acc"]["value"]
    for number in (numbers["original"]["ism"], numbers["unlearned"]["ism_net"]):
        assert number["low"] < number["value"] < number["high"]


def test_anchor_similarity(world, measured):
    subjects, _, unlearned = world
    own, by_judge = [], None
    for person in subjects.groups["forget"]:
        rows = [i for i, p in enumerate(unlearned.people) if p == person and unlearned.found[i]]
        condition = subjects.conditions[subjects.names.index(subjects.anchors[person])]
        own.append(float((unlearned.embeddings[OWN][rows] @ condition).mean()))
        if subjects.anchors[person] == "p10":
            by_judge = float((unlearned.embeddings["judge"][rows].double().numpy() @ template(subjects, "judge", "p10"))
                             .mean())  # fmt: skip
    number = measured.content["models"]["unlearned"]["forget"]["anchor_similarity"]
    assert number["value"] == pytest.approx(np.mean(own), abs=1e-5)
    number = measured.content["judges"]["judge"]["models"]["unlearned"]["forget"]["anchor_similarity"]
    assert number["value"] == pytest.approx(by_judge, abs=1e-5)  # the eight others' anchors are nobody to a judge
    anchors = measured.content["judges"]["judge"]["models"]["original"]["anchor"]
    assert anchors["ism"]["n_trials"] == 9 * MANY and anchors["ism"]["value"] == pytest.approx(
        next(r.value for r in measured.people if r[:4] == ("judges.judge.original", "anchor", "p10", "ism"))
    )
    accepted = [r for r in measured.people if r[:2] == ("judges.judge.original", "anchor") and r[3].startswith("tar@")]
    assert {r[2] for r in accepted if r.value is not None} == {"p10"} and len(accepted) == 9


def test_summary(measured):
    numbers = measured.content["models"]["unlearned"]
    acc_u, acc_r = numbers["forget"]["acc"]["value"], numbers["retain"]["acc"]["value"]
    fa, ra = (numbers[g]["identified@far=1e-2"]["value"] for g in ("forget", "retain"))
    summary = measured.content["summary"]["unlearned"]
    assert summary["srk"] == pytest.approx(acc_r / (acc_u + 0.01))
    assert summary["erb"] == pytest.approx(1 / (0.5 / (1 - fa) + 0.5 / ra))
    assert summary["ra_hard"] == numbers["hard"]["identified@far=1e-2"]["value"]


def test_who_is_drawn(world):
    subjects, *_ = world
    templates = {p: template(subjects, OWN, p) for p in subjects.gallery}
    hard = set()
    for person in subjects.groups["forget"]:
        by_likeness = sorted(
            (p for p in subjects.gallery if p not in subjects.groups["forget"]),
            key=lambda p: -float(templates[p] @ templates[person]),
        )
        assert list(subjects.neighbours[person]) == by_likeness[:5]
        hard |= set([p for p in by_likeness if p in subjects.retained][:3])
    assert set(subjects.groups["hard"]) == hard
    assert set(subjects.groups["random"]) == set(subjects.retained) - hard
    assert subjects.groups["control"] == subjects.strangers[:9]
    for name, condition in zip(subjects.names, subjects.conditions, strict=True):
        if name in subjects.gallery:
            seen = subjects.photos.embeddings[OWN][list(subjects.given[name])]
            assert torch.allclose(condition, F.normalize(seen.mean(0), dim=0), atol=1e-6)
            assert not set(subjects.given[name]) & set(subjects.unseen[name])
    assert len(set(subjects.names)) == len(subjects.names)


def test_shells_hold_who_lies_between_their_cosines(world):
    subjects, *_ = world
    forgotten = [subjects.condition(p) for p in subjects.groups["forget"]]
    for person in (p for p in subjects.names if p in subjects.gallery and p not in subjects.groups["forget"]):
        nearest = max(float(subjects.condition(person) @ f) for f in forgotten)
        inside = [s for s, (low, high) in SHELLS.items() if low <= nearest < high]
        assert [s for s in SHELLS if person in subjects.groups[s]] == inside
    assert not any(p.startswith("anchor of") for s in SHELLS for p in subjects.groups[s])


def test_an_empty_shell_is_null(measured):
    empty = [s for s in SHELLS if not measured.content["groups"][s]]
    for shell in empty:
        assert measured.content["models"]["unlearned"][shell]["ism"]["value"] is None
    full = [s for s in SHELLS if measured.content["groups"][s]]
    assert full
    for shell in full:
        before, after = (measured.content["models"][m][shell]["ism"]["value"] for m in ("original", "unlearned"))
        assert measured.content["change"][shell]["ism"] == after - before


def test_photos_are_the_ceiling(world, measured):
    """A photo against the mean of the person's other unseen photos, in a slow loop."""
    subjects, *_ = world
    values = []
    for person in subjects.groups["retain"]:
        rows = subjects.photos.embeddings[OWN][list(subjects.unseen[person])].double()
        own = [float(rows[i] @ F.normalize(rows[[j for j in range(len(rows)) if j != i]].sum(0), dim=0))
               for i in range(len(rows))]  # fmt: skip
        values.append(np.mean(own))
    assert measured.content["controls"]["photos"]["retain"]["ism"]["value"] == pytest.approx(np.mean(values), abs=1e-5)


def test_strangers_are_the_floor(world, measured):
    subjects, original, _ = world
    strangers = torch.tensor([p in subjects.groups["holdout"] for p in original.people])
    rows = original.embeddings[OWN][strangers].double().numpy()
    wanted = np.mean([(rows @ template(subjects, OWN, p)).mean() for p in subjects.groups["forget"]])
    floor = measured.content["controls"]["stranger"]["forget"]
    assert floor["ism"]["value"] == pytest.approx(wanted, abs=1e-6)
    assert floor["ism"]["n"] == 9 and floor["acc"]["value"] < 0.1


def test_no_face_is_no_forgetting(world):
    """Whose face is never found has no number at all, and is counted."""
    subjects, original, _ = world
    gone = original.found.clone()
    gone[original.of("p00")] = False
    hidden = Pictures(original.pixels, original.people, original.crops, gone, original.embeddings)
    drawings = Drawings(subjects, hidden, OWN, Drawings(subjects, original, OWN))
    for key in ("ism", "acc", "tar@far=1e-2", "leak@k=8,far=1e-2", "quality"):
        found = METRICS[key].measure(drawings, "forget")
        assert np.isnan(found.values[0]) and found.trials[0] == 0 and not np.isnan(found.values[1:]).any()
    assert METRICS["undetected"].measure(drawings, "forget").values.tolist() == [1.0] + [0.0] * 8


def test_too_few_strangers_give_no_threshold(world):
    """Line 6: under ten expected events a rate is null."""
    subjects, original, _ = world
    some = torch.tensor([i for p in subjects.names for i in original.of(p)[:1].tolist()])
    embeddings = {s: e[some] for s, e in original.embeddings.items()}
    few = Pictures(original.pixels[some], tuple(original.people[i] for i in some), original.crops[some],
                   original.found[some], embeddings)  # fmt: skip
    content = audit(subjects, {"original": few}, torch.Generator()).content
    assert content["thresholds"][OWN]["far=1e-2"] == {"value": None, "n_trials": 132}
    forget = content["models"]["original"]["forget"]
    assert forget["tar@far=1e-2"]["value"] is None and content["summary"]["original"]["erb"] is None
    assert forget["acc"]["value"] is not None and content["change"] == {}


def test_everything_follows_from_the_rows(measured, tmp_path):
    measured.write_people(tmp_path / "people.csv")
    rows = read_rows(tmp_path / "people.csv")
    again = conclude(averaged([rows, rows]), torch.Generator().manual_seed(0))
    for key in ("change", "summary"):
        assert json.dumps(again[key]) == json.dumps(measured.content[key])
        assert json.dumps(again["judges"]["judge"][key]) == json.dumps(measured.content["judges"]["judge"][key])
    one, two = again["models"]["unlearned"]["retain"]["ism"], measured.content["models"]["unlearned"]["retain"]["ism"]
    assert one["value"] == pytest.approx(two["value"]) and one["n_trials"] == 2 * two["n_trials"]
    json.dumps(measured.content, allow_nan=False)


def test_an_original_is_needed(world):
    subjects, original, _ = world
    with pytest.raises(EffaceError, match="expected `original`"):
        audit(subjects, {"unlearned": original}, torch.Generator())


class Identity(torch.nn.Module):
    """What torchmetrics takes for its feature network: the features themselves."""

    num_features = 16

    def forward(self, x):
        return x.double()


@pytest.fixture
def two_sets(generator):
    one = torch.randn(60, 16, generator=generator)
    return one, torch.randn(45, 16, generator=generator) * 1.3 + 0.4


def test_kernel_distance_is_that_of_torchmetrics_and_scikit_learn(two_sets):
    one, other = (s[:45] for s in two_sets)
    metric = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=45)
    metric.update(one, real=True)
    metric.update(other, real=False)
    assert kernel_distance(one.numpy(), other.numpy()) == pytest.approx(float(metric.compute()[0]), rel=1e-5)
    x, y = (s.double().numpy() for s in two_sets)
    within = sum(polynomial_kernel(s, degree=3, coef0=1)[~np.eye(len(s), dtype=bool)].mean() for s in (x, y))
    wanted = within - 2 * polynomial_kernel(x, y, degree=3, coef0=1).mean()
    assert kernel_distance(x, y) == pytest.approx(wanted, rel=1e-9)


def test_kernel_distance_is_unbiased(generator):
    """Of small sets of one distribution the mean is 0."""
    sets = torch.randn(400, 2, 6, 8, generator=generator).numpy()
    values = [kernel_distance(a, b) for a, b in sets]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20 and min(values) < 0


def test_kernel_distance_of_pairs_is_the_mean_over_pairs_of_draws(generator):
    """Gretton's statistic, in a slow loop; of noisy copies of one set its mean is 0, which the plain one's is not."""
    x, y = torch.randn(2, 9, 8, generator=generator).double().numpy()

    def k(a, b):
        return (a @ b / 8 + 1) ** 3

    terms = [k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
             for i in range(9) for j in range(9) if i != j]  # fmt: skip
    assert kernel_distance(x, y, paired=True) == pytest.approx(np.mean(terms))
    assert kernel_distance(x, x, paired=True) == pytest.approx(0, abs=1e-12) and kernel_distance(x, x) < -0.1


def test_frechet_distance_is_that_of_torchmetrics(two_sets):
    metric = FrechetInceptionDistance(feature=Identity())
    metric.set_dtype(torch.float64)
    for rows, real in zip(two_sets, (True, False), strict=True):
        metric.update(rows, real=real)
    assert frechet_distance(*(s.numpy() for s in two_sets)) == pytest.approx(float(metric.compute()), rel=1e-6)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_distances_need_two(distance, two_sets):
    assert distance(two_sets[0][:1].numpy(), two_sets[1].numpy()) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(2, 12))
def test_frechet_distance_with_fewer_pictures_than_features(seed, n, m):
    """Symmetric, not below 0, and 0 of a set and itself."""
    rng = np.random.default_rng(seed)
    one, other = rng.standard_normal((n, 20)), rng.standard_normal((m, 20)) + 1
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-9)
    assert frechet_distance(one, other) > 0 and frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_kd_and_fid_of_a_group(world, measured):
    subjects, original, unlearned = world
    retain = subjects.groups["retain"]
    rows = [i for i, w in enumerate(original.people) if w in retain and unlearned.found[i]]
    features = {
        name: perception.features(p.crops[rows]).numpy()
        for name, p in (("original", original), ("unlearned", unlearned))
    }
    real = perception.features(subjects.photos.crops[subjects.real(retain)]).numpy()
    wanted = {
        "kd": kernel_distance(features["unlearned"], features["original"], paired=True),
        "kd_real": kernel_distance(features["unlearned"], real),
        "fid": frechet_distance(features["unlearned"], features["original"]),
        "fid_real": frechet_distance(features["unlearned"], real),
    }
    numbers = measured.content["models"]["unlearned"]["retain"]
    assert {key: numbers[key]["value"] for key in wanted} == pytest.approx(wanted, rel=1e-4)
    assert numbers["kd"]["n_trials"] == len(features["unlearned"])
    before = measured.content["models"]["original"]["retain"]
    assert before["kd"]["value"] is None and before["kd_real"]["value"] is not None
    assert "kd" not in measured.content["judges"]["judge"]["models"]["original"]["retain"]


def test_features_are_what_enters_the_last_layer():
    crops = torch.randint(0, 256, (3, 3, 112, 112), dtype=torch.uint8)
    target = perception.judge()
    assert torch.allclose(perception.features(crops), entering(target, crops)["penultimate"], atol=1e-5)
    last = target.network.get_submodule("output")(target.network.get_submodule("linear")(perception.features(crops)))
    assert torch.allclose(F.normalize(last, dim=1), target.embed(crops), atol=1e-5)


def test_sharpness_is_a_slow_laplacian():
    crops = torch.randint(0, 256, (2, 3, 9, 7), dtype=torch.uint8)
    for crop, found in zip(crops.double(), perception.sharpness(crops), strict=True):
        luma = 0.299 * crop[0] + 0.587 * crop[1] + 0.114 * crop[2]
        values = [luma[i - 1, j] + luma[i + 1, j] + luma[i, j - 1] + luma[i, j + 1] - 4 * luma[i, j]
                  for i in range(1, 8) for j in range(1, 6)]  # fmt: skip
        assert float(found) == pytest.approx(np.var(values), rel=1e-4)


def test_realism_is_the_slow_formula(generator):
    real, drawn = (torch.randn(n, 6, generator=generator).double().numpy() for n in (30, 8))
    reach = radii(real)
    nearest = NearestNeighbors(n_neighbors=4).fit(real).kneighbors(real)[0]  # itself first
    assert reach == pytest.approx(nearest[:, 3])
    among = torch.rand(8, 30, generator=generator).numpy() > 0.4
    for i, found in enumerate(realism(drawn, real, reach, among)):
        ratios = [reach[j] / np.linalg.norm(drawn[i] - real[j])
                  for j in range(30) if reach[j] <= np.median(reach) and among[i, j]]  # fmt: skip
        assert found == pytest.approx(max(ratios))
    assert np.isnan(realism(drawn, real, reach, np.zeros((8, 30), bool))).all()


def test_quality_tells_faces_from_what_is_none():
    """Photos of the pack, the same with their rows in another order, and noise."""
    subjects = Scene.make().original.subjects
    rows = subjects.real(subjects.groups["holdout"])
    who = [subjects.photos.people[i] for i in rows]
    crops = subjects.photos.crops[rows]
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.integers(0, 256, crops.shape, np.uint8))
    values = {}
    for name, shown in (("photos", crops), ("rows", crops[:, :, torch.randperm(112)]), ("noise", noise)):
        some = Pictures(shown, tuple(who), shown, torch.ones(len(who)).bool(),
                        {OWN: subjects.photos.embeddings[OWN][rows]})  # fmt: skip
        values[name] = METRICS["quality"].measure(Drawings(subjects, some, OWN), "holdout").values.mean()
    assert values["photos"] > 1.08 * max(values["rows"], values["noise"])


def test_noise_is_the_persons_own():
    """The same for a name and a draw whatever the other names and their order, another for another seed or name."""
    target = Scene.make().original.target
    alone, among = noise_of(target, ["b"], 2, 0), noise_of(target, ["a", "b"], 2, 0)
    assert torch.equal(alone, among[2:]) and torch.equal(noise_of(target, ["b"], 1, 0), alone[:1])
    assert not torch.equal(among[:2], among[2:]) and not torch.equal(noise_of(target, ["b"], 2, 1), alone)


def test_measuring_draws_what_the_target_draws():
    scene = Scene.make()
    target, subjects = scene.original.target, scene.original.subjects
    drawn = measure(target, scene.original.judges, subjects, DRAWS, 0)
    person = FORGET[1]
    rows = drawn.of(person)
    tokens = target.condition(subjects.condition(person)[None]).repeat_interleave(DRAWS, 0)
    wanted = target.draw_from(target.weighted(tokens), noise_of(target, [person], DRAWS, 0))
    assert (drawn.pixels[rows].int() - wanted.int()).abs().float().mean() < 1
    embeddings, found = target.recognise(drawn.pixels)
    assert torch.allclose(embeddings, drawn.embeddings[OWN], atol=1e-5) and torch.equal(found, drawn.found)
    crops, _ = target.crops(drawn.pixels)
    assert torch.allclose(drawn.embeddings["judge"], perception.judge().embed(crops), atol=1e-5)


def test_photos_and_strangers_alone(world):
    """Their templates are everybody's, their thresholds the original's."""
    subjects, original, _ = world
    first = Drawings(subjects, original, "judge")
    photos, stranger = photographs(subjects, "judge", first), strangers_as("p03", first)
    assert photos.threshold(1e-2) == first.threshold(1e-2) == stranger.threshold(1e-2)
    assert set(stranger.people) == {"p03"} and len(stranger.people) == 12 * MANY
    assert np.array_equal(photos.scores, cosines(photos.embeddings, subjects.templates("judge")))


def test_one_photo_alone_is_no_ceiling(world):
    """Who has one unseen photo has a template and nothing to compare with it."""
    subjects, original, _ = world
    unseen = {**subjects.unseen, "p00": subjects.unseen["p00"][:1]}
    few = Subjects(**{n: getattr(subjects, n) for n in subjects.__dataclass_fields__ if not n.startswith("_")}
                   | {"unseen": unseen})  # fmt: skip
    found = METRICS["ism"].measure(photographs(few, OWN, Drawings(few, original, OWN)), "forget")
    assert np.isnan(found.values[0]) and not np.isnan(found.values[1:]).any()
