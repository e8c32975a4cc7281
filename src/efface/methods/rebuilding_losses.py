"""GUIDE's losses: a student, which is trained, is to draw what the source, the model as it was given, draws of other
latents.

Formulas and weights: GUIDE (Seo et al., CVPR 2024, arXiv 2405.09879) by its official code. G_u is the student, G_s the
source, w_u the person, w_t whom it is to draw instead (`methods.replacements`), w_r = mapping(z):
    L(a, b)      .01·MSE of the planes + 1·perceptual distance + .1·(1 − cosine of the recogniser's embeddings)
                 of G_u(a) and G_s(b) from one camera
    local        L(w_u, w_t)
    adjacency    Σ over 2 draws of L(w_u + Δ, w_t + Δ), Δ = α·(w_r − w_u) / ‖w_r − w_u‖, α uniform from 0 to 15
    global       Σ over 2 draws of the perceptual distance of G_u(w_r) and G_s(w_r)
One camera a step, yaw within ±15°, pitch −.2. A generator of pictures has no planes: its MSE is of pictures (ours).

Ours too: cameras are evenly spaced, 11 of them (the paper's evaluation's), so that what the source draws of w_t recurs
and is kept; several people take turns, drawn anew each step; latents of retained people may be added to the global
term; renderings are deterministic (the official code's draw noise and where samples lie).

All of a step's latents pass the student's synthesis together, planes once for each, and back. What is made of the
planes is rendered term by term, and its graph is let go when the planes have its gradient: that bounds the memory. The
source's passes have no graph.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from efface.methods.gradients import with_gradient
from efface.methods.rebuilding import RebuildRequest
from efface.models.lpips import Lpips, LpipsFiles
from efface.targets.gan import GanTarget
from efface.targets.perceptual import FeatureDistance

KEPT = 2**29
"""Bytes of the source's planes and pictures that are kept; beyond them they are drawn again."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Of the terms, no unit; the defaults are the paper's."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    planes: NonNegativeFloat = 0.01
    """Of the planes' MSE in L."""
    perceptual: NonNegativeFloat = 1.0
    """Of the perceptual distance, in L and in the global term."""
    identity: NonNegativeFloat = 0.1
    """Of 1 − cosine in L."""
    adjacency: NonNegativeFloat = 1.0
    """Of the whole adjacency term."""
    preserved: NonNegativeFloat = 1.0
    """Of the whole global term."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """The cameras that steps take their camera from; the defaults are the paper's."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    yaw: Annotated[float, Field(ge=0, lt=90)] = 15.0
    """Degrees to either side."""
    pitch: Annotated[float, Field(gt=-1.5, lt=1.5)] = -0.2
    """Radians; below 0 the camera stands above the face."""
    count: PositiveInt = 11
    """Cameras, evenly spaced over the yaws; one is in the middle."""

    def cameras(self, target: GanTarget) -> Tensor:
        """[count, 25]; of a generator of pictures, which ignores it, one."""
        if self.count == 1 or not target.turns:
            return target.camera(0.0, self.pitch)
        return target.camera(torch.linspace(-1, 1, self.count) * math.radians(self.yaw), self.pitch)


class Seen(NamedTuple):
    """What is compared of pictures, row by row."""

    planes: Tensor
    """[n, ...]; of a generator of pictures the pictures."""
    features: list[Tensor]
    """Of the perceptual distance, each [n, ...]."""
    embeddings: Tensor
    """Unit [m, d] of the first m rows."""

    def rows(self, part: slice) -> "Seen":
        """Some of them."""
        return Seen(self.planes[part], [f[part] for f in self.features], self.embeddings[part])

    def repeated(self, count: int) -> "Seen":
        """A single row, `count` times."""
        planes, features, embeddings = self
        grown = [t.expand(count, *t.shape[1:]) for t in (planes, embeddings, *features)]
        return Seen(grown[0], grown[2:], grown[1])


