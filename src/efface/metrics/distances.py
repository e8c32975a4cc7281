"""How far two sets of pictures are apart, and how far a picture is from real ones, by features of each."""

import numpy as np

NEAREST = 3
"""Which nearest neighbour of a real picture its neighbourhood reaches to."""


def kernel_distance(one: np.ndarray, other: np.ndarray, paired: bool = False) -> float | None:
    """Squared maximum mean discrepancy of features float [n, d], [m, d] with the kernel (x·y / d + 1)³, unbiased, so
    about 0 (and at times below) where both are of one distribution, however few pictures there are: the kernel
    inception distance (Bińkowski et al. 2018, arXiv 1801.01401, equation 4) of all pictures at once. paired: rows i of
    both were drawn from the same noise, so they are no two independent pictures and are not compared with each other
    (Gretton et al. 2012, JMLR 13, lemma 6); else it would fall below 0. None for fewer than two of either."""
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return None
    x, y = one.astype(np.float64), other.astype(np.float64)
    within, across, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    first = (within.sum() - np.trace(within)) / (n * (n - 1))
    second = (across.sum() - np.trace(across)) / (m * (m - 1))
    third = (between.sum() - np.trace(between)) / (n * (n - 1)) if paired else between.mean()
    return float(first + second - 2 * third)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """Squared Fréchet distance of the normal distributions that fit features float [n, d], [m, d]: ‖μ₁ − μ₂‖² +
    tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) (Heusel et al. 2017, arXiv 1706.08500, equation 6). Biased: it rises as pictures become
    fewer, so only sets of equal size compare. None for fewer than two of either."""
    if min(len(one), len(other)) < 2:
        return None
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean = np.square(x.mean(0) - y.mean(0)).sum()
    a, b = x - x.mean(0), y - y.mean(0)
    a, b = a / np.sqrt(len(a) - 1), b / np.sqrt(len(b) - 1)
    # the square roots of the eigenvalues of Σ₁Σ₂ = AᵀA BᵀB are the singular values of A Bᵀ
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(mean + np.square(a).sum() + np.square(b).sum() - 2 * overlap)


def radii(real: np.ndarray) -> np.ndarray:
    """How far the third nearest other one is from each of the features float [m, d] of real pictures: float64 [m]."""
    apart = np.sort(_distances(real, real), axis=1)
    return apart[:, min(NEAREST, len(real) - 1)]


def realism(pictures: np.ndarray, real: np.ndarray, reach: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How deep in the neighbourhood of a real picture each picture lies: the realism score (Kynkäänniemi et al. 2019,
    arXiv 1904.06991, equation 3), float64 [n], above 0; from 1 on it is inside one.

    pictures, real: features float [n, d], [m, d]. reach: `radii(real)`; as in the paper the half with the larger ones
    is left out. among: bool [n, m], which real pictures count for which; nan where none does.
    """
    close = reach <= np.median(reach)
    ratios = reach[close] / np.maximum(_distances(pictures, real[close]), 1e-12)
    best = ratios.max(1, where=among[:, close], initial=-1)
    return np.where(best < 0, np.nan, best)


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean, float64 [n, m]."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))
