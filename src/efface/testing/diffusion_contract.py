"""What every unlearning method for identity-conditioned diffusion models is held to, on a tiny model and drawn people.

For your own method: `from efface.testing.diffusion_contract import CHECKS, Problem` and, for each of them,
`check(MyMethod(...), Problem.make())` with few steps and a learning rate that shows in them; a check raises
AssertionError with what it found.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.conditions import DrawRequest, Faces
from efface.methods.scopes import scope_names
from efface.methods.unlearner import Unlearner
from efface.models.diffusion import shipped
from efface.targets.diffusion import DiffusionTarget
from efface.testing import tiny_diffusion

DRAWS = 4
"""Timesteps and noises for each photo when a method's objective is measured."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The tiny model, the drawn people and the request that the checks use."""

    target: DiffusionTarget
    faces: Faces
    request: DrawRequest
    """To forget two people."""

    @classmethod
    @lru_cache(maxsize=1)
    def make(cls) -> "Problem":
        """Build it."""
        target = tiny_diffusion.tiny_target()
        faces = tiny_diffusion.tiny_faces(target)
        return cls(target, faces, tiny_diffusion.tiny_request(faces, forget=2))

    def unlearn(self, method: Unlearner, seed: int = 0) -> DiffusionTarget:
        """The method's result, from a seed; kept, so that the checks do not repeat it."""
        return _unlearned(method, seed)


@lru_cache(maxsize=16)
def _unlearned(method: Unlearner, seed: int) -> DiffusionTarget:
    problem = Problem.make()
    return method.unlearn(problem.target, problem.request, torch.Generator().manual_seed(seed))


def _weights(target: DiffusionTarget) -> dict[str, Tensor]:
    """Of all three networks."""
    return {
        f"{i}.{name}": tensor.clone()
        for i, module in enumerate(target.parts.modules())
        for name, tensor in module.state_dict().items()
    }


def _changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys(), f"names of tensors differ: {sorted(one.keys() ^ other.keys())[:3]}"
    return {name for name in one if not torch.equal(one[name], other[name])}


def input_target_unchanged(method: Unlearner, problem: Problem) -> None:
    """The given target keeps its weights, mode and gradients' absence; the result has a UNet of its own, at rest."""
    before, attention = _weights(problem.target), _attention(problem.target)
    result = method.unlearn(problem.target, problem.request, torch.Generator().manual_seed(1))
    unet = problem.target.parts.unet
    assert result.parts.unet is not unet, "the result shares the UNet of the given target"
    assert not _changed(before, _weights(problem.target)), "the given target's weights changed"
    assert _attention(problem.target) == attention, "the given target's attention computes otherwise"
    for module in (*problem.target.parts.modules(), *result.parts.modules()):
        assert not module.training, "a network was left in training mode"
        assert all(p.grad is None and not p.requires_grad for p in module.parameters()), "a network holds gradients"
        hooks = (m._forward_hooks or m._forward_pre_hooks for m in module.modules())
        assert not any(hooks), "a hook was left"


def _attention(target: DiffusionTarget) -> list[type]:
    return [type(p) for p in target.parts.unet.attn_processors.values()]


def same_seed_same_weights(method: Unlearner, problem: Problem) -> None:
    """Two runs from one seed give bitwise the same weights."""
    again = method.unlearn(problem.target, problem.request, torch.Generator().manual_seed(0))
    assert not _changed(_weights(again), _weights(problem.unlearn(method))), "two runs with one seed differ"


def finite(method: Unlearner, problem: Problem) -> None:
    """Weights are finite, and so is the noise that the result predicts."""
    result, forget = problem.unlearn(method), problem.request.forget
    assert all(t.isfinite().all() for t in _weights(result).values()), "weights are not finite"
    assert _predicted(result, forget, forget.embeddings).isfinite().all(), "the noise is not finite"


def only_the_scope_changed(method: Unlearner, problem: Problem) -> None:
    """Something changed, all of it parameters of the UNet, and of the method's `scope` where it has one."""
    unet = problem.target.parts.unet
    allowed = {f"0.{name}" for name in scope_names(unet, getattr(method, "scope", "full"))}
    changed = _changed(_weights(problem.target), _weights(problem.unlearn(method)))
    assert changed, "no weight changed"
    assert changed <= allowed, f"changed outside its scope: {sorted(changed - allowed)[:3]}"


