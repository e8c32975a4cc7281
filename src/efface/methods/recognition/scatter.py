"""Hide a person behind a small network after the embedding that scatters their photos; nobody else's change.

Ours; no paper. It **hides rather than erases**: the recogniser inside is untouched, and whoever takes the added tensors
away has it back as it was. The gate, which has to know whom to scatter, holds the direction of the person's mean
embedding: a prototype. Network and formulas: models/scatter.py. Closed form, nothing is trained:
    gate    a linear discriminant of the person's seen photos against the retained people's, with shrinkage:
                w = (S + λ tr(S)/d I)⁻¹ (μ_p − μ_r),   S the covariance about both means
            scaled so that the person's mean scores 1 and the retained people's 0; closed up to `threshold`, wholly open
            RAMP above it
    waves   W and V normal, φ uniform: random features of a Gaussian kernel (Rahimi & Recht 2007). Two photos of one
            person differ by `phase` radians (standard deviation over the waves), so their directions are unrelated
    level   m is `level` of the retained people's mean embedding, and V fills up to length 1: two scattered photos are
            alike as strangers are, or less; none is sent to anybody in particular

Mistakes avoided:
- waves in the retained people's own directions (V of their covariance) send photos to retained people;
- slow waves leave a person's nearest photos together, above all in a template of several photos; fast ones make a
  scattered photo unstable (attack `streisand`): it is told from others by a shift of two pixels, whatever the speed;
- in a template of several photos the waves cancel out and m is left, which accepts the person's other photos: so half;
- a low threshold opens the gate for look-alikes: they lose, and the false accept rate does not show it.
A further request adds gates to the module that is there; its waves stay.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.unlearner import Request, Unlearner
from efface.models.scatter import Scatter, attach, detach
from efface.targets.recognition import RecognitionTarget

RAMP = 0.05
"""Scores from the threshold to the open gate."""


@dataclass(frozen=True, kw_only=True)
class ScatterModule(Unlearner):
    """Scatter a person's embeddings by a small added network: hides rather than erases (ours)."""

    paper: ClassVar = "ours"
    objective: ClassVar = "pair_cosine"

    threshold: Annotated[float, Field(ge=0, le=1)] = 0.65
    """Score at which a gate begins to open; 0: the retained people's mean, 1: the person's."""
    shrinkage: PositiveFloat = 3.0
    """λ, in units of the mean variance of a dimension."""
    phase: PositiveFloat = 6.0
    """Radians by which the waves of two photos of one person differ (standard deviation)."""
    waves: PositiveInt = 256
    """Sine units; a module that is there already keeps its own."""
    level: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the retained people's mean embedding that scattered photos have in common."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        twin = target.clone()
        module = detach(twin.network)  # the recogniser itself says who somebody is
        forget, retain = (twin.embed(crops.pixels).double() for crops in (request.forget, request.retain))
        labels, others = request.forget.labels(), request.retain.labels()
        if len(others.unique()) < 2:
            raise EffaceError(
                f"retain: found {len(others.unique())} people, expected at least 2 to tell the forgotten from"
            )
        gates = [self._gate(forget[labels == person], retain) for person in labels.unique()]
        directions, offsets = (torch.stack(parts) for parts in zip(*gates, strict=True))
        if module is None:
            spread = _spread([*_by_person(forget, labels), *_by_person(retain, others)])
            waves = self._waves(self.level * retain.mean(0), spread, generator)
            module = Scatter.of({"gate.weight": directions, "gate.bias": offsets} | waves)
        else:
            module = module.extended(directions, offsets)
        attach(twin.network, module.to(twin.device).eval())
        return twin

    def _gate(self, own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Direction [d] and offset of one person's gate; unit embeddings [n, d] of theirs and of others' photos."""
        mean, background = own.mean(0), others.mean(0)
        difference = mean - background
        deviations = torch.cat([own - mean, others - background])
        covariance = deviations.T @ deviations / len(deviations)
        level = covariance.diagonal().mean().clamp(min=1e-12)
        identity = torch.eye(len(covariance), dtype=covariance.dtype)
        direction = torch.linalg.solve(covariance + self.shrinkage * level * identity, difference)
        reach = direction @ difference
        if not reach > 1e-6:
            raise EffaceError(
                "forget: found a person whose photos are on average the retained people's, expected another; check who "
                "is on the photos"
            )
        direction = direction / reach
        return direction / RAMP, (-(direction @ background) - self.threshold) / RAMP

    def _waves(self, mean: Tensor, spread: float, generator: torch.Generator) -> dict[str, Tensor]:
        """W, φ, V and m by their names in the module. mean: m [d]; spread: as `_spread`."""
        size = len(mean)
        frequencies = torch.randn(self.waves, size, generator=generator) * self.phase / spread
        phases = torch.rand(self.waves, generator=generator) * 2 * torch.pi
        left = float(1 - mean @ mean) / size  # of the squared length, for each dimension
        mixed = torch.randn(size, self.waves, generator=generator) * (2 * left / self.waves) ** 0.5
        return {"waves.weight": frequencies, "waves.bias": phases, "mix.weight": mixed, "mix.bias": mean}


def _by_person(embeddings: Tensor, labels: Tensor) -> list[Tensor]:
    """Each person's embeddings."""
    return [embeddings[labels == person] for person in labels.unique()]


def _spread(people: list[Tensor]) -> float:
    """Root of the mean squared distance of two photos of one person, over all pairs. Raises EffaceError without any."""
    squares = sum(len(own) * float((own - own.mean(0)).square().sum()) for own in people)
    pairs = sum(len(own) * (len(own) - 1) // 2 for own in people)
    if not pairs:
        raise EffaceError("found one seen photo of every person, expected two of one; add photos")
    return max((squares / pairs) ** 0.5, 1e-6)
