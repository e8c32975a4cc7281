"""What every attack on an identity-conditioned diffusion model is held to, on a tiny model and people of the pack.

For your own attack: `from efface.testing.drawing_contract import CHECKS, Scene` and, for each of them,
`check(MyAttack(), Scene.make())`; a check raises AssertionError with what it found.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from efface.attacks.attack import Attack, Outcome
from efface.attacks.drawing import Sitter
from efface.faces.datasets.people import ShippedPeople
from efface.faces.framing import frame
from efface.faces.splits import Split, split
from efface.metrics.drawings import Drawings
from efface.metrics.generation import look, measure
from efface.metrics.perception import judge
from efface.metrics.subjects import OWN, Pictures, Subjects
from efface.models.diffusion.shipped import ShippedDiffusion
from efface.targets.diffusion import DiffusionTarget
from efface.testing.tiny_diffusion import tiny_target

FORGET = ("person-000", "person-001")
"""Whom the checks forget; the first one's anchor is a retained person, the second one's is nobody."""
DRAWS = 2


@dataclass(frozen=True, kw_only=True)
class _Quick(ShippedDiffusion):
    """Few sampling steps."""

    steps: ClassVar = 2


@dataclass(frozen=True, eq=False)
class Scene:
    """A model before and after it changed, as subjects of an attack."""

    original: Sitter
    unlearned: Sitter
    split: Split

    @classmethod
    @lru_cache(maxsize=1)
    def make(cls) -> "Scene":
        """The tiny model, and another one in the unlearned one's place."""
        original, other = (replace(tiny_target(seed), spec=_Quick()) for seed in (0, 1))
        return cls.of(original, other)

    @classmethod
    def of(cls, original: DiffusionTarget, unlearned: DiffusionTarget) -> "Scene":
        """Any two models of the shipped recogniser's embeddings."""
        judges = {"judge": judge()}
        subjects, division = people(original)
        drawn = measure(original, judges, subjects, DRAWS, seed=0)
        originals = {scorer: Drawings(subjects, drawn, scorer) for scorer in drawn.embeddings}
        sitters = (Sitter(target, judges, subjects, originals, DRAWS, seed=0) for target in (original, unlearned))
        before, after = sitters
        return cls(before, after, division)


def people(target: DiffusionTarget) -> tuple[Subjects, Split]:
    """Sixteen people of the pack with four photos each, of whom `FORGET` are forgotten."""
    photos, division = _photos()
    seen = look(target, {"judge": judge()}, photos, _names(), framed=True)
    return Subjects.of(seen, division, _anchors(seen, division), (division.retain[0], None)), division


def _anchors(photos: Pictures, division: Split) -> Tensor:
    """The first retained person, and a direction that is nobody's."""
    first = photos.embeddings[OWN][list(division.seen[division.retain[0]])].sum(0)
    nobody = torch.randn(len(first), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(torch.stack([first, nobody]), dim=1)


@lru_cache(maxsize=1)
def _photos() -> tuple[Tensor, Split]:
    place = ShippedDiffusion.window
    everybody = ShippedPeople().read()
    few = {name: everybody.photos[name][:4] for name in list(everybody.photos)[:16]}
    framed, _ = frame(replace(everybody, photos=few), ShippedDiffusion.size, place.left, place.top, place.side)
    return framed.pixels, split(framed, FORGET)


def _names() -> tuple[str, ...]:
    return tuple(f"person-{i:03d}" for i in range(16) for _ in range(4))


@lru_cache(maxsize=64)
def outcomes(attack: Attack, sitter: Sitter) -> tuple[Outcome, ...]:
    """What the attack gives; kept, so that the checks do not repeat it."""
    return tuple(attack.attempt(sitter))


def target_unchanged(attack: Attack, scene: Scene) -> None:
    """The model keeps its weights, mode, gradients' absence and has no hook left."""
    modules = scene.unlearned.target.parts.modules()
    before = [{name: tensor.clone() for name, tensor in m.state_dict().items()} for m in modules]
    outcomes(attack, scene.unlearned)
    for module, kept in zip(modules, before, strict=True):
        after = module.state_dict()
        assert all(torch.equal(kept[name], after[name]) for name in kept), "the weights changed"
        assert not module.training, "the model was left in training mode"
        assert all(p.grad is None for p in module.parameters()), "the model holds gradients"
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules()), "a hook was left"


def deterministic(attack: Attack, scene: Scene) -> None:
    """Tried twice it gives the same numbers."""
    again = tuple(attack.attempt(scene.unlearned))
    for one, other in zip(outcomes(attack, scene.unlearned), again, strict=True):
        assert one[:2] == other[:2] and one.people.people == other.people.people, "other numbers the second time"
        assert np.array_equal(one.people.values, other.people.values, equal_nan=True), f"{one.number} differs"


def depends_on_the_model(attack: Attack, scene: Scene) -> None:
    """Another model gives other numbers: what is found is the model's."""
    pairs = zip(outcomes(attack, scene.original), outcomes(attack, scene.unlearned), strict=True)
    assert any(one.number.startswith("ism@") and not np.array_equal(one.people.values, other.people.values)
               for one, other in pairs), "two models gave the same"  # fmt: skip


def every_number_has_its_control(attack: Attack, scene: Scene) -> None:
    """Every number is there once for the forgotten and once for strangers whom no method was given, a cosine or a share
    of some trials, or null."""
    found = outcomes(attack, scene.unlearned)
    names = {group: [o.number for o in found if o.group == group] for group in ("forget", "control")}
    assert names["forget"] and names["forget"] == names["control"], f"numbers {names}"
    assert len(set(names["forget"])) == len(names["forget"]), f"a number twice in {names['forget']}"
    for outcome in found:
        values, trials = outcome.people.values, outcome.people.trials
        lowest = -1 if outcome.number.startswith("ism@") else 0
        assert ((values >= lowest) & (values <= 1) | np.isnan(values)).all(), f"{outcome.number}: {values}"
        assert (trials == scene.unlearned.draws).all(), f"{outcome.number}: {trials}"
        allowed = scene.split.forget if outcome.group == "forget" else scene.split.holdout
        assert set(outcome.people.people) <= set(allowed), f"{outcome.number}: {outcome.group}"
        assert len(outcome.people.people) == len(scene.split.forget), f"{outcome.number}: {outcome.people.people}"


def scored_by_the_judge_too(attack: Attack, scene: Scene) -> None:
    """Who scores is not only the recogniser that the model is conditioned by."""
    numbers = {o.number for o in outcomes(attack, scene.unlearned)}
    similar = {n for n in numbers if n.startswith("ism@") and not n.endswith(",by=judge")}
    assert similar and {f"{n},by=judge" for n in similar} <= numbers, f"numbers {sorted(numbers)}"


def states_its_terms(attack: Attack, scene: Scene) -> None:
    """Access and control are said in words, and the class says what it tries."""
    for text in (attack.access, attack.control, type(attack).__doc__):
        assert text and len(text.split()) >= 2, f"{attack.name}: found {text!r}"


CHECKS: tuple[Callable[[Attack, Scene], None], ...] = (
    target_unchanged,
    deterministic,
    depends_on_the_model,
    every_number_has_its_control,
    scored_by_the_judge_too,
    states_its_terms,
)
"""Every check; an attack passes all of them."""
