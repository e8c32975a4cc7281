"""Embeddings of people who do not exist: clusters on the sphere, with everything that a protocol can trip over."""

import numpy as np
import torch
from torch import Tensor

from efface.faces.splits import Split


def make_split(counts: dict[str, list[int]], rng: np.random.Generator) -> Split:
    """counts: photos of each person by group. Positions are shuffled; seen and unseen as line 3 says."""
    sizes = {f"{group}{i}": m for group, numbers in counts.items() for i, m in enumerate(numbers)}
    order = rng.permutation(sum(sizes.values())).tolist()
    photos = {person: tuple(order.pop() for _ in range(m)) for person, m in sizes.items()}
    groups = [tuple(f"{g}{i}" for i in range(len(counts.get(g, [])))) for g in ("forget", "retain", "holdout")]
    unseen = {p: own[len(own) // 2 :] for p, own in photos.items()}
    seen = {p: photos[p][: min(5, len(photos[p]) // 2)] for p in (*groups[0], *groups[1])}
    return Split(*groups, seen, unseen, photos=photos)


def make_embeddings(split: Split, rng: np.random.Generator, size: int = 16, noise: float = 0.3) -> Tensor:
    """Unit rows float32 [photos, size]; every photo is its person's direction plus noise."""
    rows = np.empty((sum(map(len, split.photos.values())), size))
    for own in split.photos.values():
        centre = rng.standard_normal(size)
        for position in own:
            rows[position] = centre / np.linalg.norm(centre) + noise * rng.standard_normal(size)
    return unit(rows)


def jittered(embeddings: Tensor, rng: np.random.Generator, noise: float) -> Tensor:
    """The same people seen by a model that changed a little, or a lot."""
    return unit(embeddings.numpy() + noise * rng.standard_normal(embeddings.shape))


def unit(rows: np.ndarray) -> Tensor:
    return torch.from_numpy((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
