"""Searches, thresholds and groups of people, exactly as docs/protocol.md says; line numbers are its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from torch import Tensor

from efface.errors import EffaceError
from efface.faces.splits import Split
from efface.metrics.scores import ScoreDistribution, pairs_of_strangers
from efface.metrics.search import count_at_least, own_template, top_k
from efface.targets.cosines import paired_cosines, unit_rows

SEARCHES = 5
"""Searches of a person, each with one unseen photo of everybody as template (line 7)."""
NEIGHBOURS = 5
"""Look-alikes of each forgotten person."""
GROUPS = ("forget", "forget_seen", "retain", "holdout", "neighbours")
"""Groups of people that have searches; `forget_seen` are the people of `forget`, with seen photos as probes."""
IMPOSTORS = "impostors"
"""The group of what is measured on pairs of different people: the holdout, all photos (line 5)."""

Probes = Literal["seen", "unseen"]
Templates = Literal["own", "old", "means"]
"""One photo each under this model, one photo each under the original, mean of several under this model."""


@dataclass(frozen=True, eq=False)
class Searches:
    """One row for each probe and each gallery that it was searched in; all arrays are [trials]."""

    person: np.ndarray
    """Int64, the probe's person as a position in `Evaluation.people`."""
    genuine: np.ndarray
    """Float32, score with the own template."""
    rank: np.ndarray
    """Int64, rank of the own template from 1 among everybody's; ties count against it (line 8)."""
    rival: np.ndarray
    """Float32, best score with the template of another, retained person (line 12); −inf where there is none."""

    def of(self, people: np.ndarray) -> "Searches":
        """Only the rows of these people."""
        rows = np.isin(self.person, people)
        return Searches(self.person[rows], self.genuine[rows], self.rank[rows], self.rival[rows])


@dataclass(frozen=True, eq=False)
class ByPerson:
    """A number for each person of a group."""

    people: tuple[str, ...]
    values: np.ndarray
    """Float64 [people]; nan is null: nothing to measure, or too few impostors for the threshold."""
    trials: np.ndarray
    """Int64 [people], how many trials each value is a mean over."""


