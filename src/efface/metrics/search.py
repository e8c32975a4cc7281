"""Searching a gallery: the best hits by faiss, the rank of a probe's own template by counting. Both go through the
gallery in pieces, so that a million templates on disk are searched in bounded memory."""

import mmap
from collections.abc import Iterable, Iterator

import faiss
import numpy as np

from efface.targets.cosines import cosines, paired_cosines, unit_rows

Gallery = np.ndarray | Iterable[np.ndarray]
"""Unit rows [m, d] of any floating type: an array, a `np.memmap`, or pieces of one in order."""

PIECE_BYTES = 2**25
"""Float32 bytes of a gallery that are looked at together."""
QUERIES = 1024
"""Queries that are looked at together."""


def pieces(gallery: Gallery) -> Iterator[np.ndarray]:
    """The gallery as float32 unit rows, piece by piece. What was read of a memory-mapped file is given back."""
    if not isinstance(gallery, np.ndarray):
        for piece in gallery:
            yield from pieces(piece)
        return
    mapped = _mapping(gallery)
    rows = max(1, PIECE_BYTES // (4 * max(1, gallery.shape[1])))
    for start in range(0, len(gallery), rows):
        yield unit_rows(gallery[start : start + rows], "gallery")
        if mapped is not None:
            mapped.madvise(mmap.MADV_DONTNEED)


def _mapping(gallery: np.ndarray) -> mmap.mmap | None:
    """The mapped file behind an array, where its pages can be dropped without losing anything."""
    if not isinstance(gallery, np.memmap) or gallery.mode == "c" or not hasattr(mmap, "MADV_DONTNEED"):
        return None
    base = gallery
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def top_k(queries: np.ndarray, gallery: Gallery, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best templates for each query, by exact inner product.

    queries: unit rows float32 [q, d]. Returns (scores float32 [q, k] descending, positions int64 [q, k] in the
    gallery); equal scores in order of position. Where the gallery has fewer than k, the rest is (−inf, −1).
    """
    best = np.full((len(queries), k), -np.inf, np.float32)
    where = np.full((len(queries), k), -1, np.int64)
    first = 0
    for piece in pieces(gallery):
        index = faiss.IndexFlatIP(piece.shape[1])
        index.add(piece)  # pyright: ignore[reportCallIssue]
        for start in range(0, len(queries), QUERIES):
            rows = slice(start, start + QUERIES)
            _, found = index.search(queries[rows], min(k, len(piece)))  # pyright: ignore[reportCallIssue]
            # faiss sums in single precision; the hits are scored again so that ties are ties
            scores = paired_cosines(queries[rows][:, None, :], piece[found])
            best[rows], where[rows] = _merged(best[rows], where[rows], scores, found + first)
        first += len(piece)
    return best, where


def _merged(
    best: np.ndarray, where: np.ndarray, scores: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k best of the k best so far and of new ones from further down the gallery."""
    scores, positions = np.concatenate([best, scores], 1), np.concatenate([where, positions], 1)
    order = np.lexsort((positions, -scores), axis=1)[:, : best.shape[1]]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)


def count_at_least(queries: np.ndarray, own: np.ndarray, gallery: Gallery) -> np.ndarray:
    """How many templates score at least as high as the own one.

    queries: unit rows [q, d]. own: scores [q, m], m own templates of each query. Returns int64 [q, m].
    """
    counts = np.zeros(own.shape, np.int64)
    for piece in pieces(gallery):
        for start in range(0, len(queries), QUERIES):
            rows = slice(start, start + QUERIES)
            for first in range(0, len(piece), 4 * QUERIES):
                scores = cosines(queries[rows], piece[first : first + 4 * QUERIES])
                for column in range(own.shape[1]):
                    counts[rows, column] += (scores >= own[rows, column, None]).sum(1)
    return counts


def own_template(
    queries: np.ndarray, owner: np.ndarray, gallery: np.ndarray, among: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a query's own template comes in a gallery of one template a person.

    queries: unit rows [q, d]. owner: int [q], the row of the query's person in `gallery`. gallery: unit rows [p, d].
    among: bool [p], the people among whom the best rival is sought. own: scores [q] with own templates that stand in
    for the gallery's. Returns (score with the own template, its rank from 1 with ties against it, best score with
    another person's template among `among`, −inf where there is none).
    """
    genuine, rank = np.empty(len(queries), np.float32), np.empty(len(queries), np.int64)
    rival = np.full(len(queries), -np.inf, np.float32)
    for start in range(0, len(queries), QUERIES):
        rows = slice(start, start + QUERIES)
        scores = cosines(queries[rows], gallery)
        mine = np.arange(len(scores)), owner[rows]
        genuine[rows] = scores[mine] if own is None else own[rows]
        scores[mine] = -np.inf
        rank[rows] = 1 + (scores >= genuine[rows, None]).sum(1)
        rival[rows] = scores[:, among].max(1, initial=-np.inf)
    return genuine, rank, rival
