"""The scores behind the pictures: cosines of genuine and impostor pairs, and the trade-off between their errors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from efface.faces.crops import Crops
from efface.faces.splits import Split
from efface.targets.cosines import cosines, pair_scores, unit_rows

MOST_PHOTOS = 2000
"""Photos that a picture takes from one group at most, evenly spaced over its photos; a picture needs no more."""


@dataclass(frozen=True)
class Scores:
    """Cosines of pairs of photos under one model, float32 arrays."""

    forgotten: np.ndarray
    """Genuine: two unseen photos of the same forgotten person."""
    others: np.ndarray
    """Genuine: two unseen photos of the same retained or held-out person."""
    impostors: np.ndarray
    """Photos of two different held-out people (protocol, line 5)."""


def scores(crops: Crops, split: Split, vectors: Tensor) -> Scores:
    """Scores under the model that gave `vectors`, unit embeddings [n, d] of the n crops."""
    others, rows = (*split.retain, *split.holdout), unit_rows(vectors)
    return Scores(
        _genuine(rows, (split.unseen[person] for person in split.forget)),
        _genuine(rows, (split.unseen[person] for person in others)),
        _impostors(crops, split, rows),
    )


def _genuine(vectors: np.ndarray, people: Iterable[Sequence[int]]) -> np.ndarray:
    """Cosines of all unordered pairs of each person's positions."""
    parts = [pair_scores(vectors[list(positions)]) for positions in _thinned(people)]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _thinned(people: Iterable[Sequence[int]]) -> list[Sequence[int]]:
    """Whole people, evenly spaced, so that about MOST_PHOTOS photos are left."""
    kept = list(people)
    every = -(-sum(map(len, kept)) // MOST_PHOTOS)
    return kept[:: max(1, every)]


def _impostors(crops: Crops, split: Split, vectors: np.ndarray) -> np.ndarray:
    """Cosines of all unordered pairs of photos of different held-out people."""
    order = {person: number for number, person in enumerate(split.holdout)}
    positions = [i for i, person in enumerate(crops.identities) if person in order]
    positions = positions[:: max(1, -(-len(positions) // MOST_PHOTOS))]
    labels = np.array([order[crops.identities[i]] for i in positions], np.int64)
    held = vectors[positions]
    different = np.triu(labels[:, None] != labels[None, :], 1)
    return cosines(held, held)[different]


def trade_off(genuine: np.ndarray, impostors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False accept rates and, at each, the share of genuine pairs that are missed (the DET curve).

    The threshold at a rate f is impostor score number ⌊f·N⌋, from 0, descending; accepted is strictly above it
    (protocol, line 6). Rates below 1 / N cannot be told and are left out.
    """
    count = len(impostors)
    if not count or not len(genuine):
        return np.empty(0), np.empty(0)
    descending = np.sort(impostors)[::-1]
    rates = np.geomspace(1 / count, 0.5, 200)
    thresholds = descending[np.floor(rates * count).astype(int)]
    missed = np.searchsorted(np.sort(genuine), thresholds, side="right") / len(genuine)
    return rates, missed
