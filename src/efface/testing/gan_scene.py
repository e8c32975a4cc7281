"""A tiny face generator before and after it changed, with people of the pack: what metrics and attacks are tried on.

For your own attack: `from efface.testing.gan_scene import CHECKS, Scene` and, for each of them,
`check(MyAttack(...), Scene.make("eg3d"))` with few steps; a check raises AssertionError with what it found.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from efface.attacks.attack import Attack, Outcome
from efface.attacks.rebuilding import Rebuilder
from efface.faces.datasets.people import ShippedPeople
from efface.faces.framing import frame
from efface.faces.pose import cameras_of
from efface.faces.splits import Split, split
from efface.metrics.perception import judge
from efface.metrics.rebuilding import Rebuilt, Sources, measure, photo_of, photographed
from efface.metrics.subjects import Subjects
from efface.targets.gan import GanTarget
from efface.testing.tiny_gan import Kind, tiny_target

FORGET = ("person-000", "person-001")
"""Whom the checks forget."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A model before and after it changed, as subjects of an attack."""

    original: Rebuilder
    unlearned: Rebuilder
    sources: Sources
    split: Split

    @classmethod
    @lru_cache(maxsize=2)
    def make(cls, kind: Kind) -> "Scene":
        """The tiny model, and the same with its synthesis moved in the unlearned one's place."""
        target = tiny_target(kind)
        other = target.clone()
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in other.backbone.synthesis.parameters():
                parameter.add_(0.3 * parameter.std(correction=0) * torch.randn(parameter.shape, generator=draw))
        return cls.of(target, other)

    @classmethod
    def of(cls, original: GanTarget, unlearned: GanTarget) -> "Scene":
        """Any two models of the shipped recogniser and one mapping, with an encoder; 34 people of the pack with six
        photos each, which is enough for a threshold of the one with cameras."""
        judges = {"judge": judge()}
        everybody = ShippedPeople().read()
        few = {name: everybody.photos[name][:6] for name in list(everybody.photos)[:34]}
        crops, _ = frame(replace(everybody, photos=few), *original.framing)
        division = split(crops, FORGET)
        photos = photographed(original, judges, crops.pixels, crops.identities)
        subjects = Subjects.of(photos, division)
        pixels = crops.pixels[[photo_of(subjects, name) for name in subjects.names]]
        samples = original.sample(12, torch.Generator().manual_seed(0)).cpu()
        sources = Sources(subjects, original.invert(pixels).cpu(), samples)
        cameras = torch.zeros(len(crops), 25)
        if original.turns:
            cameras = cameras_of([p for group in few.values() for p in group], original.parts.face, *original.framing)
        drawn = measure(original, judges, sources)
        originals = {scorer: Rebuilt(subjects, drawn, scorer) for scorer in drawn.pictures.embeddings}
        before = Rebuilder(original, judges, sources, originals, cameras, seed=0)
        return cls(before, before.of(unlearned), sources, division)


@lru_cache(maxsize=32)
def outcomes(attack: Attack, subject: Rebuilder) -> tuple[Outcome, ...]:
    """What the attack gives; kept, so that the checks do not repeat it."""
    return tuple(attack.attempt(subject))


def target_unchanged(attack: Attack, scene: Scene) -> None:
    """The model keeps its weights, mode and gradients' absence."""
    modules = scene.unlearned.target.parts.modules()
    before = [{name: tensor.clone() for name, tensor in m.state_dict().items()} for m in modules]
    outcomes(attack, scene.unlearned)
    for module, kept in zip(modules, before, strict=True):
        after = module.state_dict()
        assert all(torch.equal(kept[name], after[name]) for name in kept), "the weights changed"
        assert not module.training, "the model was left in training mode"
        assert all(p.grad is None and not p.requires_grad for p in module.parameters()), "the model holds gradients"


def deterministic(attack: Attack, scene: Scene) -> None:
    """Tried twice it gives the same numbers."""
    again = tuple(attack.attempt(scene.unlearned))
    for one, other in zip(outcomes(attack, scene.unlearned), again, strict=True):
        assert one[:2] == other[:2] and one.people.people == other.people.people, "other numbers the second time"
        assert np.array_equal(one.people.values, other.people.values, equal_nan=True), f"{one.number} differs"


def depends_on_the_model(attack: Attack, scene: Scene) -> None:
    """Another model gives other numbers: what is found is the model's."""
    pairs = zip(outcomes(attack, scene.original), outcomes(attack, scene.unlearned), strict=True)
    assert any(one.number.startswith("id_photo@") and not np.array_equal(one.people.values, other.people.values)
               for one, other in pairs), "two models gave the same"  # fmt: skip


def every_number_has_its_control(attack: Attack, scene: Scene) -> None:
    """Every number is there once for the forgotten and once for strangers whom no method was given, a cosine or a share
    of some trials, by the judge too."""
    found = outcomes(attack, scene.unlearned)
    names = {group: [o.number for o in found if o.group == group] for group in ("forget", "control")}
    assert names["forget"] and names["forget"] == names["control"], f"numbers {names}"
    assert len(set(names["forget"])) == len(names["forget"]), f"a number twice in {names['forget']}"
    similar = {n for n in names["forget"] if n.startswith("id_photo@") and not n.endswith(",by=judge")}
    assert similar and {f"{n},by=judge" for n in similar} <= set(names["forget"]), f"numbers {names}"
    for outcome in found:
        values, trials = outcome.people.values, outcome.people.trials
        lowest = -1 if outcome.number.startswith("id_photo@") else 0
        assert ((values >= lowest) & (values <= 1) | np.isnan(values)).all(), f"{outcome.number}: {values}"
        assert (trials > 0).all(), f"{outcome.number}: {trials}"
        allowed = scene.split.forget if outcome.group == "forget" else scene.split.holdout
        assert set(outcome.people.people) <= set(allowed), f"{outcome.number}: {outcome.group}"
        assert len(outcome.people.people) == len(scene.split.forget), f"{outcome.number}: {outcome.people.people}"


def says_its_terms(attack: Attack, scene: Scene) -> None:
    """Access and control are said in words, and the class says what it tries."""
    for text in (attack.access, attack.control, type(attack).__doc__):
        assert text and len(text.split()) >= 2, f"{attack.name}: found {text!r}"


CHECKS: tuple[Callable[[Attack, Scene], None], ...] = (
    target_unchanged,
    deterministic,
    depends_on_the_model,
    every_number_has_its_control,
    says_its_terms,
)
"""Every check; an attack passes all of them."""
