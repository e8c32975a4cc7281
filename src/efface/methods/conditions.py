"""What a method for an identity-conditioned diffusion model is given."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.errors import EffaceError


@dataclass(frozen=True)
class Faces:
    """Photos as the model sees people: framed pictures and the conditioning recogniser's embeddings."""

    pictures: Tensor
    """uint8 [n, 3, size, size], RGB, framed as the model's own pictures (`faces.framing`)."""
    embeddings: Tensor
    """Unit, float32 [n, d]."""
    identities: tuple[str, ...]
    """Identity of each photo, n of them; photos of a person need not be together."""

    def __len__(self) -> int:
        return len(self.identities)

    def take(self, indices: Sequence[int] | Tensor) -> "Faces":
        """The photos at these positions, in this order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        identities = tuple(self.identities[i] for i in index.tolist())
        return Faces(self.pictures[index], self.embeddings[index], identities)

    def people(self) -> tuple[str, ...]:
        """Distinct identities in order of first appearance."""
        return tuple(dict.fromkeys(self.identities))

    def labels(self) -> Tensor:
        """int64 [n]: position of each photo's identity in `people()`."""
        position = {name: i for i, name in enumerate(self.people())}
        return torch.tensor([position[i] for i in self.identities], dtype=torch.long)

    def centroids(self) -> Tensor:
        """Normalised mean embedding of each person, unit float32 [people, d]."""
        members = F.one_hot(self.labels(), len(self.people())).to(self.embeddings)
        return F.normalize(members.T @ self.embeddings, dim=1)


@dataclass(frozen=True)
class DrawRequest:
    """An erasure request for an identity-conditioned diffusion model: photos that the method may use, and no others."""

    forget: Faces
    """Seen photos of the people to forget; never empty."""
    retain: Faces
    """Seen photos of the retained people."""
    anchors: Tensor
    """Who is drawn in place of each person of `forget.people()`, in that order: unit float32 [people, d]."""

    def __post_init__(self) -> None:
        if not len(self.forget):
            raise EffaceError("forget: found no photo, expected at least one photo of each person to forget")
        both = sorted(set(self.forget.identities) & set(self.retain.identities))
        if both:
            raise EffaceError(f"found {', '.join(both)} among forget and retain, expected each person in one of them")
        expected = [len(self.forget.people()), self.forget.embeddings.shape[1]]
        if list(self.anchors.shape) != expected:
            raise EffaceError(f"anchors: found the shape {list(self.anchors.shape)}, expected {expected}, one a person")
        for faces in (self.forget, self.retain):
            if not torch.isfinite(faces.embeddings).all():
                raise EffaceError("embedding: found NaN or infinity, expected finite numbers; embed the photos anew")
