"""What is written down: numbers with intervals, drops, the gate, the worst-off, floors, pooled runs."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.errors import EffaceError
from efface.metrics.audit import audit, conclude, pool
from efface.metrics.bootstrap import bootstrap
from efface.metrics.floor import FLOOR_METRICS, pixel_embeddings
from efface.metrics.harm import drops, equal_harm, worst
from efface.metrics.metric import audited_metrics
from efface.metrics.rows import Row, read_rows, write_rows
from synthetic_faces import jittered, make_embeddings, make_split

METRICS = audited_metrics()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def orl():
    """People and photos as in ORL, with an unlearned and a retrained model."""
    rng = np.random.default_rng(0)
    split = make_split({"forget": [10] * 4, "retain": [10] * 20, "holdout": [10] * 16}, rng)
    original = make_embeddings(split, rng, size=32, noise=0.12)
    unlearned = jittered(original, rng, 0.02)
    for person in split.forget:
        own = list(split.photos[person])
        unlearned[own] = jittered(original[own], rng, 1.0)
    models = {"original": original, "unlearned": unlearned, "retrained": jittered(original, rng, 0.05)}
    return split, models, {"raw_pixels": jittered(original, rng, 0.3)}


@pytest.fixture(scope="module")
def result(orl):
    split, models, floors = orl
    return audit(split, models, seeded(), floors=floors)


def test_audit_json_has_every_number_of_every_group(result):
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert set(content["models"]) == {"original", "unlearned", "retrained"}
    for groups in content["models"].values():
        assert {(g, k) for g, numbers in groups.items() for k in numbers} == {
            (g, k) for k, metric in METRICS.items() for g in metric.groups
        }
        for numbers in groups.values():
            for number in numbers.values():
                assert set(number) == {"value", "low", "high", "n", "n_trials"}
    assert content["groups"]["forget"] == ["forget0", "forget1", "forget2", "forget3"]
    assert set(content["neighbours"]) == set(content["groups"]["forget"])
    assert all(len(near) == 5 for near in content["neighbours"].values())


def test_counts_intervals_and_nulls_of_orl(result):
    numbers = result.models["original"]
    assert numbers["retain"]["rank1"] | {"value": 0, "low": 0, "high": 0} == {
        "value": 0, "low": 0, "high": 0, "n": 20, "n_trials": 20 * 5 * 4,
    }  # fmt: skip
    assert numbers["forget_seen"]["rank1"]["n_trials"] == 4 * 5 * 5
    assert numbers["holdout"]["rank1_multi"]["n_trials"] == 16 * 5
    assert numbers["impostors"]["far_at_frozen_threshold"]["n_trials"] == 12_000
    assert numbers["impostors"]["far_at_frozen_threshold"]["value"] == pytest.approx(1e-3)
    low, high = (numbers["holdout"]["tar@far=1e-3"][end] for end in ("low", "high"))
    assert low <= numbers["holdout"]["tar@far=1e-3"]["value"] <= high and low < high
    assert numbers["forget"]["rank1"]["low"] is None, "4 people are too few for an interval"
    for key in ("tar@far=1e-4", "tpir@fpir=1e-2", "tpir@fpir=1e-3"):
        assert numbers["retain"][key] == {"value": None, "low": None, "high": None, "n": 20, "n_trials": 400}
    assert result.thresholds["original"]["far=1e-4"] == {"value": None, "n_trials": 12_000}
    assert result.thresholds["original"]["fpir=1e-2"] == {"value": None, "n_trials": 800}
    frozen, refitted = (result.thresholds[m]["far=1e-3"]["value"] for m in ("original", "unlearned"))
    assert frozen is not None and refitted != frozen
    assert result.thresholds["floor.raw_pixels"]["far=1e-3"]["value"] not in (None, frozen)


def test_a_groups_value_is_the_mean_of_its_people(result):
    for model, groups in result.models.items():
        for group, numbers in groups.items():
            for key, number in numbers.items():
                rows = [r for r in result.people if (r.model, r.group, r.metric) == (model, group, key)]
                values = [r.value for r in rows if r.value is not None]
                assert number["value"] == (pytest.approx(np.mean(values)) if values else None)


def test_far_of_unequal_people_is_the_share_of_all_pairs():
    rng = np.random.default_rng(1)
    split = make_split({"forget": [4], "retain": [4], "holdout": [60, 30, 40, 5, 1, 50]}, rng)
    old = make_embeddings(split, rng, size=4, noise=0.5)
    new = jittered(old, rng, 0.3)
    number = audit(split, {"original": old, "unlearned": new}, seeded()).models["unlearned"]["impostors"]
    rows = new.double().numpy()
    person = {photo: p for p in split.holdout for photo in split.photos[p]}
    pairs = [float(rows[a] @ rows[b]) for a in person for b in person if a < b and person[a] != person[b]]
    frozen = audit(split, {"original": old}, seeded()).thresholds["original"]["far=1e-3"]["value"]
    assert number["far_at_frozen_threshold"]["n_trials"] == len(pairs)
    assert number["far_at_frozen_threshold"]["value"] == pytest.approx(np.mean(np.array(pairs) > frozen))


def test_the_same_seed_gives_the_same_audit_and_floors_change_nothing(orl, result):
    split, models, _ = orl
    again = audit(split, models, seeded())
    assert again.as_dict() == result.as_dict() | {
        "floor": {},
        "thresholds": {k: v for k, v in result.thresholds.items() if "floor" not in k},
    }
    other = audit(split, models, seeded(1))
    one, two = (a.models["unlearned"]["holdout"]["compactness"] for a in (result, other))
    assert one["value"] == two["value"] and one["low"] != two["low"]


def test_floors_are_measured_at_their_own_thresholds(orl, result):
    split, _, floors = orl
    assert set(result.floor["raw_pixels"]["forget"]) == set(FLOOR_METRICS) <= set(METRICS)
    alone = audit(split, {"original": floors["raw_pixels"]}, seeded())
    for group in ("forget", "forget_seen", "retain", "holdout"):
        for key in FLOOR_METRICS:
            assert result.floor["raw_pixels"][group][key] == alone.models["original"][group][key]
    neighbours = {r.person for r in result.people if (r.model, r.group) == ("floor.raw_pixels", "neighbours")}
    assert neighbours == set(result.groups["neighbours"]), "look-alikes are the original model's"


def test_forgetting_shows_and_the_gate_is_passed(result):
    before, after = result.models["original"]["forget"], result.models["unlearned"]["forget"]
    assert before["tar@far=1e-3"]["value"] > 0.9 > 0.3 > after["tar@far=1e-3"]["value"]
    points = 100 * (before["rank1"]["value"] - after["rank1"]["value"])
    assert result.drops["forget"]["rank1"] == pytest.approx(points)
    assert "eer" not in result.drops["forget"] and "compactness" not in result.drops["forget"]
    assert result.equal_harm is not None and result.equal_harm["admissible"] is True


def numbers(rank1=1.0, tar=1.0):
    return {"rank1": {"value": rank1}, "tar@far=1e-3": {"value": tar}}


def models(far=1e-3, **after):
    def state(far, retain, holdout):
        strangers = {"far_at_frozen_threshold": {"value": far}}
        return {"retain": retain, "holdout": holdout, "impostors": strangers}

    unlearned = {"retain": numbers(), "holdout": numbers()} | after
    return {"original": state(1e-3, numbers(), numbers()), "unlearned": state(far, **unlearned)}


@pytest.mark.parametrize(
    ("found", "admissible"),
    [
        (models(), True),
        (models(far=3e-3, retain=numbers(rank1=0.99), holdout=numbers(tar=0.99)), True),  # one point each, exactly
        (models(far=3.1e-3), False),
        (models(retain=numbers(rank1=0.989)), False),
        (models(holdout=numbers(tar=0.989)), False),
        (models(far=None), None),
        (models(holdout=numbers(tar=None)), None),
        (models(far=None, holdout=numbers(tar=0.5)), False),
    ],
)
def test_gate(found, admissible):
    gate = equal_harm(found, drops(found, METRICS))
    assert gate is not None and gate["admissible"] is admissible


def test_no_gate_without_an_unlearned_model(orl):
    split, models, _ = orl
    alone = audit(split, {"original": models["original"]}, seeded())
    assert alone.equal_harm is None and alone.drops == {} and alone.floor == {}


def test_worst_is_the_worst_off_of_those_who_stay():
    def row(model, group, person, value, metric="rank1"):
        return Row(model, group, person, metric, value, 4)

    rows = [
        row("original", "retain", "a", 0.5), row("original", "retain", "b", 0.9), row("original", "holdout", "c", 1.0),
        row("unlearned", "retain", "a", 0.4), row("unlearned", "retain", "b", 0.4),
        row("unlearned", "holdout", "c", 0.8),
        row("unlearned", "forget", "f", 0.0), row("unlearned", "neighbours", "c", 0.0),
        row("unlearned", "holdout", "d", None),
        row("unlearned", "holdout", "c", 0.3, "template_drift"), row("unlearned", "retain", "b", 0.2, "template_drift"),
    ]  # fmt: skip
    found = worst(rows, METRICS)
    assert found["unlearned"]["rank1"] == {"person": "b", "group": "retain", "value": 0.4, "original": 0.9}
    assert found["original"]["rank1"] == {"person": "a", "group": "retain", "value": 0.5, "original": 0.5}
    assert found["unlearned"]["template_drift"]["person"] == "c", "more drift is worse"


def test_worst_compares_a_person_with_the_same_group_before():
    """Anna is retained in one run and held out in another; her numbers before are those of each."""
    runs = [
        [
            Row(model, group, person, "rank1", value, 4)
            for model, values in {"original": before, "unlearned": after}.items()
            for (group, person), value in values.items()
        ]
        for before, after in (
            ({("retain", "anna"): 0.9, ("holdout", "ben"): 1.0}, {("retain", "anna"): 0.2, ("holdout", "ben"): 1.0}),
            ({("holdout", "anna"): 0.6, ("retain", "ben"): 1.0}, {("holdout", "anna"): 0.5, ("retain", "ben"): 1.0}),
        )
    ]
    for order in (runs, runs[::-1]):
        found = pool(order, seeded())["worst"]["unlearned"]["rank1"]
        assert found == {"person": "anna", "group": "retain", "value": 0.2, "original": 0.9}


def test_people_csv_comes_back_to_the_same_numbers(result, tmp_path):
    result.write_people(tmp_path / "people.csv")
    assert read_rows(tmp_path / "people.csv") == result.people
    assert (tmp_path / "people.csv").read_text().splitlines()[0] == "model,group,person,metric,value,n_trials"
    assert [f.name for f in tmp_path.iterdir()] == ["people.csv"]
    odd = [Row("original", "forget", 'Ann, "A"\nB', "rank1", 1 / 3, 4), Row("original", "forget", "é", "map", None, 0)]
    write_rows(tmp_path / "odd.csv", odd)
    assert read_rows(tmp_path / "odd.csv") == odd


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "model,group,person,metric,value,n_trials\na,b,c,d,e,f\n"])
def test_not_people_csv(tmp_path, content):
    (tmp_path / "people.csv").write_text(content)
    with pytest.raises(EffaceError, match=r"people\.csv: "):
        read_rows(tmp_path / "people.csv")


def test_people_csv_that_cannot_be_read_or_written(result, tmp_path):
    with pytest.raises(EffaceError, match="cannot be read"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "file").touch()
    with pytest.raises(EffaceError, match="cannot be written"):
        result.write_people(tmp_path / "file" / "people.csv")


def test_one_run_pooled_is_that_run(result):
    pooled = pool([result.people], seeded())
    assert pooled == {name: getattr(result, name) for name in pooled}


def test_pooled_runs_are_means_of_people_first():
    """Anna is forgotten in two runs and Ben in one: the group's value is the mean of two people, not of three runs."""

    def run(people, far):
        rows = [Row("unlearned", "forget", p, "rank1", v, 10) for p, v in people.items()]
        rows += [Row("original", "forget", p, "rank1", 1.0, 10) for p in people]
        return rows + [
            Row("unlearned", "impostors", p, "far_at_frozen_threshold", v, n) for p, (v, n) in far.items()
        ]  # fmt: skip

    pooled = pool(
        [
            run({"anna": 0.2, "ben": 0.9}, {"x": (0.1, 100), "y": (0.3, 300)}),
            run({"anna": 0.4, "carl": None}, {"x": (0.3, 100)}),
        ],
        seeded(),
    )
    number = pooled["models"]["unlearned"]["forget"]["rank1"]
    assert number["value"] == pytest.approx((0.3 + 0.9) / 2)
    assert pooled["drops"]["forget"]["rank1"] == pytest.approx(40)
    assert (number["n"], number["n_trials"], number["low"]) == (3, 40, None)
    far = pooled["models"]["unlearned"]["impostors"]["far_at_frozen_threshold"]
    assert far["value"] == pytest.approx((0.2 * 200 + 0.3 * 300) / 500) and far["n_trials"] == 250


