"""`scatter`: whom it hides and whom it leaves, one request after the other, from the command line, under attack."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from efface import registry
from efface.attacks.attack import Subject
from efface.cli import app
from efface.errors import EffaceError
from efface.faces.splits import split
from efface.methods.recognition.dispersion import Dispersion
from efface.methods.recognition.random_label import RandomLabel
from efface.methods.recognition.scatter import RAMP, ScatterModule
from efface.methods.unlearner import Request
from efface.metrics.protocol import Evaluation
from efface.models.scatter import Scatter
from efface.targets.recognition import RecognitionTarget
from efface.testing.attack_contract import Scene as AttackScene
from efface.testing.attack_contract import deterministic, numbers_are_shares, target_unchanged
from efface.testing.contract import Problem
from test_attacks_contract import SHORT


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.make()


def module_of(target: RecognitionTarget) -> Scatter:
    assert target.module is not None
    return target.module


def test_the_forgotten_scatter_and_whose_gate_is_closed_stays_to_the_bit(problem):
    hidden = problem.unlearn(ScatterModule())
    before, after = (t.embed(problem.crops.pixels) for t in (problem.target, hidden))
    opened = module_of(hidden).opened(before).flatten()
    stay = [i for p in problem.split.retain for i in problem.split.seen[p]]
    forgotten = [i for p in problem.split.forget for i in problem.split.unseen[p]]
    closed = opened == 0
    assert closed[stay].all() and torch.allclose(after[closed], before[closed], atol=1e-6)
    assert (opened[forgotten] == 1).float().mean() >= 0.9
    assert (after * before).sum(1)[forgotten].abs().mean() < 0.3
    own = problem.split.unseen[problem.split.forget[0]]
    alike = (after[list(own)] @ after[list(own)].T).fill_diagonal_(0).abs().max()
    assert alike < (before[list(own)] @ before[list(own)].T).min(), "photos of one person are still together"


def test_the_gate_is_the_discriminant(problem):
    method = ScatterModule(shrinkage=0.5, threshold=0.7)
    gate = module_of(method.unlearn(problem.target, problem.request(), torch.Generator().manual_seed(0))).gate
    own, others = (
        problem.target.embed(crops.pixels).numpy().astype(float)
        for crops in (problem.seen(problem.split.forget[1:2]), problem.seen(problem.split.retain))
    )
    rows = [x - own.mean(0) for x in own] + [x - others.mean(0) for x in others]
    covariance = np.mean([np.outer(row, row) for row in rows], axis=0)
    shrunk = covariance + 0.5 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    w = np.linalg.inv(shrunk) @ (own.mean(0) - others.mean(0))
    for x in (own.mean(0), others.mean(0), own[0], others[0]):
        score = w @ (x - others.mean(0)) / (w @ (own.mean(0) - others.mean(0)))
        found = float(gate(torch.from_numpy(x).float())[1])
        assert found == pytest.approx((score - 0.7) / RAMP, abs=1e-2)


def test_the_waves_of_two_photos_of_a_person_differ_by_the_phase(problem):
    module = module_of(
        ScatterModule(phase=2.5, waves=4000, level=0.7).unlearn(problem.target, problem.request(), seed())
    )
    squares = []
    for person in (*problem.split.forget, *problem.split.retain):
        own = problem.target.embed(problem.seen((person,)).pixels)
        for i in range(len(own)):
            for j in range(i):
                squares.append((module.waves(own[i]) - module.waves(own[j])).square().mean())
    assert float(torch.stack(squares).mean()) ** 0.5 == pytest.approx(2.5, rel=0.1)
    level = problem.target.embed(problem.seen(problem.split.retain).pixels).mean(0)
    assert torch.allclose(module.mix.bias, 0.7 * level, atol=1e-6)
    lengths = module.mix(
        torch.sin(2 * torch.pi * torch.rand(200, 4000, generator=torch.Generator().manual_seed(1)))
    ).norm(dim=1)
    assert float(lengths.square().mean()) == pytest.approx(1, abs=0.1)


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_further_requests_add_gates_to_the_same_module(problem):
    first = split(problem.crops, problem.split.forget[:1])
    second = split(problem.crops, problem.split.forget[1:])
    target = problem.target
    hidden = []
    for parts, method in ((first, ScatterModule()), (second, ScatterModule(waves=8))):
        own, stay = (
            problem.crops.take([i for p in group for i in parts.seen[p]])
            for group in (parts.forget, [p for p in parts.retain if p not in problem.split.forget])
        )
        target = method.unlearn(target, Request(own, stay), seed())
        hidden.append(target)
    once, twice = (module_of(t) for t in hidden)
    assert len(once.gate.weight) == 1 and len(twice.gate.weight) == 3
    assert torch.equal(twice.gate.weight[:1], once.gate.weight) and torch.equal(twice.mix.weight, once.mix.weight)
    assert [n.split(".")[0] for n in target.network.state_dict()].count("efface_scatter") == 6, "one module, not two"
    before, after = (t.embed(problem.crops.pixels) for t in (problem.target, target))
    for person in problem.split.forget:
        rows = list(problem.split.unseen[person])
        assert (before[rows] * after[rows]).sum(1).mean() < 0.3, f"{person} is not hidden"


def test_what_it_cannot_do_is_one_line(problem):
    request = problem.request()
    one = request.retain.take([i for i, p in enumerate(request.retain.identities) if p == problem.split.retain[0]])
    with pytest.raises(EffaceError, match="retain: found 1 people, expected at least 2"):
        ScatterModule().unlearn(problem.target, Request(request.forget, one), seed())
    firsts = [request.retain.identities.index(p) for p in problem.split.retain]
    singles = Request(request.forget.take([0]), request.retain.take(firsts))
    with pytest.raises(EffaceError, match="found one seen photo of every person, expected two of one"):
        ScatterModule().unlearn(problem.target, singles, seed())
    same = replace(request.retain, identities=("somebody",) * len(request.retain))
    with pytest.raises(EffaceError, match="on average the retained people's"):
        ScatterModule().unlearn(problem.target, Request(same, request.retain), seed())


@pytest.mark.parametrize("method", [Dispersion(steps=2), RandomLabel(steps=2)], ids=lambda m: type(m).__name__)
def test_methods_that_train_work_under_the_module_and_leave_it(method, problem):
    hidden = problem.unlearn(ScatterModule())
    result = method.unlearn(hidden, problem.request(), seed())
    old, new = module_of(hidden).state_dict(), module_of(result).state_dict()
    assert all(torch.equal(old[n], new[n]) for n in old) and module_of(result) is not module_of(hidden)
    assert not torch.equal(result.embed(problem.crops.pixels[:8]), hidden.embed(problem.crops.pixels[:8]))


def test_a_run_says_that_it_hides(tmp_path):
    """From torch's format, which cannot hold the module, by the command line, and measured again from its file."""
    target = Problem.make().target
    torch.save(target.network.state_dict(), tmp_path / "tiny.pth")
    given = ["--model", "tiny", "--weights", str(tmp_path / "tiny.pth"), "--faces", "drawn", "--forget", "person-003"]
    run = CliRunner().invoke(app, ["unlearn", *given, "--method", "scatter", "--out", str(tmp_path / "out")])
    assert run.exit_code == 0, run.output
    said = " ".join(run.output.split())
    assert "Hides rather than erases: the network inside is untouched" in said
    assert "written as safetensors alone" in said
    audit = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert audit["module"] == "scatter" and audit["weights"] == ["tiny.safetensors"]
    assert "Hides rather than erases" in (tmp_path / "out" / "report.html").read_text()
    weights = str(tmp_path / "out" / "weights" / "tiny.safetensors")
    again = CliRunner().invoke(app, ["evaluate", *given, "--unlearned", weights])
    assert again.exit_code == 0, again.output
    assert "Hides rather than erases" in " ".join(again.output.split())
    shares = [line.split()[-2:] for out in (run, again) for line in out.output.splitlines() if "it never saw" in line]
    assert shares[0] == shares[1], "the file is not the model that was measured"


@pytest.fixture(scope="module")
def scene(problem) -> AttackScene:
    """The attacks' scene, with the module in the place of the projection."""
    made = AttackScene.make()
    hidden = problem.unlearn(ScatterModule())
    found = Evaluation(problem.split, hidden.embed(problem.crops.pixels), made.original.evaluation)
    return replace(made, unlearned=Subject(hidden, problem.crops, found))


@pytest.mark.parametrize("name", registry.names("attacks.recognition"))
def test_every_attack_runs_on_it(name, scene):
    attack = registry.get("attacks.recognition", name)(**SHORT.get(name, {}))
    for check in (target_unchanged, numbers_are_shares):
        check(attack, scene)
    if name in ("quantisation", "streisand"):
        deterministic(attack, scene)


def test_int8_rounds_the_module_too_and_it_still_hides(problem, scene):
    attack = registry.get("attacks.recognition", "quantisation")()
    tar = {
        o.group: float(np.nanmean(o.people.values))
        for o in attack.attempt(scene.unlearned)
        if o.number == "tar@bits=8,far=1e-2"
    }
    assert tar["forget"] <= 0.1 and tar["control"] >= 0.9
