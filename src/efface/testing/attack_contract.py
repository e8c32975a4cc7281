"""What every attack on a recogniser is held to, on a tiny real model and drawn people.

For your own attack: `from efface.testing.attack_contract import CHECKS, Scene` and, for each of them,
`check(MyAttack(), Scene.make())`; a check raises AssertionError with what it found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from efface.attacks.attack import Attack, Outcome, Subject
from efface.methods.recognition.esc import Esc
from efface.metrics.floor import random_network
from efface.metrics.protocol import Evaluation
from efface.testing.contract import Problem

FOUND, LOST = 0.8, 0.5
"""Share of searches that find the forgotten first: on the original model at least, on a random network at most."""


@dataclass(frozen=True, eq=False)
class Scene:
    """The tiny recogniser before and after a projection, and with random weights, all as subjects of an attack."""

    original: Subject
    unlearned: Subject
    random: Subject

    @classmethod
    @lru_cache(maxsize=1)
    def make(cls) -> "Scene":
        """Build it."""
        problem = Problem.make()
        pixels = problem.crops.pixels
        unlearned = problem.unlearn(Esc(directions=8))
        untrained = random_network(problem.target, pixels, torch.Generator().manual_seed(0))
        original = Evaluation(problem.split, problem.target.embed(pixels))
        others = (Evaluation(problem.split, t.embed(pixels), original) for t in (unlearned, untrained))
        pairs = zip((problem.target, unlearned, untrained), (original, *others), strict=True)
        return cls(*(Subject(target, problem.crops, found) for target, found in pairs))


@lru_cache(maxsize=64)
def outcomes(attack: Attack, subject: Subject) -> tuple[Outcome, ...]:
    """What the attack gives; kept, so that the checks do not repeat it."""
    return tuple(attack.attempt(subject))


def target_unchanged(attack: Attack, scene: Scene) -> None:
    """The model keeps its weights, mode, gradients' absence and has no hook left."""
    network = scene.unlearned.target.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    outcomes(attack, scene.unlearned)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the weights changed"
    assert not network.training, "the model was left in training mode"
    assert all(p.grad is None for p in network.parameters()), "the model holds gradients"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules()), "a hook was left"


def deterministic(attack: Attack, scene: Scene) -> None:
    """Tried twice it gives the same numbers."""
    again = tuple(attack.attempt(scene.unlearned))
    for one, other in zip(outcomes(attack, scene.unlearned), again, strict=True):
        assert one[:2] == other[:2] and one.people.people == other.people.people, "other numbers the second time"
        assert np.array_equal(one.people.values, other.people.values, equal_nan=True), f"{one.number} differs"


def numbers_are_shares(attack: Attack, scene: Scene) -> None:
    """Every number is there once for the forgotten and once for the control, a share of some trials or null."""
    found = outcomes(attack, scene.unlearned)
    names = {group: [o.number for o in found if o.group == group] for group in ("forget", "control")}
    assert names["forget"] and names["forget"] == names["control"], f"numbers {names}"
    assert len(set(names["forget"])) == len(names["forget"]), f"a number twice in {names['forget']}"
    for outcome in found:
        people, values, trials = outcome.people.people, outcome.people.values, outcome.people.trials
        assert len(people) == len(values) == len(trials) and len(set(people)) == len(people), outcome.number
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all(), f"{outcome.number}: {values}"
        assert (trials > 0)[~np.isnan(values)].all(), f"{outcome.number}: a value without trials"
        inside = set(people) <= set(scene.unlearned.split.forget)
        assert inside == (outcome.group == "forget"), f"{outcome.number}: {outcome.group} is {people}"


def states_its_terms(attack: Attack, scene: Scene) -> None:
    """Access and control are said in words, and the class says what it tries."""
    for text in (attack.access, attack.control, type(attack).__doc__):
        assert text and len(text.split()) >= 2, f"{attack.name}: found {text!r}"


def finds_the_person_where_nothing_was_forgotten(attack: Attack, scene: Scene) -> None:
    """An attack that searches finds the person in the original model, and not in a random network; so what it finds is
    the model's memory. The first is the attack's ceiling."""
    firsts = {
        name: max((o.people.values.mean() for o in outcomes(attack, subject) if _search(o)), default=None)
        for name, subject in (("original", scene.original), ("random", scene.random))
    }
    if firsts["original"] is not None and firsts["random"] is not None:
        assert firsts["original"] >= FOUND and firsts["random"] <= LOST, f"found first: {firsts}"


def _search(outcome: Outcome) -> bool:
    return outcome.group == "forget" and outcome.number.startswith("rank1@")


CHECKS: tuple[Callable[[Attack, Scene], None], ...] = (
    target_unchanged,
    deterministic,
    numbers_are_shares,
    states_its_terms,
    finds_the_person_where_nothing_was_forgotten,
)
"""Every check; an attack passes all of them."""