def test_interval_needs_8_people_and_widens_with_spread(generator):
    assert bootstrap(np.arange(7.0), generator) == (None, None)
    assert bootstrap(np.ones(8), generator) == (1.0, 1.0)
    narrow, wide = (bootstrap(np.linspace(-s, s, 20), seeded()) for s in (1, 5))
    assert wide[0] == pytest.approx(5 * narrow[0]) and wide[1] == pytest.approx(5 * narrow[1])
    weights = np.r_[np.full(10, 1e-9), np.ones(10)]
    low, high = bootstrap(np.r_[np.zeros(10), np.ones(10)], seeded(), weights)
    assert low == pytest.approx(1, abs=1e-6) == high


def test_few_people_few_photos_and_nobody_held_out():
    rng = np.random.default_rng(2)
    split = make_split({"forget": [3], "retain": [2], "holdout": []}, rng)
    rows = make_embeddings(split, rng)
    found = audit(split, {"original": rows, "unlearned": rows}, seeded())
    json.dumps(found.as_dict(), allow_nan=False)
    nobody = {"value": None, "low": None, "high": None, "n": 0, "n_trials": 0}
    assert found.models["original"]["forget"]["rank1"]["n"] == 1
    assert found.models["original"]["retain"]["rank1"] == nobody, "one unseen photo has no other to be matched with"
    assert found.models["original"]["forget"]["tar@far=1e-2"]["value"] is None
    assert found.models["original"]["forget"]["genuine_auc"]["value"] is None
    assert found.models["original"]["holdout"]["rank1"] == nobody
    assert found.models["unlearned"]["impostors"]["far_at_frozen_threshold"] == nobody
    assert found.equal_harm is not None and found.equal_harm["admissible"] is None