class Rebuilding:
    """The losses of a student for one request."""

    def __init__(
        self,
        target: GanTarget,
        student: GanTarget,
        request: RebuildRequest,
        goals: Tensor,
        *,
        weights: Weights,
        views: Views,
        lpips: LpipsFiles | None,
        goals_near: Callable[[Tensor], Tensor] | None = None,
        reach: float = 0.0,
        adjacent: int = 0,
        preserved: int = 0,
        retained: int = 0,
    ) -> None:
        """goals: w_t of each person, [people, rows, w_dim]. goals_near: from adjacent latents [n, rows, w_dim] to whom
        the student is to draw of them; None: w_t + Δ of the header. reach: α at most, in W+'s own units. The others:
        the fields of `methods.guide_settings`."""
        self.source, self.student, self.weights, self.reach = target, student, weights, reach
        self.goals_near = goals_near
        self.people, self.goals = request.latents.to(target.device), goals.to(target.device)
        self.retain = request.retain.to(target.device)
        self.retained, self.pairs = retained if len(self.retain) else 0, 1 + adjacent
        self.sizes = {"local": 1, "adjacency": adjacent, "global": preserved + self.retained}
        """Rows of a step, in this order; the retained are the last of the global ones."""
        self.cameras = views.cameras(target)
        self.distance = perceptual(target, lpips)
        self._kept: dict[tuple[int, ...], Tensor] = {}
        self._room = KEPT

    def draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(the student's latents [n, rows, w_dim], the source's, which of the goals and retained people (counted on)
        recur in the first and the last rows [1 + retained], the camera [1]) of a step."""
        person = torch.randint(len(self.people), (1,), generator=generator)
        view = torch.randint(len(self.cameras), (1,), generator=generator)
        kept = torch.randint(max(1, len(self.retain)), (self.retained,), generator=generator)
        own, goal = self.people[person], self.goals[person]
        shifts = self.shifts(own, self.sizes["adjacency"], generator)
        prior = self.source.sample(self.sizes["global"] - self.retained, generator)
        same = torch.cat([prior, self.retain[kept]]) if self.retained else prior
        near = own + shifts
        goals = goal + shifts if self.goals_near is None else self.goals_near(near)
        latents = torch.cat([own, near, same])
        wanted = torch.cat([goal, goals, same])
        return latents, wanted, torch.cat([person, len(self.people) + kept]), view

    def shifts(self, own: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Δ of the header, [count, rows, w_dim], of a person [1, rows, w_dim]."""
        ways = self.source.sample(count, generator) - own
        alphas = self.reach * torch.rand(count, generator=generator).to(own)
        return ways * (alphas / ways.flatten(1).norm(dim=1)).view(-1, 1, 1)

    def loss(self, latents: Tensor, wanted: Tensor, known: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The three terms of what `draw` gave; one that has no rows is left out."""
        seen = self.seen(wanted, known, view)
        planes = self.student.planes(latents)
        terms: dict[str, Tensor] = {}
        start = 0
        for name, count in self.sizes.items():
            rows = slice(start, start + count)
            start += count
            if count:
                own = planes[rows].detach().requires_grad_()
                pairs = 0 if name == "global" else count
                term = self.term(name, self.rendered(own, latents[rows], seen.rows(rows), view, pairs))
                terms[name] = with_gradient(term, [planes[rows]], torch.autograd.grad(term, [own]))
        return terms

    def term(self, name: str, values: Tensor) -> Tensor:
        """A term [], of a value for each of its rows [n]."""
        weight = {"local": 1.0, "adjacency": self.weights.adjacency, "global": self.weights.preserved}[name]
        return weight * values.sum()

    def compared(self, latents: Tensor, seen: Seen, view: Tensor, pairs: int) -> Tensor:
        """For each row [n] L of the student's latents against what was seen of the source, of the first `pairs`; of the
        others the perceptual distance."""
        return self.rendered(self.student.planes(latents), latents, seen, view, pairs)

    def rendered(self, planes: Tensor, latents: Tensor, seen: Seen, view: Tensor, pairs: int) -> Tensor:
        """The same, of the student's planes of the latents."""
        cameras = self.cameras[view].expand(len(latents), -1)
        pictures = self.student.render(planes, latents, cameras)
        values = self.weights.perceptual * self.distance(pictures, seen.features)
        if not pairs:
            return values
        mse = (planes[:pairs] - seen.planes[:pairs]).square().flatten(1).mean(1)
        cosines = (self.embedded(pictures[:pairs], cameras[:pairs]) * seen.embeddings[:pairs]).sum(1)
        more = self.weights.planes * mse + self.weights.identity * (1 - cosines)
        return values + F.pad(more, (0, len(latents) - pairs))

    @torch.no_grad()
    def seen(self, wanted: Tensor, known: Tensor, view: Tensor) -> Seen:
        """What the source shows of latents `wanted`, of which the first row and the last ones recur, as in `draw`."""
        last = len(wanted) - len(known) + 1
        parts = [self._recurring(int(known[0]), wanted[:1], view)]
        if last > 1:
            planes = self.source.planes(wanted[1:last])
            cameras = self.cameras[view].expand(last - 1, -1)
            parts.append((planes, self.source.render(planes, wanted[1:last], cameras)))
        parts += [self._recurring(i, w[None], view) for i, w in zip(known[1:].tolist(), wanted[last:], strict=True)]
        planes, pictures = (torch.cat(column) for column in zip(*parts, strict=True))
        paired = pictures[: self.pairs]
        cameras = self.cameras[view].expand(len(paired), -1)
        return Seen(planes, self.distance.features(pictures), self.embedded(paired, cameras))

    def embedded(self, pictures: Tensor, cameras: Tensor) -> Tensor:
        """Unit embeddings [n, d] of pictures from cameras, with gradient; the face is where the average one is."""
        return self.source.recogniser.forward(self.source.faces(pictures, cameras))

    def _recurring(self, i: int, w: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """(planes, picture) of the source for goal or retained person i; drawn alone, so that an interrupted run finds
        the same numbers."""
        planes = self._once((i,), lambda: self.source.planes(w))
        if not self.source.turns:
            return planes, planes
        draw = lambda: self.source.render(planes, w, self.cameras[view])  # noqa: E731
        return planes, self._once((i, int(view)), draw)

    def _once(self, key: tuple[int, ...], make: Callable[[], Tensor]) -> Tensor:
        if key in self._kept:
            return self._kept[key]
        made = make()
        size = made.numel() * made.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[key] = made
        return made


def perceptual(target: GanTarget, files: LpipsFiles | None) -> FeatureDistance | Lpips:
    """LPIPS by the user's weights, or without any the distance of features of the recogniser that comes with efface."""
    return FeatureDistance(target.recogniser) if files is None else files.load(target.device)


def student_of(target: GanTarget, request: RebuildRequest) -> tuple[GanTarget, list[nn.Parameter]]:
    """A clone of which the synthesis (of the pictures, or of the planes) requires a gradient, and nothing else; and its
    parameters. Raises EffaceError where the request's latents are not of this generator."""
    for latents in (request.latents, request.retain, request.earlier):
        if len(latents):
            target.check(latents.to(target.device))
    student = target.clone()
    return student, learning(student.backbone.synthesis.parameters())


def learning(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """The parameters, which now require a gradient."""
    found = list(parameters)
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def at_rest(student: GanTarget) -> GanTarget:
    """The student, requiring no gradient any more."""
    for parameter in student.parts.generator.parameters():
        parameter.grad = None
        parameter.requires_grad_(False)
    return student
