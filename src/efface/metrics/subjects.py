"""Who is drawn by a model, from what, and what the drawings are compared with (protocol, line 15)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efface.faces.splits import Split
from efface.metrics import perception
from efface.metrics.distances import radii
from efface.metrics.protocol import NEIGHBOURS
from efface.targets.cosines import cosines

OWN = "recogniser"
"""The scoring recogniser that also conditions the model; every other is a judge."""
SHELLS = {"shell[.2,.3)": (0.2, 0.3), "shell[.3,.4)": (0.3, 0.4), "shell[.4,.6)": (0.4, 0.6)}
"""Groups of people who stay, by the cosine of their condition with that of the nearest forgotten person."""
OTHERS = "forget_others"
"""The forgotten again, each drawn from every unseen photo by itself: what the method saw is drawn from in `forget`."""
GROUPS = ("forget", OTHERS, "anchor", "retain", "neighbours", "holdout", *SHELLS, "hard", "random")
"""Groups of people who are drawn. `hard` are the 3 retained people nearest to each forgotten one, `random` the other
retained ones: the two halves of the U&ME challenge's retained people."""
HARD = 3
"""Nearest retained people of each forgotten one."""
GIVEN = 5
"""Photos of a person that the condition is a mean of, at most (line 3)."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures and what recognisers make of them: photos, or what a model drew."""

    pixels: Tensor
    """uint8 [n, 3, size, size], RGB."""
    people: tuple[str, ...]
    """Whom each shows or is meant to show, n of them."""
    crops: Tensor
    """uint8 [n, 3, 112, 112], the aligned faces; black where none was found."""
    found: Tensor
    """bool [n], whether a face was found."""
    embeddings: Mapping[str, Tensor]
    """Scoring recogniser -> unit float32 [n, d]; zero where no face was found."""

    def __len__(self) -> int:
        return len(self.people)

    def of(self, person: str) -> Tensor:
        """int64, positions of one person's pictures."""
        return torch.tensor([i for i, who in enumerate(self.people) if who == person], dtype=torch.long)

    @cached_property
    def features(self) -> Tensor:
        """float32 [n, 256], what distances are measured on (`perception.features`)."""
        return perception.features(self.crops)

    @cached_property
    def sharpness(self) -> Tensor:
        """float32 [n], `perception.sharpness`."""
        return perception.sharpness(self.crops)


