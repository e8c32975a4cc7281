"""How a recogniser scores what a model drew (protocol, line 15)."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from efface.metrics.distances import realism
from efface.metrics.protocol import ByPerson
from efface.metrics.scores import ScoreDistribution
from efface.metrics.subjects import OTHERS, OWN, Pictures, Subjects, mean_directions
from efface.targets.cosines import cosines, unit_rows


class Drawings:
    """Pictures as one recogniser scores them against everybody's template. Where no face was found there is no score:
    such pictures are counted by `missed` alone.

    original: the same of the model before unlearning, whose thresholds decide; None where this is it. own: scores [n]
    with the own template, where they are not those with the gallery's.
    """

    def __init__(
        self,
        subjects: Subjects,
        pictures: Pictures,
        scorer: str,
        original: "Drawings | None" = None,
        *,
        own: np.ndarray | None = None,
    ) -> None:
        self.subjects, self.pictures, self.scorer = subjects, pictures, scorer
        self.frozen = original or self
        self.by_photo = np.array([name in subjects.by_photo for name in pictures.people])
        """bool [n], whether each was drawn from one unseen photo."""
        self.people = np.array([subjects.by_photo.get(name, (name,))[0] for name in pictures.people])
        """Whom each picture is scored as."""
        self.found = pictures.found.numpy()
        self._own = own

    @cached_property
    def embeddings(self) -> np.ndarray:
        """Unit float32 [found, d]."""
        return unit_rows(self.pictures.embeddings[self.scorer][self.pictures.found])

    @cached_property
    def scores(self) -> np.ndarray:
        """Float32 [found, gallery]."""
        return cosines(self.embeddings, self.subjects.templates(self.scorer))

    @cached_property
    def _mine(self) -> np.ndarray:
        """bool [found, gallery], where the own template is; nowhere for who is nobody."""
        return self.people[self.found][:, None] == np.array(self.subjects.gallery)[None, :]

    @cached_property
    def genuine(self) -> np.ndarray:
        """Float64 [found], score with the own template, of what was drawn from an unseen photo without that photo; for
        an anchor that is nobody, with its condition, which a judge has none of: nan."""
        if self._own is not None:
            return self._own[self.found].astype(np.float64)
        known = self._mine.any(1)
        values = np.where(known, self.scores.max(1, where=self._mine, initial=-1), np.nan).astype(np.float64)
        names = np.array(self.pictures.people)[self.found]
        for name in np.unique(names[self.by_photo[self.found]]):
            rows = names == name
            template = self.subjects.template_without(str(name), self.scorer)
            values[rows] = cosines(self.embeddings[rows], template[None])[:, 0]
        if self.scorer == OWN:
            for row in np.flatnonzero(~known):
                condition = self.subjects.condition(str(self.people[self.found][row]))
                values[row] = cosines(self.embeddings[row : row + 1], condition.numpy()[None])[0, 0]
        return values

    @cached_property
    def rival(self) -> np.ndarray:
        """Float64 [found], best score with another person's template."""
        return self.scores.max(1, where=~self._mine, initial=-np.inf).astype(np.float64)

    @cached_property
    def others(self) -> np.ndarray:
        """Float64 [found], mean score with other people's templates; nan where there is nobody else."""
        count = (~self._mine).sum(1)
        sums = np.where(self._mine, 0, self.scores).sum(1, dtype=np.float64)
        return np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)

    @cached_property
    def nearest(self) -> np.ndarray:
        """Float64 [found], 1 where no other template scores as high as the own one; nan for who has no template."""
        return np.where(self._mine.any(1), (self.genuine > self.rival).astype(np.float64), np.nan)

    @cached_property
    def realism(self) -> np.ndarray:
        """Float64 [found], `distances.realism` among the unseen photos of other people: what looks like the person is
        not real for that."""
        who, features, reach = self.subjects.real_faces
        others = self.people[self.found][:, None] != who[None]
        return realism(self.pictures.features[self.pictures.found].numpy(), features, reach, others)

    @cached_property
    def impostors(self) -> ScoreDistribution:
        """Scores of held-out people's pictures with the templates of other held-out people."""
        held_out = np.isin(self.people[self.found], self.subjects.groups["holdout"])
        columns = np.isin(self.subjects.gallery, self.subjects.strangers)
        return ScoreDistribution.of([self.scores[held_out[:, None] & columns & ~self._mine]])

    def threshold(self, far: float) -> float | None:
        """That of the original model at this false accept rate; None where there are too few impostors."""
        return self.frozen.impostors.threshold(far)

    def group(self, name: str) -> tuple[str, ...]:
        """Who is in a group."""
        return self.subjects.groups[name]

    def by_person(self, group: str, values: np.ndarray, among: np.ndarray | None = None) -> ByPerson:
        """Means of values [found] over the pictures of each person of a group; null where one is nan or no face was
        found. among: bool [n], only these pictures."""
        some = self.found if among is None else self.found & among
        return self._each(group, lambda rows: values[(rows & some)[self.found]])

    def missed(self, group: str) -> ByPerson:
        """Share of each person's pictures in which no face was found."""
        return self._each(group, lambda rows: ~self.found[rows])

    def first(self, group: str, values: np.ndarray, count: int) -> ByPerson:
        """1 where one of a person's first `count` pictures has 1 in values [found], else 0; null where there are fewer
        pictures, where none of them shows a face, and where values are nan."""
        spread = np.full(len(self.people), np.nan)
        spread[self.found] = values

        def any_of(rows: np.ndarray) -> np.ndarray:
            own = spread[rows][:count]
            own = own[self.found[rows][:count]]
            return own.max(keepdims=True) if rows.sum() >= count and len(own) else np.empty(0)

        return self._each(group, any_of)

    def whole(self, group: str, distance: Callable[[np.ndarray, np.ndarray], float | None], real: bool) -> ByPerson:
        """A distance of the features of a whole group's pictures, as the number of nobody (""); null against itself.

        real: the reference is the unseen photos of these people; False: the original model's pictures of them."""
        people = self.group(group)
        shown = np.isin(self.people, people) & (self.by_photo == (group == OTHERS)) & self.found
        if not real:  # row i of both is one draw
            shown &= self.frozen.found
        mine = self.pictures.features.numpy()[shown]
        if real:
            who, reference, _ = self.subjects.real_faces
            value = distance(mine, reference[np.isin(who, people)])
        else:
            value = None if self.frozen is self else distance(mine, self.frozen.pictures.features.numpy()[shown])
        return ByPerson(("",), np.array([np.nan if value is None else value]), np.array([len(mine)]))

    def _each(self, group: str, values: Callable[[np.ndarray], np.ndarray]) -> ByPerson:
        people = self.group(group)
        among = self.by_photo == (group == OTHERS)
        own = [np.asarray(values((self.people == p) & among), np.float64) for p in people]
        means = [v.mean() if len(v) else np.nan for v in own]
        return ByPerson(people, np.array(means, np.float64), np.array([len(v) for v in own], np.int64))


