"""Many scores, and what a threshold says of them (protocol, lines 5 and 6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import floor

import numpy as np

from efface.errors import EffaceError
from efface.targets.cosines import STEPS, cosines

LEAST_EVENTS = 10
"""A rate is null where rate × trials is below this (protocol, line 6)."""
TILE = 2048
"""Photos a side of the blocks in which pairs are scored; it bounds memory, not the result."""


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
    """Float64, 1 where a score is strictly above the threshold, else 0; nan (null) where there is no threshold or no
    score."""
    if threshold is None:
        return np.full(scores.shape, np.nan)
    return np.where(np.isnan(scores), np.nan, scores > threshold)


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
