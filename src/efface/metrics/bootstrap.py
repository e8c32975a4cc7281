"""Percentile bootstrap over people (Efron 1979; protocol, line 14)."""

import numpy as np
import torch

RESAMPLES = 1000
LEAST_PEOPLE = 8
"""Below this number of people there is no interval."""


def bootstrap(
    values: np.ndarray, generator: torch.Generator, weights: np.ndarray | None = None
) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the (weighted) mean over people.

    values: float [people], one value a person. weights: float [people], or None for equal ones. Returns the 2.5th and
    97.5th percentiles of 1,000 resamples of people, (None, None) under 8 people.
    """
    people = len(values)
    if people < LEAST_PEOPLE:
        return None, None
    weights = np.ones(people) if weights is None else weights
    means = np.empty(RESAMPLES)
    at_once = max(1, 2**22 // people)  # resamples whose draws fit in memory together
    for start in range(0, RESAMPLES, at_once):
        count = min(at_once, RESAMPLES - start)
        drawn = torch.randint(people, (count, people), generator=generator).numpy()
        means[start : start + count] = (values * weights)[drawn].sum(1) / weights[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
