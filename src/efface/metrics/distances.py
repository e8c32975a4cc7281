"""How far two sets of pictures are apart, by features of each."""

import numpy as np


def kernel_distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """Squared maximum mean discrepancy of features float [n, d], [m, d] with the kernel (x·y / d + 1)³, unbiased, so
    about 0 (and at times below) where both are of one distribution, however few pictures there are: the kernel
    inception distance (Bińkowski et al. 2018, arXiv 1801.01401, equation 4) of all pictures at once. None for fewer
    than two of either."""
    n, m = len(one), len(other)
    if min(n, m) < 2:
        return None
    x, y = one.astype(np.float64), other.astype(np.float64)
    within, across, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    first = (within.sum() - np.trace(within)) / (n * (n - 1))
    second = (across.sum() - np.trace(across)) / (m * (m - 1))
    return float(first + second - 2 * between.mean())


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
