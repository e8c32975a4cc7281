"""Classifier heads on the unit sphere: logits are s·cos, with a margin for the labelled class while training."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError


class MarginHead(nn.Module, ABC):
    """Class directions (rows of `weight`, normalised in use) and a scale; subclasses say what the margin does."""

    def __init__(self, classes: int, size: int, scale: float = 64.0, margin: float = 0.0) -> None:
        """classes: rows. size: length d of the embeddings. scale: s. margin: m, in the subclass's unit.
        The rows are zero until they are given or drawn."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, size))
        self.scale, self.margin = scale, margin

    def draw(self, generator: torch.Generator) -> "MarginHead":
        """Fill the rows with random directions; returns itself."""
        with torch.no_grad():
            self.weight.copy_(F.normalize(torch.randn(self.weight.shape, generator=generator), dim=-1))
        return self

    def forward(self, embeddings: Tensor, labels: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Logits [n, classes] of unit embeddings [n, d]; the margin is applied to `labels` (int64 [n]) where given.

        rows: int64 [k], only these classes have a logit, [n, k]; `labels` are then positions in `rows`, and the
        gradient of `weight` is sparse.
        """
        weight = self.weight if rows is None else F.embedding(rows, self.weight, sparse=True)
        cosines = embeddings @ F.normalize(weight, dim=-1).T
        if labels is not None:
            own = cosines.gather(1, labels[:, None])
            cosines = cosines.scatter(1, labels[:, None], self.with_margin(own))
        return self.scale * cosines

    @abstractmethod
    def with_margin(self, cosines: Tensor) -> Tensor:
        """The labelled class's cosines, made smaller by the margin."""


def sample_classes(labels: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """Which classes have a logit in a step: those of the batch and as many others, drawn at random, as make up `share`
    of all; int64 [k], ascending (Partial FC: An et al. 2022, arXiv 2203.15565, section 3.2).

    labels: int64 [n]. classes: how many there are. share: 0 to 1.
    """
    wanted = max(1, round(share * classes))
    order = torch.rand(classes, generator=generator)
    order[labels] = 2.0  # the batch's own come first
    own = int((order == 2.0).sum())
    return order.topk(max(wanted, own)).indices.sort().values


class CosFace(MarginHead):
    """s·(cos θ − m): Wang et al. 2018, arXiv 1801.09414, equation 4 (paper: s = 64, m = 0.35)."""

    def __init__(self, classes: int, size: int, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__(classes, size, scale, margin)

    def with_margin(self, cosines: Tensor) -> Tensor:
        return cosines - self.margin


class ArcFace(MarginHead):
    """s·cos(θ + m): Deng et al. 2019, arXiv 1801.07698, equation 3 (paper: s = 64, m = 0.5 radians).

    Beyond θ = π − m the cosine would rise again; there the logit continues as cos θ − m·sin m, which keeps falling (the
    authors' own code does the same). The cosine is kept off ±1, where the gradient of the sine is infinite.
    """

    def __init__(self, classes: int, size: int, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__(classes, size, scale, margin)

    def with_margin(self, cosines: Tensor) -> Tensor:
        m = torch.tensor(self.margin, dtype=cosines.dtype, device=cosines.device)
        cosines = cosines.clamp(-1 + 1e-6, 1 - 1e-6)
        sines = (1 - cosines**2).sqrt()
        return torch.where(cosines > -m.cos(), cosines * m.cos() - sines * m.sin(), cosines - m * m.sin())


def head_from_class_means(
    embeddings: Tensor, labels: Tensor, classes: int, head: type[CosFace] | type[ArcFace] = CosFace
) -> MarginHead:
    """A head for a checkpoint without one: each row is the normalised mean of that class's unit embeddings.

    embeddings: [n, d]. labels: int64 [n], 0 to classes − 1. Raises EffaceError for a class without embedding.
    """
    sums = torch.zeros(classes, embeddings.shape[1], dtype=embeddings.dtype, device=embeddings.device)
    sums.index_add_(0, labels.to(embeddings.device), embeddings.detach())
    empty = (torch.bincount(labels, minlength=classes) == 0).nonzero().flatten().tolist()
    if empty:
        raise EffaceError(f"head: found no embedding of class {empty[0]}, expected at least one of each class")
    built = head(classes, embeddings.shape[1]).to(embeddings)
    with torch.no_grad():
        built.weight.copy_(F.normalize(sums, dim=-1))
    return built
