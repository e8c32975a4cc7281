"""Cosines of embeddings that tie where they should (protocol, line 4). The audit and the report both score by these, so
that they agree on every rank and every accepted pair."""

import numpy as np
from torch import Tensor

from efface.errors import EffaceError

STEPS = 2**20
"""Scores are multiples of 1 / STEPS, 9.5e-7, which is what unit rows in single precision are good for: equal embeddings
get equal scores in whatever order their products are summed, so ties are ties, and a histogram of scores is exact."""


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
