"""The benchmark of GUIDE's step, on tiny generators."""

import importlib
from pathlib import Path

import pytest
import torch

from efface.testing.tiny_gan import tiny_target


@pytest.mark.parametrize("kind", ["eg3d", "stylegan2"])
def test_both_steps_have_the_same_losses_and_gradients(kind, monkeypatch):
    """In the first step, and in the one after it, for which ours has kept what the source draws."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    bench = importlib.import_module("benchmarks.gan_step")
    problem, given = bench.problem, []
    monkeypatch.setattr(bench, "problem", lambda target: given.append(problem(target)) or given[-1])
    naive, ours = (make(tiny_target(kind)) for make in bench.STEPS.values())
    losses = []
    for _ in range(2):
        losses.append(ours())
        assert naive() == pytest.approx(losses[-1], rel=1e-4)
        one, other = (torch.cat([p.grad.flatten() for p in g.trained]) for g in given)
        assert float((one - other).norm()) < 1e-3 * float(other.norm())
    first, second = losses
    assert list(first) == ["local", "adjacency", "global"] and all(value > 1e-3 for value in first.values())
    assert sum(second.values()) < sum(first.values()), "a step of Adam on the same draws"