def saved_equals_loaded(method: Unlearner, problem: Problem) -> None:
    """The result, written and read back, has the same weights and predicts the same noise."""
    result = problem.unlearn(method)
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "given", Path(folder) / "out"
        shipped.write(problem.target.parts, given)
        result.spec.save(result.parts, out, given)
        loaded = DiffusionTarget.load("shipped", out)
    assert not _changed(_weights(loaded), _weights(result)), "the saved model differs from the result"
    one, other = (_predicted(t, problem.request.forget, problem.request.forget.embeddings) for t in (loaded, result))
    assert torch.equal(one, other), "the saved model predicts other noise than the result"


def empty_forget_set_is_refused(method: Unlearner, problem: Problem) -> None:
    """Nobody to forget is an error, not a silent success."""
    _refused(method, problem, lambda r: DrawRequest(r.forget.take([]), r.retain, r.anchors[:0]))


def forgotten_among_retained_is_refused(method: Unlearner, problem: Problem) -> None:
    """A person to forget who is also retained is an error."""
    _refused(method, problem, lambda r: DrawRequest(r.forget, problem.faces, r.anchors))


def _refused(method: Unlearner, problem: Problem, change: Callable[[DrawRequest], DrawRequest]) -> None:
    try:
        method.unlearn(problem.target, change(problem.request), torch.Generator())
    except EffaceError:
        return
    raise AssertionError("the request was accepted")


def moves_its_own_objective(method: Unlearner, problem: Problem) -> None:
    """What the method itself says it moves has moved on the seen photos of the forgotten, beyond rounding."""
    if method.objective == "none":
        assert method.control, "only a control may have no objective"
        return
    moved = objective(method.objective, problem, problem.unlearn(method))
    assert moved > 1e-4, f"{method.objective} moved by {moved:.2g}, expected more than 0"


def objective(name: str, problem: Problem, result: DiffusionTarget) -> float:
    """How far a result is on the way that `Unlearner.objective` names.

    anchor_noise, nobody_noise: ⟨ε − ε*, ε*_goal − ε*⟩ / ‖ε*_goal − ε*‖², 0 for the original and 1 at the goal, where ε
    is the noise predicted for the forgotten and * the original. denoising_error: by how much more E‖ε − noise‖² grew,
    as a share of what it was, on the forgotten's pictures than on the retained.
    """
    if name == "denoising_error":
        forgotten, retained = (_growth(problem, result, f) for f in (problem.request.forget, problem.request.retain))
        return forgotten - retained
    forget = problem.request.forget
    goals = problem.request.anchors[forget.labels()]
    goals = torch.zeros_like(goals) if name == "nobody_noise" else goals
    before, after = (_predicted(target, forget, forget.embeddings) for target in (problem.target, result))
    way = _predicted(problem.target, forget, goals) - before
    return float(((after - before) * way).sum() / way.square().sum())


def _growth(problem: Problem, result: DiffusionTarget, faces: Faces) -> float:
    """Of the denoising error on these photos, as a share of what it was."""
    noise = _noised(problem.target, faces)[2]
    before, after = (
        (_predicted(target, faces, faces.embeddings) - noise).square().mean() for target in (problem.target, result)
    )
    return float(after / before - 1)


def _noised(target: DiffusionTarget, faces: Faces) -> tuple[Tensor, Tensor, Tensor]:
    """(z_t, t, the noise in it) of photos, each `DRAWS` times; the same for every model of one auto-encoder."""
    generator, schedule = torch.Generator().manual_seed(7), target.parts.schedule
    clean = target.encode(faces.pictures).repeat(DRAWS, 1, 1, 1)
    noise = torch.randn(clean.shape, generator=generator)
    t = torch.randint(len(schedule.alphas), (len(clean),), generator=generator)
    return schedule.noised(clean, noise, t), t, noise


@torch.no_grad()
def _predicted(target: DiffusionTarget, faces: Faces, embeddings: Tensor) -> Tensor:
    """The noise that a model predicts for photos under embeddings [photos, d]."""
    z, t, _ = _noised(target, faces)
    return target.noise(z, t, target.condition(embeddings.repeat(DRAWS, 1)))


CHECKS: tuple[Callable[[Unlearner, Problem], None], ...] = (
    input_target_unchanged,
    same_seed_same_weights,
    finite,
    only_the_scope_changed,
    saved_equals_loaded,
    empty_forget_set_is_refused,
    forgotten_among_retained_is_refused,
    moves_its_own_objective,
)
"""Every check; a method passes all of them."""
