"""What every attempt to have a person drawn again is given, and how what it draws is judged (docs/diffusion.md)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from efface.attacks.attack import Group, Outcome
from efface.errors import EffaceError
from efface.metrics.drawings import Drawings
from efface.metrics.generation import FAR, generator_of, look, noise_of
from efface.metrics.metric import rate_text
from efface.metrics.scores import accepted
from efface.metrics.subjects import OWN, Subjects
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

GROUPS: tuple[Group, ...] = ("forget", "control")


class Sought(NamedTuple):
    """Who is to be drawn."""

    person: str
    anchor: Tensor
    """Unit float32 [d]: the forgotten person's anchor; for the control, that of the forgotten person in its place."""


@dataclass(frozen=True, eq=False)
class Sitter:
    """A model that is attacked, and the people whom it is to draw."""

    target: DiffusionTarget
    judges: Mapping[str, RecognitionTarget]
    subjects: Subjects
    originals: Mapping[str, Drawings]
    """Scoring recogniser -> what the model drew before unlearning, whose thresholds decide."""
    draws: int
    """Pictures of a person at each budget."""
    seed: int

    def sought(self) -> list[Sought]:
        """The forgotten, then as many strangers. Raises EffaceError where there are too few."""
        groups, anchors = self.subjects.groups, self.subjects.anchors
        forgotten, strangers = groups["forget"], groups["control"]
        if len(strangers) < len(forgotten):
            raise EffaceError(
                f"attacks: found {len(strangers)} held-out people with 2 photos or more, expected one for each of the "
                f"{len(forgotten)} forgotten, as control; give photos of more people"
            )
        vectors = [self.subjects.condition(anchors[person]) for person in forgotten]
        pairs = [*zip(forgotten, vectors, strict=True), *zip(strangers, vectors, strict=True)]
        return [Sought(person, anchor) for person, anchor in pairs]

    def photos(self, person: str) -> Tensor:
        """uint8 [n, 3, size, size], framed: the photos of a person that an attacker has, which are those that the
        condition was made of; the audit judges by others."""
        return self.subjects.photos.pixels[list(self.subjects.given[person])]

    def generator(self, what: str) -> torch.Generator:
        """For what an attack draws at random; the same for every model."""
        return generator_of(what, self.seed)

    def noise(self, people: Sequence[str], draws: int, what: str = "") -> Tensor:
        """Unit noise [people · draws, c, h, w], as `generation.noise_of`; `what` begins it anew."""
        return noise_of(self.target, [f"{what}{person}" for person in people], draws, self.seed)

    def judged(self, budget: str, pixels: Tensor, people: Sequence[str]) -> Iterator[Outcome]:
        """What everybody who scores makes of pictures uint8 [n, 3, size, size] that are meant to show `people`, n of
        them: `ism@<budget>`, `acc@…`, `tar@…,far=1e-2`, by a judge with `,by=<judge>`, and `undetected@…`."""
        pictures = look(self.target, self.judges, pixels, people)
        for scorer, original in self.originals.items():
            found = Drawings(self.subjects, pictures, scorer, original)
            by = "" if scorer == OWN else f",by={scorer}"
            numbers = {
                f"ism@{budget}{by}": found.genuine,
                f"acc@{budget}{by}": found.nearest,
                f"tar@{budget},far={rate_text(FAR)}{by}": accepted(found.genuine, found.threshold(FAR)),
            }
            for group in GROUPS:
                for number, values in numbers.items():
                    yield Outcome(group, number, found.by_person(group, values))
                if scorer == OWN:
                    yield Outcome(group, f"undetected@{budget}", found.missed(group))