@dataclass(frozen=True, eq=False)
class Subjects:
    """Who is drawn, from what, and what the drawings are compared with."""

    photos: Pictures
    """Everybody's photos, framed."""
    given: Mapping[str, tuple[int, ...]]
    """Person -> positions of the photos that the condition is the mean of; the audit judges by others."""
    unseen: Mapping[str, tuple[int, ...]]
    """Person -> positions of the photos that the template is the mean of."""
    names: tuple[str, ...]
    """Who is drawn, each once: people, and anchors that are nobody."""
    conditions: Tensor
    """Unit float32 [names, d] of the conditioning recogniser."""
    by_photo: Mapping[str, tuple[str, int]]
    """Name of one who is drawn from one unseen photo -> (the forgotten person, position of the photo)."""
    groups: Mapping[str, tuple[str, ...]]
    """Each of `GROUPS` -> who is in it; and `control`: the strangers on whom attacks are tried, as many as are
    forgotten."""
    anchors: Mapping[str, str]
    """Forgotten person -> who is drawn instead, of `names`."""
    neighbours: Mapping[str, tuple[str, ...]]
    """Forgotten person -> the look-alikes, nearest first."""
    gallery: tuple[str, ...]
    """Everybody with a template: forgotten, retained and held-out people, drawn or not."""
    retained: tuple[str, ...]
    """The retained people of the gallery, ..."""
    strangers: tuple[str, ...]
    """... and the held-out ones."""
    _templates: dict[str, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        photos: Pictures,
        split: Split,
        anchors: Tensor | None = None,
        who: Sequence[str | None] = (),
        most: int | None = None,
    ) -> "Subjects":
        """Draw the forgotten, their anchors, their look-alikes and, of the retained and the held-out, the first `most`
        (None: all).

        photos: in the split's order. anchors: unit [forgotten, d] in the split's order; who: the retained person that
        each is, None: nobody; both are left out for a model without anchors. A condition is the normalised mean
        embedding of the seen photos; of a held-out person, of the first photos that are not unseen. Who has none is not
        drawn. The forgotten are drawn from each unseen photo too, where there are two: the template is the mean of the
        rest.
        """
        gallery = (*split.forget, *split.retain, *split.holdout)
        given = {p: _given(split, p) for p in gallery}
        drawable = {p for p, own in given.items() if own}
        templates = mean_directions(photos.embeddings[OWN], [split.unseen[p] for p in gallery])
        alike = cosines(templates, templates)
        place = {p: i for i, p in enumerate(gallery)}

        def nearest(person: str, among: Sequence[str], count: int) -> tuple[str, ...]:
            return tuple(sorted(among, key=lambda p: -alike[place[person], place[p]])[:count])

        retain = [p for p in split.retain if p in drawable]
        holdout = [p for p in split.holdout if p in drawable]
        neighbours = {f: nearest(f, [*retain, *holdout], NEIGHBOURS) for f in split.forget}
        hard = _once(p for f in split.forget for p in nearest(f, retain, HARD))
        meant = list(zip(split.forget, who, () if anchors is None else anchors, strict=True)) if who else []
        replaced = {f: name or f"anchor of {f}" for f, name, _ in meant}
        groups: dict[str, tuple[str, ...]] = {
            "forget": split.forget,
            "anchor": _once(replaced.values()),
            "retain": tuple(retain[:most]),
            "neighbours": _once(p for f in split.forget for p in neighbours[f]),
            "holdout": tuple(holdout[:most]),
            "control": tuple(holdout[: len(split.forget)]),
            "hard": hard,
            "random": tuple(p for p in retain[:most] if p not in hard),
        }
        by_photo = {
            f"{f} by photo {number}": (f, row)
            for f in split.forget
            for number, row in enumerate(split.unseen[f], 1)
            if len(split.unseen[f]) > 1
        }
        groups[OTHERS] = _once(f for f, _ in by_photo.values())
        names = (*_once(p for members in groups.values() for p in members), *by_photo)
        nobody = {replaced[f]: row for f, name, row in meant if name is None}
        rows = [(by_photo[p][1],) if p in by_photo else given.get(p, ()) for p in names]
        means = torch.from_numpy(mean_directions(photos.embeddings[OWN], rows))
        conditions = torch.stack([nobody.get(p, mean) for p, mean in zip(names, means, strict=True)])
        return cls(
            photos, given, split.unseen, names, conditions, by_photo,
            groups | _shells(names, conditions, split.forget, drawable), replaced, neighbours, gallery, split.retain,
            split.holdout,
        )  # fmt: skip

    def templates(self, scorer: str) -> np.ndarray:
        """Unit float32 [gallery, d]: normalised mean embedding of each person's unseen photos."""
        if scorer not in self._templates:
            self._templates[scorer] = mean_directions(
                self.photos.embeddings[scorer], [self.unseen[p] for p in self.gallery]
            )
        return self._templates[scorer]

    @cached_property
    def real_faces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(who, features float32 [n, 256], `distances.radii`) of everybody's unseen photos."""
        rows = self.real(self.gallery)
        features = self.photos.features[rows].numpy()
        return np.array([self.photos.people[i] for i in rows]), features, radii(features)

    def anchor(self, person: str, scorer: str) -> np.ndarray | None:
        """The unit vector [d] that stands for a forgotten person's anchor: its condition; for a judge, its template,
        None where the anchor is nobody."""
        name = self.anchors[person]
        if scorer == OWN:
            return self.condition(name).numpy()
        return self.templates(scorer)[self.gallery.index(name)] if name in self.gallery else None

    def condition(self, name: str) -> Tensor:
        """Unit float32 [d] of one who is drawn, or could be."""
        if name in self.names:
            return self.conditions[self.names.index(name)]
        return torch.from_numpy(mean_directions(self.photos.embeddings[OWN], [self.given[name]]))[0]

    def real(self, names: Sequence[str]) -> Tensor:
        """int64, positions of the unseen photos of these people; none of who is nobody."""
        return torch.tensor([i for p in names for i in self.unseen.get(p, ())], dtype=torch.long)

    def template_without(self, name: str, scorer: str) -> np.ndarray:
        """Unit float32 [d]: the template of one of `by_photo` without the photo that is drawn from."""
        person, photo = self.by_photo[name]
        return mean_directions(self.photos.embeddings[scorer], [[i for i in self.unseen[person] if i != photo]])[0]


def _given(split: Split, person: str) -> tuple[int, ...]:
    """Positions of the photos that a person's condition is made of."""
    if person in split.seen:
        return split.seen[person]
    return tuple(i for i in split.photos.get(person, ()) if i not in split.unseen[person])[:GIVEN]


def mean_directions(embeddings: Tensor, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Normalised mean of some rows each, float32; zero where there are none."""
    means = [embeddings[list(own)].double().sum(0) for own in rows]
    return F.normalize(torch.stack(means), dim=1).float().numpy()


def _shells(
    names: Sequence[str], conditions: Tensor, forget: Sequence[str], people: set[str]
) -> dict[str, tuple[str, ...]]:
    """Who of the people who stay lies in which shell around the nearest forgotten person."""
    position = {name: i for i, name in enumerate(names)}
    stay = [name for name in names if name in people and name not in forget]
    found: dict[str, tuple[str, ...]] = dict.fromkeys(SHELLS, ())
    if forget and stay:
        nearest = (conditions[[position[p] for p in stay]] @ conditions[[position[p] for p in forget]].T).amax(1)
        near = dict(zip(stay, nearest.tolist(), strict=True))
        found = {shell: tuple(p for p in stay if low <= near[p] < high) for shell, (low, high) in SHELLS.items()}
    return found


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
