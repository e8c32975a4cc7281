"""Who is drawn in place of a forgotten person: the anchor.

From PIU (Hernandez Cancino Estrada et al. 2026, arXiv 2605.22311, official implementation): a retained person whose
centroid μ_j (normalised mean embedding) lies in a band around τ of the forgotten person's, |⟨μ_f, μ_j⟩ − τ| < ε with
τ 0.2 and ε 0.01, drawn uniformly. It is a band of similarity, not the nearest neighbour. `nearest`, `farthest` and
`mean` are its comparisons. Ours: percentiles of the cosines in place of τ and ε, `closest`, and `synthetic`, so that no
real person's face is drawn for another's.

    synthetic   v = c·μ_f + √(1 − c²)·u,  u ⊥ μ_f,  c the middle of the band,  u such that the largest cosine of v to
                any other enrolled person (forgotten, retained, or an anchor made before) is as small as descent finds
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.conditions import Faces

NAMED = 3
"""Candidates that an error names."""
STARTS, STEPS, SHARPNESS = 16, 200, 60.0
"""Of the descent to a synthetic anchor: random beginnings, steps, and how near the smooth maximum is to the largest."""


class Chosen(NamedTuple):
    """The anchors of some people, in their order."""

    embeddings: Tensor
    """Unit float32 [people, d]."""
    who: tuple[str | None, ...]
    """The retained person that each is; None: nobody (`mean`, `synthetic`)."""
    cosines: tuple[float, ...]
    """Of each to the centroid of the person it stands for."""
    nearest: tuple[float, ...]
    """Largest cosine of each to the centroid of anybody else that is enrolled, but for the person that it is."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """How the anchor of each forgotten person is chosen among the retained people."""

    choice: Literal["band", "closest", "nearest", "farthest", "mean", "synthetic"] = "band"
    """band: uniformly among those in the band; closest: to the band's middle; nearest, farthest: of all; mean: the mean
    of all; synthetic: nobody, in the middle of the band and far from everybody enrolled."""
    tau: float = 0.2
    """τ, the middle of the band, a cosine; paper: 0.2."""
    epsilon: float = 0.01
    """ε, half its width; paper: 0.01."""
    percentiles: tuple[float, float] | None = None
    """The band from this to that percentile (0: the least alike) of the person's cosines to the retained people, in
    place of τ and ε, for a recogniser of another scale; ours."""

    def __post_init__(self) -> None:
        if not -1 < self.tau < 1:
            raise EffaceError(f"tau: found {self.tau:g}, expected a cosine above -1 and below 1")
        if self.epsilon <= 0:
            raise EffaceError(f"epsilon: found {self.epsilon:g}, expected more than 0")
        if self.percentiles and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            found = ", ".join(f"{p:g}" for p in self.percentiles)
            raise EffaceError(f"percentiles: found {found}, expected two rising numbers of 0 to 100")

    def choose(self, forget: Faces, retain: Faces, generator: torch.Generator) -> Chosen:
        """The anchor of each of `forget.people()`, among `retain.people()`; different ones as far as there are.

        People with fewer candidates choose first. Raises EffaceError where nobody is retained, and where the band is
        empty, naming the nearest candidates.
        """
        if not len(retain):
            raise EffaceError("retain: found nobody, expected retained people; the anchor is chosen among them")
        own, others, names = forget.centroids().cpu(), retain.centroids().cpu(), retain.people()
        cosines = own @ others.T
        bands = [self._band(row) for row in cosines]
        found: dict[int, tuple[Tensor, str | None]] = {}
        taken = torch.zeros(len(names), dtype=torch.bool)
        for person in sorted(range(len(own)), key=lambda p: int(_within(cosines[p], *bands[p]).sum())):
            if self.choice == "mean":
                found[person] = F.normalize(others.mean(0), dim=0), None
            elif self.choice == "synthetic":
                made = [embedding for embedding, _ in found.values()]
                rest = torch.cat([own[torch.arange(len(own)) != person], others, *(v[None] for v in made)])
                found[person] = synthetic(own[person], rest, sum(bands[person]) / 2, generator), None
            else:
                candidates = self._candidates(cosines[person], bands[person], forget.people()[person], names)
                free = candidates & ~taken if bool((candidates & ~taken).any()) else candidates
                chosen = self._pick(cosines[person], free, bands[person], generator)
                taken[chosen] = True
                found[person] = others[chosen], names[chosen]
        embeddings, who = torch.stack([found[p][0] for p in range(len(own))]), [found[p][1] for p in range(len(own))]
        return Chosen(
            embeddings,
            tuple(who),
            tuple((embeddings * own).sum(1).tolist()),
            tuple(_nearest(embeddings[p], p, who[p], own, others, names) for p in range(len(own))),
        )

    def _band(self, cosines: Tensor) -> tuple[float, float]:
        """(lowest, highest cosine) of the band of one person."""
        if self.percentiles is None:
            return self.tau - self.epsilon, self.tau + self.epsilon
        low, high = torch.quantile(cosines.double(), torch.tensor(self.percentiles, dtype=torch.float64) / 100).tolist()
        return low, high

    def _candidates(self, cosines: Tensor, band: tuple[float, float], person: str, names: tuple[str, ...]) -> Tensor:
        """bool [retained people]: who may be the anchor of one person."""
        if self.choice != "band":
            return torch.ones_like(cosines, dtype=torch.bool)
        inside = _within(cosines, *band)
        if not inside.any():
            near = (cosines - sum(band) / 2).abs().argsort()[:NAMED].tolist()
            nearest = ", ".join(f"{names[j]} ({float(cosines[j]):.3f})" for j in near)
            raise EffaceError(
                f"anchor of {person}: found none of {len(names)} retained people with a cosine of {band[0]:.3f} to "
                f"{band[1]:.3f}, nearest are {nearest}; widen epsilon, move tau, give percentiles, or choose closest "
                "or synthetic"
            )
        return inside

    def _pick(self, cosines: Tensor, free: Tensor, band: tuple[float, float], generator: torch.Generator) -> int:
        """One of the `free` people."""
        index = free.nonzero().flatten()
        if self.choice == "band":
            return int(index[torch.randint(len(index), (1,), generator=generator)])
        order: dict[str, Callable[[Tensor], Tensor]] = {
            "closest": lambda c: (c - sum(band) / 2).abs(),
            "nearest": torch.neg,
            "farthest": lambda c: c,
        }
        return int(index[order[self.choice](cosines[index]).argmin()])


def synthetic(own: Tensor, others: Tensor, cosine: float, generator: torch.Generator) -> Tensor:
    """A unit vector [d] of this cosine to `own` (unit [d]) whose largest cosine to any of `others` (unit [n, d]) is as
    small as `STEPS` steps of Adam find from `STARTS` random beginnings; at least two dimensions."""
    start = torch.randn(STARTS, len(own), generator=generator)
    with torch.enable_grad():
        free = start.to(own).requires_grad_(True)
        optimiser = torch.optim.Adam([free], lr=0.1)
        for _ in range(STEPS):
            alike = _at_cosine(free, own, cosine) @ others.T
            optimiser.zero_grad()
            (torch.logsumexp(SHARPNESS * alike, dim=1) / SHARPNESS).sum().backward()
            optimiser.step()
    found = _at_cosine(free.detach(), own, cosine)
    return found[(found @ others.T).amax(1).argmin()]


def _at_cosine(free: Tensor, own: Tensor, cosine: float) -> Tensor:
    """Unit vectors [n, d] of this cosine to `own`, in the plane of it and each of `free` [n, d]."""
    beside = F.normalize(free - (free @ own)[:, None] * own, dim=1)
    return F.normalize(cosine * own + (1 - cosine**2) ** 0.5 * beside, dim=1)


def _within(cosines: Tensor, low: float, high: float) -> Tensor:
    return (cosines >= low) & (cosines <= high)


def _nearest(
    anchor: Tensor, person: int, who: str | None, own: Tensor, others: Tensor, names: tuple[str, ...]
) -> float:
    """Largest cosine of an anchor to anybody but the person that it is and the one that it stands for."""
    rest = [*own[torch.arange(len(own)) != person], *(v for v, name in zip(others, names, strict=True) if name != who)]
    return float((torch.stack(rest) @ anchor).max()) if rest else -1.0