def photographs(subjects: Subjects, scorer: str, original: Drawings) -> Drawings:
    """The ceiling: the unseen photos of everybody who is drawn, as if a model had drawn them. The own template of a
    photo is the mean of the person's other unseen photos (line 10)."""
    rows = subjects.real(subjects.names)
    photos = subjects.photos
    people = [photos.people[i] for i in rows]
    embeddings = {scorer: photos.embeddings[scorer][rows]}
    pictures = Pictures(photos.pixels[rows], tuple(people), photos.crops[rows], photos.found[rows], embeddings)
    rest = [[j for j in subjects.unseen[p] if j != i] for p, i in zip(people, rows.tolist(), strict=True)]
    others = mean_directions(photos.embeddings[scorer], rest)
    own = np.einsum("nd,nd->n", others, embeddings[scorer].numpy())
    own[~others.any(1)] = np.nan  # one photo alone has nothing to be compared with
    return Drawings(subjects, pictures, scorer, original, own=own)


def strangers_as(person: str, original: Drawings) -> Drawings:
    """The floor: the original model's pictures of held-out people, scored as if they were meant to show `person`."""
    pictures = original.pictures
    rows = [i for i, who in enumerate(pictures.people) if who in original.subjects.groups["holdout"]]
    own = {original.scorer: pictures.embeddings[original.scorer][rows]}
    some = Pictures(pictures.pixels[rows], (person,) * len(rows), pictures.crops[rows], pictures.found[rows], own)
    return Drawings(original.subjects, some, original.scorer, original.frozen)
