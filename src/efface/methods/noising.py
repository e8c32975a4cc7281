"""What gradient methods for diffusion models learn from: photos as latents, noised, with whom each of them shows; and
the two losses that most of them are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import training
from efface.errors import EffaceError
from efface.methods.conditions import DrawRequest, Faces
from efface.methods.scopes import train_only
from efface.models.schedule import Schedule
from efface.targets.diffusion import BATCH, DiffusionTarget


class Noised(NamedTuple):
    """Rows of a batch of one side, the forgotten or the retained."""

    z: Tensor
    """Noised latents [b, c, h, w]."""
    t: Tensor
    """Timesteps int64 [b]."""
    noise: Tensor
    """The unit noise in them, [b, c, h, w]."""
    embeddings: Tensor
    """Of each photo, unit [b, d]."""
    anchors: Tensor
    """Who is drawn in place of each photo's person, unit [b, d]; of the retained their own embeddings."""


@dataclass(frozen=True)
class Latents:
    """All photos of one side."""

    clean: Tensor
    """[n, c, h, w]."""
    embeddings: Tensor
    """Unit [n, d]."""
    anchors: Tensor
    """As in `Noised`, [n, d]."""
    schedule: Schedule

    @classmethod
    @torch.no_grad()
    def of(cls, target: DiffusionTarget, faces: Faces, anchors: Tensor | None = None) -> "Latents":
        """Photos, encoded once. anchors: as in `Noised`, [n, d]. Raises EffaceError where there is no photo."""
        if not len(faces):
            raise EffaceError("retain: found nobody, expected retained people; this method learns from their photos")
        clean = torch.cat([target.encode(some).float().cpu() for some in faces.pictures.split(BATCH)])
        return cls(clean, faces.embeddings, faces.embeddings if anchors is None else anchors, target.parts.schedule)

    def draw(self, count: int, generator: torch.Generator) -> Noised:
        """`count` photos, drawn with replacement, each with its own timestep, uniform, and noise."""
        rows = torch.randint(len(self.clean), (count,), generator=generator)
        t = torch.randint(len(self.schedule.alphas), (count,), generator=generator)
        noise = torch.randn(count, *self.clean.shape[1:], generator=generator)
        z = self.schedule.noised(self.clean[rows], noise, t)
        return Noised(z, t, noise, self.embeddings[rows], self.anchors[rows])


def forgotten_latents(target: DiffusionTarget, request: DrawRequest) -> Latents:
    """The seen photos of the people to forget, with their anchors."""
    return Latents.of(target, request.forget, request.anchors[request.forget.labels()])


def train_on_noised(
    module: nn.Module,
    sides: Sequence[Latents],
    loss: Callable[..., dict[str, Tensor]],
    *,
    optimiser: torch.optim.Optimizer,
    steps: int,
    batch: int,
    generator: torch.Generator,
    clip: float | None = None,
    each: Callable[[int, Tensor], None] | None = None,
) -> None:
    """Minimise the terms of `loss(*sides)`, which is given a `Noised` of `batch` rows for each side. The others: as in
    `training.fit`."""

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        drawn = [side.draw(batch, generator) for side in sides]
        return tuple(torch.cat(columns) for columns in zip(*drawn, strict=True))

    def terms(*columns: Tensor) -> dict[str, Tensor]:
        return loss(*(Noised(*rows) for rows in zip(*(c.split(batch) for c in columns), strict=True)))

    training.fit(module, draw, terms, optimiser=optimiser, steps=steps, generator=generator, clip=clip, each=each)


def predicted(target: DiffusionTarget, rows: Noised, embeddings: Tensor) -> Tensor:
    """The noise that a model finds in these rows under embeddings [b, d], with gradient where something requires it."""
    return target.noise(rows.z, rows.t, target.condition(embeddings))


def denoising(student: DiffusionTarget, rows: Noised) -> Tensor:
    """The loss of training, E‖ε_θ(z_t, c) − ε‖² under each photo's own embedding (Ho et al. 2020, equation 14)."""
    return F.mse_loss(predicted(student, rows, rows.embeddings), rows.noise)


def as_anchor(student: DiffusionTarget, teacher: DiffusionTarget, rows: Noised) -> Tensor:
    """E‖ε_θ(z_t, c_f) − ε_teacher(z_t, c_a)‖², no gradient through the teacher, which may be the student itself."""
    with torch.no_grad():
        wanted = predicted(teacher, rows, rows.anchors)
    return F.mse_loss(predicted(student, rows, rows.embeddings), wanted)


def student_of(target: DiffusionTarget, names: Sequence[str]) -> tuple[DiffusionTarget, list[nn.Parameter]]:
    """A clone of which the parameters of these names, which are returned, require a gradient."""
    student = target.clone()
    return student, train_only(student.parts.unet, names)


def finished(student: DiffusionTarget) -> DiffusionTarget:
    """The student, requiring no gradient any more."""
    for parameter in student.parts.unet.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    return student
