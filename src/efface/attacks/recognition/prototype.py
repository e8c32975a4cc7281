"""Enrol the person anew: the mean of a few new photos is the template.

Source: prototypes, Snell et al. 2017 (arXiv 1703.05175), of embeddings instead of a trained space. For each unseen
photo of a person as probe, the prototype is the normalised mean of the unit embeddings of the `photos` unseen photos
that follow it in order, cyclically; a person who has fewer others gives all of them. Everybody else in the gallery has
the mean of their first unseen ones. The threshold is the frozen one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from efface.attacks.attack import Attack, Outcome, Subject, recognised
from efface.metrics.protocol import Evaluation, Searches
from efface.metrics.search import own_template
from efface.targets.cosines import paired_cosines


@dataclass(frozen=True, kw_only=True)
class Prototype(Attack):
    """A new enrolment from the mean of a few new photos finds the person."""

    access: ClassVar = "the embeddings, and new photos of the person"
    control: ClassVar = "retained people, enrolled the same way"

    photos: tuple[PositiveInt, ...] = (1, 5)
    """Photos that are enrolled, at most."""

    def attempt(self, subject: Subject) -> Iterator[Outcome]:
        evaluation = subject.evaluation
        for count in self.photos:
            found = _searched(evaluation, count)
            yield from recognised(
                f"photos={count}",
                evaluation,
                lambda group, found=found: found.of(evaluation.members(group)),
                evaluation.frozen.impostors,
            )


def _searched(evaluation: Evaluation, count: int) -> Searches:
    """Every unseen photo of everybody as a probe against prototypes of `count` photos."""
    person, probes, own, gallery = [], [], [], []
    for i, name in enumerate(evaluation.people):
        photos = evaluation.embeddings[list(evaluation.split.unseen[name])].astype(np.float64)
        gallery.append(photos[:count].mean(0))
        following = (np.arange(len(photos))[:, None] + np.arange(1, len(photos))[None]) % len(photos)
        if len(photos) > 1:  # one photo alone has no other to be enrolled
            person += [i] * len(photos)
            probes.append(photos)
            own.append(photos[following[:, :count]].mean(1))
    if not probes:
        nothing = np.empty(0, np.float32)
        return Searches(np.empty(0, np.int64), nothing, np.empty(0, np.int64), nothing)
    owner, rows = np.array(person, np.int64), np.concatenate(probes).astype(np.float32)
    scores = paired_cosines(rows, _unit(np.concatenate(own)))
    among = np.zeros(len(gallery), bool)
    return Searches(owner, *own_template(rows, owner, _unit(np.stack(gallery)), among, scores))


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; photos that cancel out give no direction and score 0."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-6)
