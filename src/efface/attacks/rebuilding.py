"""What every attempt to have a face generator rebuild a person again is given, and how what it draws is judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from efface.attacks.attack import Group, Outcome
from efface.errors import EffaceError
from efface.metrics.drawings import Drawings
from efface.metrics.generation import FAR, embedded, generator_of
from efface.metrics.metric import rate_text
from efface.metrics.rebuilding import YAWS, Rebuilt, Sources
from efface.metrics.scores import accepted
from efface.metrics.subjects import OWN
from efface.targets.gan import GanTarget
from efface.targets.inversion import Shots
from efface.targets.recognition import RecognitionTarget

GROUPS: tuple[Group, ...] = ("forget", "control")


@dataclass(frozen=True, eq=False)
class Rebuilder:
    """A generator that is attacked, and the people whom it is to rebuild."""

    target: GanTarget
    judges: Mapping[str, RecognitionTarget]
    sources: Sources
    originals: Mapping[str, Rebuilt]
    """Scoring recogniser -> what the model drew before unlearning, whose thresholds decide."""
    cameras: Tensor
    """float32 [photos, 25], from where each of the subjects' photos was taken (`faces.pose`); a generator of pictures
    ignores them."""
    seed: int

    def sought(self) -> tuple[str, ...]:
        """The forgotten, then as many strangers, as control. Raises EffaceError where there are too few."""
        groups = self.sources.subjects.groups
        if len(groups["control"]) < len(groups["forget"]):
            raise EffaceError(
                f"attacks: found {len(groups['control'])} held-out people with 2 photos or more, expected one for each "
                f"of the {len(groups['forget'])} forgotten, as control; give photos of more people"
            )
        return groups["forget"] + groups["control"]

    def shots(self, people: Sequence[str], most: int) -> Shots:
        """The first photos of each, at most so many, that an attacker has: those that a method may see, the first one
        being what it was given; the audit judges by others."""
        given = self.sources.subjects.given
        rows = [(row, i) for i, person in enumerate(people) for row in given[person][:most]]
        photos = torch.tensor([row for row, _ in rows])
        who = torch.tensor([i for _, i in rows])
        return Shots(self.sources.subjects.photos.pixels[photos], self.cameras[photos], who)

    def generator(self, what: str) -> torch.Generator:
        """For what an attack draws at random; the same for every model."""
        return generator_of(what, self.seed)

    def views(self, w: Tensor, drawer: GanTarget | None = None) -> Tensor:
        """Pictures uint8 [n, v, 3, size, size] of latents w [n, rows, w_dim] from all yaws, by another generator where
        one is given."""
        return (drawer or self.target).views(w, self._sides)

    def judged(self, budget: str, views: Tensor, people: Sequence[str]) -> Iterator[Outcome]:
        """What everybody who scores makes of pictures uint8 [n, v, 3, size, size] that are meant to show `people`, n of
        them: `id_photo@<budget>`, `acc@…`, `tar@…,far=1e-2`, by a judge with `,by=<judge>`, and `undetected@…`."""
        pixels = views.flatten(0, 1)
        meant = [person for person in people for _ in range(views.shape[1])]
        crops, found = self.target.crops(pixels, self._sides.repeat(len(views), 1))
        pictures = embedded({OWN: self.target.recogniser, **self.judges}, pixels, meant, crops, found)
        for scorer, original in self.originals.items():
            scored = Drawings(self.sources.subjects, pictures, scorer, original.scored)
            by = "" if scorer == OWN else f",by={scorer}"
            numbers = {
                f"id_photo@{budget}{by}": scored.genuine,
                f"acc@{budget}{by}": scored.nearest,
                f"tar@{budget},far={rate_text(FAR)}{by}": accepted(scored.genuine, scored.threshold(FAR)),
            }
            for group in GROUPS:
                for number, values in numbers.items():
                    yield Outcome(group, number, scored.by_person(group, values))
                if scorer == OWN:
                    yield Outcome(group, f"undetected@{budget}", scored.missed(group))

    def of(self, target: GanTarget) -> "Rebuilder":
        """The same attempt on another model."""
        return replace(self, target=target)

    @property
    def _sides(self) -> Tensor:
        return self.target.camera(torch.from_numpy(np.radians(YAWS if self.target.turns else (0.0,))))
