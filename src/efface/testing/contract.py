"""What every unlearning method for recognisers is held to, on a tiny real model and drawn people.

For your own method: `from efface.testing.contract import CHECKS, Problem` and, for each of them,
`check(MyMethod(), Problem.make())`; a check raises AssertionError with what it found. They run in seconds.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.faces.alignment import align
from efface.faces.crops import Crops
from efface.faces.datasets.drawn import Drawn
from efface.faces.splits import Split, split
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import head_from_class_means
from efface.targets.recognition import RecognitionTarget
from efface.testing import TINY

FORGET = ("person-000", "person-001", "person-002")
"""Whom the checks forget."""
FAR = 1e-2
"""False accept rate of the checks' threshold: the drawn holdout people make some thousands of impostor pairs."""


@dataclass(frozen=True)
class Problem:
    """The tiny recogniser, the drawn people and the request that the checks use."""

    target: RecognitionTarget
    crops: Crops
    split: Split

    @classmethod
    @lru_cache(maxsize=1)
    def make(cls) -> "Problem":
        """Build it (the tiny model ships with efface; the people are drawn now)."""
        crops, _ = align(Drawn(people=30, photos=10).read())
        return cls(RecognitionTarget.load("tiny", TINY), crops, split(crops, FORGET))

    def request(self) -> Request:
        """The seen photos of the forgotten and of the retained."""
        return Request(self.seen(self.split.forget), self.seen(self.split.retain))

    def seen(self, people: tuple[str, ...]) -> Crops:
        """The seen photos of these people."""
        return self.crops.take([i for p in people for i in self.split.seen[p]])

    def unlearn(self, method: Unlearner, seed: int = 0) -> RecognitionTarget:
        """The method's result, from a seed; kept, so that the checks do not repeat it."""
        return _unlearned(method, seed)


@lru_cache(maxsize=8)
def _unlearned(method: Unlearner, seed: int) -> RecognitionTarget:
    problem = Problem.make()
    return method.unlearn(problem.target, problem.request(), torch.Generator().manual_seed(seed))


def _weights(target: RecognitionTarget) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in target.network.state_dict().items()}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def input_target_unchanged(method: Unlearner, problem: Problem) -> None:
    """The given target keeps its weights, mode and gradients' absence; the result is another object."""
    before = _weights(problem.target)
    result = method.unlearn(problem.target, problem.request(), torch.Generator().manual_seed(1))
    assert result.network is not problem.target.network, "the result shares the network of the given target"
    assert _same(before, _weights(problem.target)), "the given target's weights changed"
    assert not problem.target.network.training, "the given target was left in training mode"
    assert all(p.grad is None for p in problem.target.network.parameters()), "the given target holds gradients"


def same_seed_same_weights(method: Unlearner, problem: Problem) -> None:
    """Two runs from one seed give bitwise the same weights."""
    again = method.unlearn(problem.target, problem.request(), torch.Generator().manual_seed(0))
    assert _same(_weights(again), _weights(problem.unlearn(method))), "two runs with one seed differ"


def finite(method: Unlearner, problem: Problem) -> None:
    """Weights and embeddings of the result are finite; the embeddings are unit vectors."""
    result = problem.unlearn(method)
    assert all(t.isfinite().all() for t in result.network.state_dict().values()), "weights are not finite"
    norms = result.embed(problem.crops.pixels).norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-4), "embeddings are not unit vectors"


def saved_equals_loaded(method: Unlearner, problem: Problem) -> None:
    """The result, written and read back, embeds the same photos to the same vectors."""
    result = problem.unlearn(method)
    with tempfile.TemporaryDirectory() as folder:
        path = result.save(Path(folder))[0]
        loaded = RecognitionTarget.load("tiny", path)
    pixels = problem.crops.pixels[:16]
    assert torch.equal(loaded.embed(pixels), result.embed(pixels)), "the saved model differs from the result"


def empty_forget_set_is_refused(method: Unlearner, problem: Problem) -> None:
    """Nobody to forget is an error, not a silent success."""
    try:
        request = Request(problem.crops.take([]), problem.seen(problem.split.retain))
        method.unlearn(problem.target, request, torch.Generator())
    except EffaceError:
        return
    raise AssertionError("an empty forget set was accepted")


def moves_its_own_objective(method: Unlearner, problem: Problem) -> None:
    """What the method itself says it lowers is lower on the seen photos of the forgotten."""
    if method.objective == "none":
        assert method.control, "only a control may have no objective"
        return
    before, after = (_objective(method, problem, t) for t in (problem.target, problem.unlearn(method)))
    assert after < before - 0.02, f"{method.objective} went from {before:.3f} to {after:.3f}, expected it to fall"


def _objective(method: Unlearner, problem: Problem, target: RecognitionTarget) -> float:
    """Mean pair cosine of each forgotten person's seen photos, or the accuracy of the class-mean head on them."""
    forget, retain = problem.seen(problem.split.forget), problem.seen(problem.split.retain)
    embeddings = target.embed(forget.pixels)
    if method.objective == "pair_cosine":
        labels = forget.labels()
        same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool)
        return float((embeddings @ embeddings.T)[same].mean())
    people = (*problem.split.forget, *problem.split.retain)
    given = torch.cat([problem.target.embed(forget.pixels), problem.target.embed(retain.pixels)])
    labels = torch.cat([forget.labels(people), retain.labels(people)])
    head = head_from_class_means(given, labels, len(people))
    return float((head(embeddings).argmax(1) == forget.labels(people)).float().mean())


def control_does_not_forget(method: Unlearner, problem: Problem) -> None:
    """A control lowers unseen TAR of the forgotten no further than it lowers everybody else's, by 10 points."""
    if not method.control:
        return
    drops = {
        g: _tar(problem, problem.target, g) - _tar(problem, problem.unlearn(method), g) for g in ("forget", "holdout")
    }
    assert drops["forget"] <= drops["holdout"] + 0.10, f"a control forgot: TAR drops {drops}"


def _tar(problem: Problem, target: RecognitionTarget, group: str) -> float:
    """Share of a group's unseen same-person pairs above the original model's threshold."""
    original = problem.target.embed(problem.crops.pixels)
    embeddings = target.embed(problem.crops.pixels)
    threshold = _impostor_scores(original, problem.split).sort(descending=True).values
    threshold = threshold[int(FAR * len(threshold))]
    accepted = [
        (embeddings[i] @ embeddings[j] > threshold)
        for person in getattr(problem.split, group)
        for i in problem.split.unseen[person]
        for j in problem.split.unseen[person]
        if i < j
    ]
    return float(torch.stack(accepted).float().mean())


def _impostor_scores(embeddings: Tensor, parts: Split) -> Tensor:
    """Scores of all pairs of photos of different holdout people."""
    positions = [(i, k) for k, person in enumerate(parts.holdout) for i in parts.photos[person]]
    index, label = (torch.tensor(column) for column in zip(*positions, strict=True))
    scores = embeddings[index] @ embeddings[index].T
    return scores[(label[:, None] < label)]


CHECKS: tuple[Callable[[Unlearner, Problem], None], ...] = (
    input_target_unchanged,
    same_seed_same_weights,
    finite,
    saved_equals_loaded,
    empty_forget_set_is_refused,
    moves_its_own_objective,
    control_does_not_forget,
)
"""Every check; a method passes all of them."""
