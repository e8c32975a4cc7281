"""A step of PIU beside a naive one: seconds, peak memory, and the losses of both.

    python -m benchmarks.diffusion_step [--repetitions N]      the shipped model's sizes, the published batch
    python -m benchmarks.diffusion_step --full-size            Stable Diffusion 1.5's sizes; minutes on a CPU, 12 GB

The naive step passes the network five times (teacher: forgotten, anchor, retained; student: forgotten, retained), with
a gradient by every parameter and diffusers' default attention. Both train the same parameters of the same weights on
the same batch with AdamW. Timed as benchmarks/steps.py says; at full size each takes two steps, and the second one's is
given. Weights are random, as time does not depend on them, and the student's are other than the teacher's, so that both
losses say something. One thread, freed memory kept (docs/speed.md), float32; bf16 as a third row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks import steps
from benchmarks.steps import Step
from torch import Tensor

from efface import memory
from efface.methods.diffusion.piu import beyond_anchor
from efface.methods.scopes import scope_names
from efface.methods.teaching import Lesson, Precision
from efface.models.diffusion.shipped import SCHEDULE, ShippedDiffusion, build, unet_config
from efface.models.diffusion_model import Parts
from efface.models.latents import PatchLatents
from efface.models.projector import Projector
from efface.models.recognition.shipped import ShippedRecogniser
from efface.models.schedule import Schedule
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

ETA, WEIGHT, RATE = 1.0, 10.0, 1e-4


@dataclass(frozen=True)
class Size:
    """Of the network and the batch."""

    unet: dict[str, Any]
    tokens: tuple[int, int]
    """How many, and how wide."""
    forgotten: int
    retained: int


SMALL = Size(unet_config((96, 96, 64, 64), 48, 8, 128), (8, 128), 32, 32)
FULL = Size(
    unet_config((320, 640, 1280, 1280), 4, 64, 768) | {"attention_head_dim": 8, "norm_num_groups": 32}, (77, 768), 1, 1
)


def target_of(size: Size) -> DiffusionTarget:
    """A model of this size with random weights; its tokens are drawn, so the projector is the small one."""
    torch.manual_seed(0)
    weights = ShippedRecogniser.shipped
    assert weights is not None
    parts = Parts(build(size.unet), Projector(), PatchLatents(), Schedule.of(SCHEDULE, "benchmark"))
    return DiffusionTarget(ShippedDiffusion(), parts, RecognitionTarget.load("shipped", weights))


def batch(target: DiffusionTarget, size: Size) -> tuple[Tensor, Tensor, Tensor]:
    """(z, t, tokens): the forgotten, the retained, and the tokens of the anchors behind them."""
    generator = torch.Generator().manual_seed(1)
    rows = size.forgotten + size.retained
    tokens = torch.randn(rows + size.forgotten, *size.tokens, generator=generator)
    return target.draw(rows, generator), torch.randint(1000, (rows,), generator=generator), tokens


@torch.no_grad()
def shake(parameters: Iterable[Tensor]) -> None:
    """Change the student's parameters, the same way each time."""
    generator = torch.Generator().manual_seed(2)
    for p in parameters:
        p += 0.5 * p.std() * torch.randn(p.shape, generator=generator)


def ours(target: DiffusionTarget, size: Size, precision: Precision = "fp32") -> Step:
    """The step as `Piu` takes it."""
    lesson = Lesson(target, "surgical", precision=precision)
    shake(lesson.learned)
    optimiser = torch.optim.AdamW(lesson.learned, lr=RATE, fused=True)
    z, t, tokens = batch(target, size)
    own = slice(size.forgotten)

    def step() -> dict[str, float]:
        taught, learnt = lesson.both(torch.cat([z, z[own]]), torch.cat([t, t[own]]), tokens, learning=len(z))
        forget = F.mse_loss(learnt[own], beyond_anchor(taught[own], taught[len(z) :], ETA))
        retain = F.mse_loss(learnt[size.forgotten :], taught[size.forgotten : len(z)])
        optimiser.zero_grad(set_to_none=True)
        (forget + WEIGHT * retain).backward()
        optimiser.step()
        return {"L_f": forget.item(), "L_p": retain.item()}

    return step


def naive(target: DiffusionTarget, size: Size) -> Step:
    """Five passes, every parameter requiring a gradient; the optimiser has those of the scope."""
    student = target.clone()
    unet = student.parts.unet.requires_grad_(True)
    trained = [unet.get_parameter(name) for name in scope_names(unet, "surgical")]
    shake(trained)
    optimiser = torch.optim.AdamW(trained, lr=RATE)
    z, t, tokens = batch(target, size)
    f, rows = size.forgotten, len(z)

    def step() -> dict[str, float]:
        with torch.no_grad():
            own = target.noise(z[:f], t[:f], tokens[:f])
            anchor = target.noise(z[:f], t[:f], tokens[rows:])
            kept = target.noise(z[f:], t[f:], tokens[f:rows])
        forget = F.mse_loss(student.noise(z[:f], t[:f], tokens[:f]), beyond_anchor(own, anchor, ETA))
        retain = F.mse_loss(student.noise(z[f:], t[f:], tokens[f:rows]), kept)
        unet.zero_grad(set_to_none=True)
        (forget + WEIGHT * retain).backward()
        optimiser.step()
        return {"L_f": forget.item(), "L_p": retain.item()}

    return step


STEPS: dict[str, Callable[[DiffusionTarget, Size], Step]] = {
    "naive": naive,
    "PIU": ours,
    "PIU, bf16": partial(ours, precision="bf16"),
}


def step_of(name: str, size: Size, target: DiffusionTarget) -> Step:
    """That kind of step."""
    return STEPS[name](target, size)


def compared(size: Size) -> tuple[steps.Model, steps.Makers]:
    """The model of this size, and the steps on it."""
    return partial(target_of, size), {name: partial(step_of, name, size) for name in STEPS}


def table(size: Size, seconds: Mapping[str, float]) -> Iterator[str]:
    """As `steps.table`."""
    yield f"{size.forgotten} forgotten and {size.retained} retained rows"
    yield from steps.table(*compared(size), seconds)


def main() -> None:
    """Print the table."""
    given = steps.asked()
    size = FULL if given.full_size else SMALL
    for line in table(size, {} if given.full_size else steps.interleaved(*compared(size), given.repetitions)):
        print(line, flush=True)


if __name__ == "__main__":
    memory.keep_freed()
    torch.set_num_threads(1)
    main()
