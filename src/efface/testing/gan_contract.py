"""What every unlearning method for GAN face generators is held to, on tiny models with random weights.

For your own method: `from efface.testing.gan_contract import CHECKS, Problem` and, for each of them,
`check(MyMethod(...), Problem.make("eg3d"))`, and `"stylegan2"`, with few steps and a learning rate that shows; a
check raises AssertionError with what it found.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.rebuilding import RebuildRequest
from efface.methods.unlearner import Unlearner
from efface.targets.gan import GanTarget
from efface.testing.tiny_gan import Kind, tiny_request, tiny_target


@dataclass(frozen=True, eq=False)
class Problem:
    """A tiny model and the request that the checks use."""

    kind: Kind
    target: GanTarget
    request: RebuildRequest
    """To forget two people; four are retained."""

    @classmethod
    @lru_cache(maxsize=2)
    def make(cls, kind: Kind) -> "Problem":
        """Build it."""
        target = tiny_target(kind)
        return cls(kind, target, tiny_request(target, people=2, retain=4))

    def unlearn(self, method: Unlearner, seed: int = 0) -> GanTarget:
        """The method's result, from a seed; kept, so that the checks do not repeat it."""
        return _unlearned(method, self.kind, seed)

    def moved(self, result: GanTarget, latents: Tensor) -> float:
        """Mean square by which pictures of latents, from two sides, differ from the given target's."""
        cameras = self.target.camera(torch.tensor([-0.2, 0.2])).repeat(len(latents), 1)
        w = latents.repeat_interleave(2, 0)
        before, after = (target.synthesize(w, cameras) for target in (self.target, result))
        return float((after - before).square().mean())


@lru_cache(maxsize=16)
def _unlearned(method: Unlearner, kind: Kind, seed: int) -> GanTarget:
    problem = Problem.make(kind)
    return method.unlearn(problem.target, problem.request, torch.Generator().manual_seed(seed))


def _weights(target: GanTarget) -> dict[str, Tensor]:
    """Of both networks."""
    return {
        f"{i}.{name}": tensor.clone()
        for i, module in enumerate(target.parts.modules())
        for name, tensor in module.state_dict().items()
    }


def input_target_unchanged(method: Unlearner, problem: Problem) -> None:
    """The given target keeps its weights, mode and gradients' absence; the result has a generator of its own, at rest,
    and the same encoder."""
    before = _weights(tiny_target(problem.kind))
    result = problem.unlearn(method)
    assert result.parts.generator is not problem.target.parts.generator, "the result shares the given generator"
    after = _weights(problem.target)
    assert all(torch.equal(before[n], after[n]) for n in before), "the given target's weights changed"
    assert result.parts.encoder is problem.target.parts.encoder, "the encoder is another"
    recogniser = problem.target.recogniser.network
    for module in (*problem.target.parts.modules(), *result.parts.modules(), recogniser):
        assert not any(m.training for m in module.modules()), "a network was left in training mode"
        assert all(p.grad is None and not p.requires_grad for p in module.parameters()), "a network holds gradients"
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules()), "a hook was left"


def same_seed_same_weights(method: Unlearner, problem: Problem) -> None:
    """Two runs from one seed give bitwise the same weights."""
    again = method.unlearn(problem.target, problem.request, torch.Generator().manual_seed(0))
    assert not again.changes(problem.unlearn(method)), "two runs with one seed differ"


def only_the_synthesis_changed(method: Unlearner, problem: Problem) -> None:
    """Something changed, all of it within the backbone's synthesis, no buffer among it; every tensor of the given
    target is still there, and all numbers are finite."""
    result = problem.unlearn(method)
    changed = result.changes(problem.target)
    assert changed, "no weight changed"
    synthesis = "backbone.synthesis." if problem.kind == "eg3d" else "synthesis."
    outside = [name for name in changed if not name.startswith(synthesis)]
    assert not outside, f"changed outside the synthesis: {outside[:3]}"
    parameters = dict(result.parts.generator.named_parameters())
    assert all(name in parameters for name in changed), "buffers changed"
    own = result.parts.generator.state_dict()
    assert own.keys() >= problem.target.parts.generator.state_dict().keys(), "tensors are missing"
    assert all(tensor.isfinite().all() for tensor in own.values()), "weights are not finite"


def saved_equals_loaded(method: Unlearner, problem: Problem) -> None:
    """The result, written and read back, has the same weights and draws the same pictures."""
    result = problem.unlearn(method)
    with tempfile.TemporaryDirectory() as folder:
        result.save(Path(folder) / "out", result.changes(problem.target))
        loaded = GanTarget.load(problem.kind, Path(folder) / "out")
    assert not loaded.changes(result) and not result.changes(loaded), "the saved model differs from the result"
    w, camera = problem.request.latents, problem.target.camera(0.1).expand(len(problem.request.latents), -1)
    assert torch.equal(loaded.synthesize(w, camera), result.synthesize(w, camera)), "the saved model draws otherwise"


def forgets_more_than_it_harms(method: Unlearner, problem: Problem) -> None:
    """What is drawn of the forgotten has moved, further than that of the retained."""
    result = problem.unlearn(method)
    forgotten, retained = (problem.moved(result, w) for w in (problem.request.latents, problem.request.retain))
    assert forgotten > 1e-6, f"what is drawn of the forgotten moved by {forgotten:.2g}, expected more than 0"
    assert forgotten > retained, f"the forgotten moved by {forgotten:.2g}, the retained by {retained:.2g}"


def one_after_another(method: Unlearner, problem: Problem) -> None:
    """People are forgotten one after another too, without anybody retained: the second run begins at the first's
    result, and changes it."""
    empty = problem.request.retain[:0]
    (first, second), (one, two) = problem.request.people, problem.request.latents.split(1)
    generator = torch.Generator().manual_seed(0)
    middle = method.unlearn(problem.target, RebuildRequest((first,), one, empty), generator)
    end = method.unlearn(middle, RebuildRequest((second,), two, empty, one), generator)
    assert middle.changes(problem.target) and end.changes(middle), "a run changed nothing"
    assert all(problem.moved(end, w) > 1e-6 for w in (one, two)), "one of both is drawn as before"


def wrong_latents_are_refused(method: Unlearner, problem: Problem) -> None:
    """Latents of another shape, that are not finite, or are nobody's are an error, before anything is trained."""
    request = problem.request
    shorter = replace(request, latents=request.latents[:, 1:], retain=request.retain[:, 1:])
    _refused(method, problem, lambda: shorter)
    _refused(method, problem, lambda: replace(request, latents=request.latents.log()))
    _refused(method, problem, lambda: replace(request, retain=request.retain / 0))
    _refused(method, problem, lambda: RebuildRequest((), request.latents[:0], request.retain))


def _refused(method: Unlearner, problem: Problem, make: Callable[[], RebuildRequest]) -> None:
    try:
        method.unlearn(problem.target, make(), torch.Generator())
    except EffaceError as error:
        assert "\n" not in str(error), f"not one line: {error}"
        return
    raise AssertionError("the request was accepted")


CHECKS: tuple[Callable[[Unlearner, Problem], None], ...] = (
    input_target_unchanged,
    same_seed_same_weights,
    only_the_synthesis_changed,
    saved_equals_loaded,
    forgets_more_than_it_harms,
    one_after_another,
    wrong_latents_are_refused,
)
"""Every check; a method passes all of them."""
