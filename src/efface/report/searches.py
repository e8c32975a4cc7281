"""What a search of the gallery answers to photos of a forgotten person, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from efface.faces.splits import Split
from efface.targets.cosines import cosines, unit_rows

DEPTH = 5
"""Hits shown of each search."""


@dataclass(frozen=True)
class Hit:
    """One gallery template that a search returned."""

    position: int
    """Position of the template's photo in the crops."""
    identity: str
    cosine: float
    own: bool
    """True where the template is of the person on the probe."""
    accepted: bool
    """True where the cosine is strictly above the frozen threshold."""


@dataclass(frozen=True)
class Answer:
    """The best hits of one search by one model, and where the person's own template came."""

    hits: tuple[Hit, ...]
    """Best first; of equals the own template comes last, as its rank says."""
    own: Hit
    rank: int
    """Rank of the own template, from 1; ties count against it."""


@dataclass(frozen=True)
class Search:
    """One unseen photo of a forgotten person against one template of everybody."""

    probe: int
    """Position of the probe in the crops."""
    answers: Mapping[str, Answer]
    """Model -> what it answers."""


def searches(split: Split, embeddings: Mapping[str, Tensor], threshold: float | None) -> dict[str, tuple[Search, ...]]:
    """For each forgotten person every search with one of their unseen photos, against the first unseen photo of
    everybody (protocol, lines 7 and 8 with e = 0). None where a person has a single unseen photo: it is the template.

    embeddings: model -> unit vectors [n, d] of the n crops. threshold: the frozen one, where there is one.
    """
    people = (*split.forget, *split.retain, *split.holdout)
    places = [split.unseen[person][0] for person in people]
    rows_of = {model: unit_rows(vectors) for model, vectors in embeddings.items()}

    def answer(model: str, probe: int, person: str) -> Answer:
        vectors = rows_of[model]
        scores = cosines(vectors[places], vectors[[probe]])[:, 0]

        def hit(row: int) -> Hit:
            cosine = float(scores[row])
            accepted = threshold is not None and cosine > threshold
            return Hit(places[row], people[row], cosine, people[row] == person, accepted)

        own = people.index(person)
        rank = int((scores >= scores[own]).sum())  # the own template is one of these
        best = np.lexsort((np.arange(len(people)) == own, -scores))[:DEPTH].tolist()
        return Answer(tuple(hit(row) for row in best), hit(own), rank)

    return {
        person: tuple(Search(i, {m: answer(m, i, person) for m in embeddings}) for i in split.unseen[person][1:])
        for person in split.forget
    }
