"""Cosines that tie where they should, and what a threshold says of many of them (protocol, lines 4 to 6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import floor

import numpy as np
from torch import Tensor

from efface.errors import EffaceError

STEPS = 2**20
"""Scores are multiples of 1 / STEPS, 9.5e-7, which is what unit rows in single precision are good for: equal embeddings
get equal scores in whatever order their products are summed, so ties are ties, and a histogram of scores is exact."""
LEAST_EVENTS = 10
"""A rate is null where rate × trials is below this (protocol, line 6)."""
TILE = 2048
"""Photos a side of the blocks in which pairs are scored; it bounds memory, not the result."""


def unit_rows(embeddings: Tensor | np.ndarray, what: str = "embeddings") -> np.ndarray:
    """Float32 [n, d] with rows of length 1, checked: raises EffaceError where a row is not finite or not of length 1
    (to 1e-2: half precision may be stored)."""
    array = embeddings.detach().cpu().numpy() if isinstance(embeddings, Tensor) else np.asarray(embeddings)
    if array.ndim != 2:
        raise EffaceError(f"{what}: found shape {list(array.shape)}, expected [photos, size]; stack one row a photo")
    rows = array.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) < 1e-2))
    if len(wrong):
        raise EffaceError(
            f"{what}: row {wrong[0]} has length {lengths[wrong[0]]:.4g}, expected 1; normalise the embeddings "
            "(a length of 0 or nan is a broken model)"
        )
    lengths[np.abs(lengths - 1) < 1e-7] = 1  # what this function has given stays as it is, to the bit
    return (rows / lengths[:, None]).astype(np.float32)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scores of all pairs of unit rows: [n, d], [m, d] -> float32 [n, m], in [−1, 1]."""
    return _stepped(a.astype(np.float64) @ b.astype(np.float64).T)


def paired_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scores of rows with rows: [..., d], [..., d] -> float32 [...]."""
    return _stepped(np.einsum("...d,...d->...", a.astype(np.float64), b.astype(np.float64)))


def pair_scores(photos: np.ndarray) -> np.ndarray:
    """Scores of all unordered pairs of one person's photos: unit rows [m, d] -> float32 [m (m − 1) / 2]."""
    first, second = np.triu_indices(len(photos), 1)
    return cosines(photos, photos)[first, second]


def _stepped(products: np.ndarray) -> np.ndarray:
    products *= STEPS
    np.rint(products, out=products)
    np.clip(products, -STEPS, STEPS, out=products)
    scores = products.astype(np.float32)
    scores /= STEPS  # a power of two: nothing is lost
    return scores


@dataclass(frozen=True, eq=False)
class ScoreDistribution:
    """Any number of scores, exactly, in memory that does not grow with their number."""

    values: np.ndarray
    """Float32, distinct scores, ascending."""
    counts: np.ndarray
    """Int64, how often each occurs."""

    @classmethod
    def of(cls, blocks: Iterable[np.ndarray]) -> "ScoreDistribution":
        """From blocks of scores (multiples of 1 / STEPS in [−1, 1]) of any shape."""
        histogram = np.zeros(0, np.int64)
        pending: list[np.ndarray] = [np.zeros(0, np.int64)]
        for block in blocks:
            pending.append(((block.ravel() + 1) * STEPS).astype(np.int64))
            if sum(map(len, pending)) > STEPS:  # from here a histogram of all possible scores is smaller
                counts = np.bincount(np.concatenate(pending), minlength=2 * STEPS + 1)
                histogram = histogram + counts if len(histogram) else counts
                pending = [np.zeros(0, np.int64)]
        rest, counts = np.unique(np.concatenate(pending), return_counts=True)
        if len(histogram):
            histogram[rest] += counts
            rest, counts = np.flatnonzero(histogram), histogram[histogram > 0]
        return cls((rest / STEPS - 1).astype(np.float32), counts)

    @property
    def total(self) -> int:
        """How many scores there are."""
        return int(self.counts.sum())

    def below(self, scores: np.ndarray) -> np.ndarray:
        """Int64, for each of `scores`: how many of the distribution are strictly below it."""
        return self._cumulated[np.searchsorted(self.values, scores, side="left")]

    def up_to(self, scores: np.ndarray) -> np.ndarray:
        """Int64, for each of `scores`: how many of the distribution are below or equal to it."""
        return self._cumulated[np.searchsorted(self.values, scores, side="right")]

    @cached_property
    def _cumulated(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.counts)])

    def threshold(self, rate: float) -> float | None:
        """Score number ⌊rate · N⌋ (from 0, descending): at most that share is strictly above it. None where
        rate · N < 10 (protocol, line 6)."""
        exact = Fraction(repr(rate))  # 1e-3 is meant as one thousandth, which no binary number is
        if not 0 < exact < 1:
            raise EffaceError(f"rate: found {rate}, expected a number between 0 and 1")
        if exact * self.total < LEAST_EVENTS:
            return None
        from_top = np.cumsum(self.counts[::-1])
        place = np.searchsorted(from_top, floor(exact * self.total), side="right")
        return float(self.values[::-1][place])


def accepted(scores: np.ndarray, threshold: float | None) -> np.ndarray:
    """Float64, 1 where a score is strictly above the threshold, else 0; nan (null) where there is no threshold."""
    if threshold is None:
        return np.full(scores.shape, np.nan)
    return (scores > threshold).astype(np.float64)


@dataclass(frozen=True, eq=False)
class PairBlock:
    """Scores of some pairs of photos of different people."""

    rows: slice
    columns: slice
    scores: np.ndarray
    """Float32 [rows, columns]."""
    counted: np.ndarray
    """Bool [rows, columns]: True where the pair is of two people and was in no other place."""


def pairs_of_strangers(embeddings: np.ndarray, person: np.ndarray) -> Iterator[PairBlock]:
    """All unordered pairs of photos of different people, block by block.

    embeddings: unit rows [n, d], those of one person side by side. person: int [n], ascending.
    """
    for i in range(0, len(embeddings), TILE):
        rows = slice(i, min(i + TILE, len(embeddings)))
        for j in range(i, len(embeddings), TILE):
            columns = slice(j, min(j + TILE, len(embeddings)))
            counted = person[columns][None, :] > person[rows][:, None]
            if counted.any():
                yield PairBlock(rows, columns, cosines(embeddings[rows], embeddings[columns]), counted)
