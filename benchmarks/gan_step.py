"""A step of GUIDE beside a naive one: seconds, peak memory, and the losses of both.

    python -m benchmarks.gan_step [--repetitions N]      the tri-plane model that ships, the published step
    python -m benchmarks.gan_step --full-size            EG3D 512-128; many minutes and gigabytes on a CPU

The naive step draws as the official code does: each term's planes and each term's pictures by a pass of their own, so a
latent's planes are computed twice, and all of it again for the source; nothing is kept. Both train the same weights
(`backbone.synthesis`) with Adam on the same latents from the same camera; the person's replacement has been drawn from
that camera before, as after the first steps. Timed as benchmarks/steps.py says; at full size each takes two steps, and
the second one's is given; weights are random then, as time does not depend on them. The student's weights are other
than the source's, so that all losses say something. d and α are 1 and 0.5 of the model's own mean length.
One thread, freed memory kept (docs/speed.md), float32.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from benchmarks import steps
from benchmarks.steps import Step
from torch import Tensor

from efface import memory
from efface.methods.guide_settings import GuideSettings
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, student_of
from efface.models import eg3d
from efface.models.gan.eg3d import Eg3d
from efface.models.gan_model import Parts
from efface.models.recognition.shipped import ShippedRecogniser
from efface.targets.gan import GanTarget
from efface.targets.recognition import RecognitionTarget
from efface.testing.tiny_gan import tiny_parts

RATE = 1e-4
"""Of Adam."""


def shipped() -> GanTarget:
    """The tri-plane model that comes with efface."""
    weights = Eg3d.shipped
    assert weights is not None
    return GanTarget.load("eg3d", weights)


def full_size() -> GanTarget:
    """EG3D 512-128 with random weights, without an encoder."""
    torch.manual_seed(0)
    weights = ShippedRecogniser.shipped
    assert weights is not None
    parts = Parts(eg3d.Generator(512), None, tiny_parts("eg3d").face)
    return GanTarget(Eg3d(), parts, RecognitionTarget.load("shipped", weights))


class Problem(NamedTuple):
    """What both steps are given."""

    losses: Rebuilding
    trained: list[torch.nn.Parameter]
    batch: tuple[Tensor, ...]


def problem(target: GanTarget) -> Problem:
    """GUIDE's losses with the published values, of a shaken student, and one step's draws."""
    generator = torch.Generator().manual_seed(1)
    own = target.sample(1, generator)
    request = RebuildRequest(("somebody",), own, own[:0])
    student, trained = student_of(target, request)
    shake(trained)
    settings = GuideSettings(lengths="mean", distance=1.0, reach=0.5)
    losses = settings.losses(target, student, request, settings.replacements(target, request))
    return Problem(losses, trained, losses.draw(generator))


@torch.no_grad()
def shake(parameters: Iterable[Tensor]) -> None:
    """Change the student's parameters, the same way each time."""
    generator = torch.Generator().manual_seed(2)
    for p in parameters:
        p += 0.1 * torch.randn(p.shape, generator=generator) * (p.std() if p.numel() > 1 else 0.1)


def ours(target: GanTarget) -> Step:
    """The step as `Guide` takes it."""
    losses, trained, batch = problem(target)
    return stepping(lambda: losses.loss(*batch), trained)


def naive(target: GanTarget) -> Step:
    """Planes and pictures of each term by passes of their own."""
    losses, trained, (latents, wanted, _, view) = problem(target)
    student, weights, camera = losses.student, losses.weights, losses.cameras[view]

    def pair(a: Tensor, b: Tensor) -> Tensor:
        mse = (student.planes(a) - target.planes(b)).square().mean()
        picture, other = student.synthesize(a, camera), target.synthesize(b, camera)
        perceptual = losses.distance(picture, other).sum()
        cosine = (losses.embedded(picture, camera) * losses.embedded(other, camera)).sum()
        return weights.planes * mse + weights.perceptual * perceptual + weights.identity * (1 - cosine)

    def loss() -> dict[str, Tensor]:
        pairs = [pair(a, b) for a, b in zip(latents[:3].split(1), wanted[:3].split(1), strict=True)]
        kept = [
            losses.distance(student.synthesize(w, camera), target.synthesize(w, camera)).sum()
            for w in latents[3:].split(1)
        ]
        return {"local": pairs[0], "adjacency": pairs[1] + pairs[2], "global": weights.perceptual * (kept[0] + kept[1])}

    return stepping(loss, trained)


def stepping(loss: Callable[[], dict[str, Tensor]], trained: list[torch.nn.Parameter]) -> Step:
    """A step of Adam on the sum of the losses."""
    optimiser = torch.optim.Adam(trained, lr=RATE)

    def step() -> dict[str, float]:
        terms = loss()
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        return {name: term.item() for name, term in terms.items()}

    return step


STEPS: steps.Makers = {"naive": naive, "GUIDE": ours}


def main() -> None:
    """Print the table."""
    given = steps.asked()
    model = full_size if given.full_size else shipped
    seconds = {} if given.full_size else steps.interleaved(model, STEPS, given.repetitions)
    for line in steps.table(model, STEPS, seconds):
        print(line, flush=True)


if __name__ == "__main__":
    memory.keep_freed()
    torch.set_num_threads(1)
    main()
