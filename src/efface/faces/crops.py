"""Aligned face crops: the only pictures that models, methods and metrics see."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIZE = 112
"""Side of an aligned crop in pixels (ArcFace template)."""


@dataclass(frozen=True)
class Crops:
    """Aligned faces in one tensor, with who and which photo each is."""

    pixels: Tensor
    """uint8 [n, 3, 112, 112], RGB."""
    identities: tuple[str, ...]
    """Identity of each crop, n of them."""
    names: tuple[str, ...]
    """Photo name of each crop, n of them."""

    def __len__(self) -> int:
        return len(self.identities)

    def take(self, indices: Sequence[int] | Tensor) -> "Crops":
        """The crops at these positions, in this order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        rows = index.tolist()
        return Crops(self.pixels[index], tuple(self.identities[i] for i in rows), tuple(self.names[i] for i in rows))

    def people(self) -> tuple[str, ...]:
        """Distinct identities in order of first appearance."""
        return tuple(dict.fromkeys(self.identities))

    def labels(self, order: Iterable[str] | None = None) -> Tensor:
        """int64 [n]: position of each crop's identity in `order` (default: `people()`)."""
        position = {name: i for i, name in enumerate(self.people() if order is None else order)}
        return torch.tensor([position[i] for i in self.identities], dtype=torch.long)