def test_an_evaluation_alone_has_nobody_to_forget():
    rng = np.random.default_rng(3)
    split = make_split({"forget": [], "retain": [4, 6], "holdout": [4, 4]}, rng)
    found = audit(split, {"original": make_embeddings(split, rng)}, seeded())
    assert found.models["original"]["forget"]["rank1"]["n"] == 0 and found.neighbours == {}
    assert found.models["original"]["holdout"]["rank1"]["n"] == 2


def test_the_original_is_needed(orl):
    split, models, _ = orl
    with pytest.raises(EffaceError, match="expected `original` among them"):
        audit(split, {"unlearned": models["unlearned"]}, seeded())


def test_raw_pixels(generator):
    pixels = torch.randint(0, 256, (6, 3, 12, 8), generator=generator, dtype=torch.uint8)
    pixels[4], pixels[5] = 0, 200
    rows = pixel_embeddings(pixels)
    assert rows.shape == (6, 6)
    assert torch.allclose(rows.norm(dim=1), torch.ones(6)) and rows[:4].mean(1).abs().max() < 1e-6
    scores = rows @ rows.T
    assert torch.allclose(scores[4:, :4], torch.zeros(2, 4), atol=1e-6) and math.isclose(scores[4, 5], 1, abs_tol=1e-6)
    red, green, blue = pixels[0].double().numpy()
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    blocks = [grey[i : i + 4, j : j + 4].mean() for i in (0, 4, 8) for j in (0, 4)]
    assert np.corrcoef(blocks, rows[0].numpy())[0, 1] == pytest.approx(1)
    brighter = (pixels[:4].float() * 0.5 + 20).to(torch.uint8)
    assert (pixel_embeddings(brighter) * rows[:4]).sum(1).min() > 0.999, "contrast and brightness do not count"
    many = pixels.repeat(50, 1, 1, 1)  # more than are converted together
    assert torch.equal(pixel_embeddings(many), rows.repeat(50, 1))


def test_conclusions_need_only_rows(result):
    assert conclude(result.people, seeded())["models"] == result.models


def test_every_key_is_documented(result):
    page = (Path(__file__).parents[1] / "docs" / "audit.md").read_text(encoding="utf-8")
    for name in (*METRICS, *result.groups, *result.as_dict(), *Row._fields):
        assert f"`{name}" in page or f"{name}," in page, name
