"""Draw an anchor in place of the person, and beyond it, away from the person.

Paper: PIU (Hernandez Cancino Estrada et al., IJCB 2026, arXiv 2605.22311), formulas and values by its official
implementation. θ* is the frozen teacher, θ the student, ε the predicted noise, c(e) the tokens of an embedding:
    target     ε̂_f = ε_θ*(z, t, c_a) − η·[ε_θ*(z, t, c_f) − ε_θ*(z, t, c_a)]
    forget     L_f = E‖ε_θ(z, t, c_f) − ε̂_f‖²
    preserve   L_p = E‖ε_θ(z′, t′, c_r) − ε_θ*(z′, t′, c_r)‖²       z′, t′ of its own
    loss       L_f + λ·L_p
Data-free: the clean latent is unit noise, noised as usual, so z_t is unit noise at every t; t is uniform. c_f: up to 3
distinct embeddings of the person's photos, mixed with Dirichlet(1, …, 1) weights and normalised. c_r: the embedding of
one retained photo. c_a: the anchor's centroid (`methods.anchors`). Tokens and auto-encoder are frozen, and the
unconditional branch is not trained. With η = 1 a student that fits the target gives the person back to whoever knows
the anchor: 2ε(c_a) − ε(c_f) (`guidance_inversion` tries it).

paper's value / ours: η 1, λ 10, AdamW 1e-4, decay 0.01, 400 steps, float32, no clipping, no moving average / the same;
batch "16×2" forgotten and 32 retained / 16 conditions with 2 latents, noises and timesteps each, and 32: what the two
stand for is not said; mixed embeddings up to 3 / as many as 3, or as the person has; E‖·‖² / the mean over all numbers
of a batch, as its learning rate suggests. Several people in one run are ours: each row has its own person and anchor.
Ours too: bf16 and gradient checkpointing, where asked for.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from efface import training
from efface.errors import EffaceError
from efface.methods.conditions import DrawRequest
from efface.methods.scopes import Scope
from efface.methods.teaching import Lesson, Precision
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import BATCH, DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class Piu(Unlearner):
    """Draw an anchor in place of the person, and beyond it, away from the person (PIU)."""

    paper: ClassVar = "PIU, Hernandez Cancino Estrada et al., IJCB 2026, arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    eta: NonNegativeFloat = 1.0
    """η: how far beyond the anchor, in distances between person and anchor; 0: the anchor itself; paper: 1."""
    retain_weight: NonNegativeFloat = 10.0
    """λ: weight of the preserve term, no unit; 0 leaves it out; paper: 10."""
    scope: Scope = "surgical"
    """What is trained: surgical, cross_attention, full, or names of blocks (`efface layers`); paper: surgical."""
    conditions: Literal["dirichlet", "individual", "centroid"] = "dirichlet"
    """A forgotten row's embedding: several photos' mixed, one photo's, or the person's mean; paper: dirichlet."""
    mixed: PositiveInt = 3
    """Photos mixed by `dirichlet`, at most; paper: 3."""
    latents: Literal["none", "real"] = "none"
    """Clean latents: unit noise, or those of the seen photos; paper: none."""
    learning_rate: PositiveFloat = 1e-4
    """Of AdamW; paper: 1e-4."""
    weight_decay: NonNegativeFloat = 0.01
    """Of AdamW; paper: 0.01."""
    steps: PositiveInt = 400
    """Optimiser steps; paper: 400."""
    batch: PositiveInt = 16
    """Conditions of the forgotten in a batch; paper: 16."""
    draws: PositiveInt = 2
    """Latents, noises and timesteps of each of them; paper: 2 (as we read it)."""
    retained: PositiveInt = 32
    """Rows of the retained in a batch; paper: 32."""
    precision: Precision = "fp32"
    """Of the passes; auto: bf16 where the device multiplies it natively; paper: fp32."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: for small GPUs; paper: not said."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        if self.retain_weight and not len(request.retain):
            raise EffaceError("retain: found nobody, expected retained people; or set retain_weight to 0")
        lesson = Lesson(target, self.scope, precision=self.precision, checkpointing=self.checkpointing)
        with torch.no_grad():
            anchors = target.condition(request.anchors)
            clean = self._clean(target, request)
        forgotten, schedule = self.batch * self.draws, target.parts.schedule
        retained = self.retained if self.retain_weight else 0

        def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
            photos, people, embeddings = self._forgotten(request, generator)
            kept = torch.randint(max(1, len(request.retain)), (retained,), generator=generator)
            t = torch.randint(len(schedule.alphas), (forgotten + retained,), generator=generator)
            noise = torch.randn(forgotten + retained, *target.latent_shape(), generator=generator)
            if clean is None:
                x = torch.randn(noise.shape, generator=generator)
            else:
                x = clean[torch.cat([photos, len(request.forget) + kept])]
            whole = torch.cat([embeddings, request.retain.embeddings[kept]])
            return schedule.noised(x, noise, t), t, whole, F.pad(people, (0, retained), value=-1)

        def loss(z: Tensor, t: Tensor, embeddings: Tensor, people: Tensor) -> dict[str, Tensor]:
            own = slice(forgotten)
            tokens = torch.cat([target.condition(embeddings), anchors[people[own]]])
            given = torch.cat([z, z[own]]), torch.cat([t, t[own]]), tokens
            taught, learnt = lesson.both(*given, learning=len(z))
            goal = beyond_anchor(taught[own], taught[len(z) :], self.eta)
            terms = {"forget": F.mse_loss(learnt[own], goal)}
            if retained:
                terms["retain"] = self.retain_weight * F.mse_loss(learnt[forgotten:], taught[forgotten : len(z)])
            return terms

        rate, decay = self.learning_rate, self.weight_decay
        optimiser = torch.optim.AdamW(lesson.learned, lr=rate, weight_decay=decay, fused=True)
        training.fit(lesson, draw, loss, optimiser=optimiser, steps=self.steps, generator=generator)
        return lesson.result()

    def _clean(self, target: DiffusionTarget, request: DrawRequest) -> Tensor | None:
        """Latents [n, c, h, w] of all photos, the forgotten first, or None where none are used."""
        if self.latents == "none":
            return None
        pictures = torch.cat([request.forget.pictures, request.retain.pictures])
        return torch.cat([target.encode(some).float().cpu() for some in pictures.split(BATCH)])

    def _forgotten(self, request: DrawRequest, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(positions of photos, of people, unit embeddings [n, d]) of `batch` conditions, each `draws` times."""
        labels = request.forget.labels()
        members = [(labels == p).nonzero().flatten() for p in range(len(request.anchors))]
        people = torch.randint(len(members), (self.batch,), generator=generator)
        count = self.mixed if self.conditions == "dirichlet" else 1
        chosen = [members[p][torch.randperm(len(members[p]), generator=generator)[:count]] for p in people]
        if self.conditions == "centroid":
            embeddings = request.forget.centroids()[people]
        else:
            embeddings = torch.stack([mixture(request.forget.embeddings[rows], generator) for rows in chosen])
        photos = torch.stack([rows[0] for rows in chosen])
        again = torch.arange(self.batch).repeat_interleave(self.draws)
        return photos[again], people[again], embeddings[again]


def beyond_anchor(own: Tensor, anchor: Tensor, eta: float) -> Tensor:
    """The target of the header: of the teacher's noise for the person and for the anchor, both [n, ...]."""
    return anchor - eta * (own - anchor)


def mixture(embeddings: Tensor, generator: torch.Generator) -> Tensor:
    """Embeddings [n, d] mixed with Dirichlet(1, …, 1) weights, unit [d]."""
    weights = torch.empty(len(embeddings)).exponential_(generator=generator)
    return F.normalize((weights / weights.sum()).to(embeddings) @ embeddings, dim=0)
