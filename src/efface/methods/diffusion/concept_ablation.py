"""On pictures of the anchor, teach the person's conditioning to predict what the anchor's does.

Paper: Concept Ablation, model-based (Kumari et al., "Ablating Concepts in Text-to-Image Diffusion Models", ICCV 2023,
arXiv 2303.13516), and its official code.
    loss   E‖ε_θ(z_t, c_f) − sg ε_θ(z_t, c_a)‖²          z_t noised pictures that the original draws of the anchor
           sg: the student's own prediction, without gradient

adaptation's value (arXiv 2605.22311) / ours: learning rate 2e-6, 100 steps / the same; what else it takes is not known
to us / as in the official code: keys and values of every cross-attention layer, AdamW, batch 4, gradients clipped to
norm 1, no prior term; 200 to 1000 pictures of the anchor / 100, for the time they take; its command multiplies the
learning rate by the batch and the number of devices / not, as the adaptation gives one rate.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.conditions import DrawRequest, Faces
from efface.methods.diffusion.uce import face_maps
from efface.methods.noising import Latents, Noised, as_anchor, finished, student_of, train_on_noised
from efface.methods.unlearner import Unlearner
from efface.targets.diffusion import DiffusionTarget


@dataclass(frozen=True, kw_only=True)
class ConceptAblation(Unlearner):
    """The person's prediction becomes the anchor's, on pictures of the anchor (Concept Ablation)."""

    paper: ClassVar = "Concept Ablation, Kumari et al., ICCV 2023, arXiv 2303.13516, as adapted in arXiv 2605.22311"
    objective: ClassVar = "anchor_noise"

    pictures: PositiveInt = 100
    """Pictures drawn of each anchor; paper: 200 to 1000."""
    learning_rate: PositiveFloat = 2e-6
    """Of AdamW; adaptation: 2e-6."""
    steps: PositiveInt = 100
    """Optimiser steps; adaptation: 100."""
    batch: PositiveInt = 4
    """Pictures in a step; paper: 4."""

    def unlearn(self, target: DiffusionTarget, request: DrawRequest, generator: torch.Generator) -> DiffusionTarget:
        names = [f"{name}.weight" for name in face_maps(target.parts.unet)]
        student, trained = student_of(target, names)

        def loss(drawn: Noised) -> dict[str, Tensor]:
            return {"forget": as_anchor(student, student, drawn)}

        train_on_noised(
            student.parts.unet,
            [anchor_latents(target, request, self.pictures, generator)],
            loss,
            optimiser=torch.optim.AdamW(trained, lr=self.learning_rate),
            steps=self.steps,
            batch=self.batch,
            generator=generator,
            clip=1.0,
        )
        return finished(student)


def anchor_latents(target: DiffusionTarget, request: DrawRequest, count: int, generator: torch.Generator) -> Latents:
    """`count` pictures of each anchor that the target draws, under the embeddings of the person's photos in turn."""
    labels = torch.arange(len(request.anchors)).repeat_interleave(count)
    own = [(request.forget.labels() == p).nonzero().flatten() for p in range(len(request.anchors))]
    photos = torch.cat([rows[torch.arange(count) % len(rows)] for rows in own])
    people = request.forget.people()
    drawn = Faces(
        target.generate(request.anchors, count, generator),
        request.forget.embeddings[photos],
        tuple(people[label] for label in labels.tolist()),
    )
    return Latents.of(target, drawn, request.anchors[labels])