class Evaluation:
    """The embeddings of one model on all photos, searched by the protocol; everything is computed once, when asked.

    split: who is in which group. embeddings: unit rows [n, d], in the crops' order. original: the evaluation of the
    model before unlearning, which thresholds, look-alikes and old templates come from; None where this is it.
    neighbours: forgotten person -> look-alikes, for a matcher that has no original (a floor). distractors: unit rows
    [m, d] under this model, strangers' templates (an array or np.memmap) that join the gallery of every rank.
    """

    def __init__(
        self,
        split: Split,
        embeddings: Tensor | np.ndarray,
        original: "Evaluation | None" = None,
        *,
        neighbours: Mapping[str, tuple[str, ...]] | None = None,
        distractors: np.ndarray | None = None,
    ) -> None:
        self.split = split
        self.embeddings = unit_rows(embeddings)
        self.frozen = original or self
        self.distractors = distractors
        self.people = (*split.forget, *split.retain, *split.holdout)
        self._place = {person: i for i, person in enumerate(self.people)}
        self._given_neighbours = neighbours
        self._done: dict[tuple[Templates, Probes], Searches] = {}
        self._check()

    def _check(self) -> None:
        empty = [p for p in self.people if not self.split.unseen.get(p)]
        if empty:
            raise EffaceError(f"{empty[0]}: found no unseen photo, expected at least one, which is the template")
        needed = 1 + max((i for p in self.people for i in self._all_photos(p)), default=-1)
        for rows in (len(self.embeddings), len(self.frozen.embeddings)):
            if rows < needed:
                raise EffaceError(f"embeddings: found {rows} rows, expected one for each of the {needed} photos")
        if self.distractors is not None and self.distractors.shape[1:] != self.embeddings.shape[1:]:
            raise EffaceError(
                f"distractors: found shape {list(self.distractors.shape)}, expected [count, "
                f"{self.embeddings.shape[1]}]; embed them with the model under test"
            )

    def _all_photos(self, person: str) -> tuple[int, ...]:
        own = (*self.split.seen.get(person, ()), *self.split.unseen[person])
        return tuple(self.split.photos.get(person, own))

    # Groups

    @cached_property
    def neighbours(self) -> dict[str, tuple[str, ...]]:
        """Forgotten person -> the 5 of retained and holdout with the highest template cosine under the original
        model, mean over the template positions; ties in the split's order. Other forgotten people are no candidates:
        they are meant to change."""
        if self._given_neighbours is not None:
            return dict(self._given_neighbours)
        if self.frozen is not self:
            return self.frozen.neighbours
        first = len(self.split.forget)
        templates = self.embeddings[self.templates]
        found = {}
        for i, person in enumerate(self.split.forget):
            likeness = paired_cosines(templates[i][None], templates[first:]).mean(1, dtype=np.float64)
            nearest = np.argsort(-likeness, kind="stable")[:NEIGHBOURS]
            found[person] = tuple(self.people[first + n] for n in nearest)
        return found

    def group(self, name: str) -> tuple[str, ...]:
        """Who is in a group, in the split's order."""
        if name == "neighbours":
            alike = {p for near in self.neighbours.values() for p in near}
            return tuple(p for p in self.people if p in alike)
        members = {"forget_seen": "forget", IMPOSTORS: "holdout"}.get(name, name)
        return getattr(self.split, members)

    def members(self, group: str) -> np.ndarray:
        """Int64, positions in `people` of a group."""
        return np.array([self._place[p] for p in self.group(group)], np.int64)

    def photos(self, group: str) -> list[np.ndarray]:
        """For each person of a group the embeddings [m, d] that stand for it: seen photos in `forget_seen`, unseen
        ones elsewhere."""
        chosen = self.split.seen if group == "forget_seen" else self.split.unseen
        return [self.embeddings[list(chosen.get(p, ()))] for p in self.group(group)]

    def by_person(self, group: str, person: np.ndarray, values: np.ndarray) -> ByPerson:
        """Means over the trials of each person of a group. person: int [trials], positions in `people`. values:
        [trials]; nan makes the person's value null."""
        members = self.members(group)
        trials = np.bincount(person, minlength=len(self.people))[members]
        sums = np.bincount(person, values.astype(np.float64), len(self.people))[members]
        means = np.divide(sums, trials, out=np.full(len(members), np.nan), where=trials > 0)
        return ByPerson(self.group(group), means, trials)

    # Searches (lines 7, 8, 10, 11)

    @cached_property
    def templates(self) -> np.ndarray:
        """Int64 [people, 5]: the position of each person's template in each search."""
        unseen = [self.split.unseen[p] for p in self.people]
        rows = [[own[e % len(own)] for e in range(SEARCHES)] for own in unseen]
        return np.array(rows, np.int64).reshape(-1, SEARCHES)

    def searches(self, group: str) -> Searches:
        """Every probe of the group against one photo of everybody, for each of the 5 template positions."""
        return self._searched("own", group)

    def cross_version_searches(self, group: str) -> Searches | None:
        """The same with templates made by the original model; None where its embeddings have another length."""
        if self.frozen.embeddings.shape[1] != self.embeddings.shape[1]:
            return None
        return self._searched("old", group)

    def multi_searches(self, group: str) -> Searches:
        """Every probe of the group once, against mean templates: everybody else's of all their unseen photos, the own
        one of the other unseen photos (line 10)."""
        return self._searched("means", group)

    def _searched(self, templates: Templates, group: str) -> Searches:
        """What was searched before is not searched again: groups share their probes."""
        kind: Probes = "seen" if group == "forget_seen" else "unseen"
        if (templates, kind) not in self._done:
            search = {"own": self._search, "old": self._search_old, "means": self._search_means}[templates]
            self._done[templates, kind] = search(kind)
        return self._done[templates, kind].of(self.members(group))

    @cached_property
    def _retained(self) -> np.ndarray:
        first = len(self.split.forget)
        place = np.arange(len(self.people))
        return (first <= place) & (place < first + len(self.split.retain))

    def _probes(self, kind: Probes) -> tuple[np.ndarray, np.ndarray]:
        """(person, photo) of every probe: all unseen photos of everybody, or the seen ones of the forgotten."""
        who = self.people if kind == "unseen" else self.split.forget
        photos = getattr(self.split, kind)
        pairs = [(self._place[p], photo) for p in who for photo in photos.get(p, ())]
        return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)  # pyright: ignore[reportReturnType]

    def _search_old(self, kind: Probes) -> Searches:
        return self._search(kind, old=True)

    def _search(self, kind: Probes, old: bool = False) -> Searches:
        person, photo = self._probes(kind)
        gallery = self.frozen.embeddings if old else self.embeddings
        genuine = np.full((len(person), SEARCHES), np.inf, np.float32)
        rank = np.zeros((len(person), SEARCHES), np.int64)
        rival = np.zeros((len(person), SEARCHES), np.float32)
        mated = self.templates[person] != photo[:, None]  # a template is not a probe of its own search
        for e in range(SEARCHES):
            rows = np.flatnonzero(mated[:, e])
            genuine[rows, e], rank[rows, e], rival[rows, e] = own_template(
                self.embeddings[photo[rows]], person[rows], gallery[self.templates[:, e]], self._retained
            )
        if self.distractors is not None and not old:  # the distractors are templates of this model
            rank += count_at_least(self.embeddings[photo], genuine, self.distractors)
        return Searches(np.repeat(person, mated.sum(1)), genuine[mated], rank[mated], rival[mated])

    def _search_means(self, kind: Probes) -> Searches:
        person, photo = self._probes(kind)
        sums = np.stack([self.embeddings[list(self.split.unseen[p])].sum(0, dtype=np.float64) for p in self.people])
        others = sums[person] - (self.embeddings[photo] if kind == "unseen" else 0)
        counts = np.array([len(self.split.unseen[p]) for p in self.people])[person] - (kind == "unseen")
        rows = np.flatnonzero(counts)  # one unseen photo alone has no other to be matched with
        person, probes = person[rows], self.embeddings[photo[rows]]
        own = paired_cosines(probes, _directions(others[rows]))
        genuine, rank, rival = own_template(probes, person, _directions(sums), self._retained, own)
        if self.distractors is not None:
            rank += count_at_least(probes, genuine[:, None], self.distractors)[:, 0]
        return Searches(person, genuine, rank, rival)

    # Impostors and thresholds (lines 5, 6, 12, 13)

    @cached_property
    def _strangers(self) -> tuple[np.ndarray, np.ndarray]:
        """(photo, person) of all photos of the holdout, people side by side."""
        pairs = [(photo, i) for i, p in enumerate(self.split.holdout) for photo in self._all_photos(p)]
        return tuple(np.array(pairs, np.int64).reshape(-1, 2).T)  # pyright: ignore[reportReturnType]

    @cached_property
    def impostors(self) -> ScoreDistribution:
        """Scores of all unordered pairs of photos of different holdout people, under this model (line 5)."""
        photo, person = self._strangers
        blocks = pairs_of_strangers(self.embeddings[photo], person)
        return ScoreDistribution.of(block.scores[block.counted] for block in blocks)

    @cached_property
    def non_mated(self) -> ScoreDistribution:
        """Best score of each holdout photo, all of them, with a retained person's template, all 5 positions pooled."""
        photo, _ = self._strangers
        templates = self.templates[self._retained]
        if not len(templates):
            return ScoreDistribution.of([])
        searches = [top_k(self.embeddings[photo], self.embeddings[t], 1) for t in templates.T]
        return ScoreDistribution.of([np.stack([scores for scores, _ in searches])])

    def false_accepts(self, threshold: float) -> np.ndarray:
        """Int64 [holdout people]: impostor pairs with a photo of that person, under this model, above a threshold."""
        photo, person = self._strangers
        accepts = np.zeros(len(photo), np.int64)
        for block in pairs_of_strangers(self.embeddings[photo], person):
            accepted = block.counted & (block.scores > threshold)
            accepts[block.rows] += accepted.sum(1)
            accepts[block.columns] += accepted.sum(0)
        return np.bincount(person, accepts, len(self.split.holdout)).astype(np.int64)

    @cached_property
    def pairs_by_person(self) -> np.ndarray:
        """Int64 [holdout people]: impostor pairs with a photo of that person."""
        photos = np.bincount(self._strangers[1], minlength=len(self.split.holdout))
        return photos * (photos.sum() - photos)


def _directions(sums: np.ndarray) -> np.ndarray:
    """Rows divided by their length; photos that cancel out give no direction and score 0 with everything."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 1e-6)
