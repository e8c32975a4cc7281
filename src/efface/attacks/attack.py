"""What every attempt to bring a person back is given, and what it gives: a frozen dataclass in `attacks/recognition/`,
`attacks/diffusion/` or `attacks/gan/`, one file an attempt. Definitions and measurements: docs/attacks.md,
docs/diffusion.md, docs/gan.md."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from efface.attacks.layers import entering
from efface.faces.crops import Crops
from efface.faces.splits import Split
from efface.metrics.protocol import ByPerson, Evaluation, Searches
from efface.metrics.scores import ScoreDistribution, accepted
from efface.targets.recognition import RecognitionTarget

Group = Literal["forget", "control"]
RATES = {1e-3: "", 1e-2: ",far=1e-2"}
"""False accept rates of every share of accepted pairs, and what a number's name says of them."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that is attacked, and the photos that it is tried on."""

    target: RecognitionTarget
    crops: Crops
    """Everybody's photos, those that the protocol measures."""
    evaluation: Evaluation
    """The searches of this model; its `frozen` is that of the original model, which thresholds and old templates are
    taken from."""

    @property
    def split(self) -> Split:
        """Who is in which group."""
        return self.evaluation.split

    @cached_property
    def inner(self) -> dict[str, Tensor]:
        """Features of all photos by layer, as `layers.entering` says."""
        return entering(self.target, self.crops.pixels)


class Outcome(NamedTuple):
    """One number of an attempt."""

    group: Group
    number: str
    """What and at which budget, for example `tar@steps=10`."""
    people: ByPerson


Attacked = TypeVar("Attacked")
"""What is attacked: `Subject`, `drawing.Sitter` or `rebuilding.Rebuilder`."""


class Attack(ABC, Generic[Attacked]):
    """An attempt: its fields are its budget. Tried twice on the same it gives the same."""

    access: ClassVar[str]
    """What the attacker has: the weights, the embeddings, which photos of whom."""
    control: ClassVar[str]
    """What group `control` is: what the same attempt gives where nobody was to be forgotten."""

    @property
    def name(self) -> str:
        """The registered name: that of the file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def attempt(self, subject: Attacked) -> Iterator[Outcome]:
        """Try it. The subject's target is never changed."""


def recognised(
    budget: str, evaluation: Evaluation, searches: Callable[[str], Searches | None], impostors: ScoreDistribution
) -> Iterator[Outcome]:
    """`rank1@<budget>` and `tar@<budget>` of the forgotten, and of the retained as control.

    searches: group -> the searches that are judged; None where two spaces cannot be compared, which gives null.
    impostors: whose thresholds decide.
    """
    groups: dict[Group, str] = {"forget": "forget", "control": "retain"}
    for group, members in groups.items():
        found = searches(members)
        person, genuine, rank = (np.empty(0, np.int64), np.empty(0), np.empty(0)) if found is None else (
            found.person, found.genuine, found.rank
        )  # fmt: skip
        yield Outcome(group, f"rank1@{budget}", evaluation.by_person(members, person, rank == 1))
        for far, mark in RATES.items():
            shares = accepted(genuine, impostors.threshold(far))
            yield Outcome(group, f"tar@{budget}{mark}", evaluation.by_person(members, person, shares))
