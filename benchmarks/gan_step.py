"""A step of GUIDE beside a naive one: seconds, peak memory, and the losses of both.

    python -m benchmarks.gan_step [--repetitions N]      the shipped tri-plane model's sizes, the published step
    python -m benchmarks.gan_step --full-size            EG3D 512-128; many minutes and gigabytes on a CPU

The naive step draws as the official code does: each term's planes and each term's pictures by a pass of their own, so a
latent's planes are computed twice, and all of it again for the source; nothing is kept. Both train the same weights
(`backbone.synthesis`) with Adam on the same latents from the same camera; the person's replacement has been drawn from
that camera before, as after the first steps. They take turns, and seconds are medians of processor time; at full size
each takes two steps, and the second one's is given. Losses are the first step's, compared term by term; peak memory is
that of a process of its own for either, above what it held before (Linux only). Weights are random, as time does not
depend on them, and the student's are other than the source's, so that all losses say something. One thread, freed
memory kept (docs/speed.md), float32.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from efface import memory
from efface.methods.rebuilding import RebuildRequest
from efface.methods.rebuilding_losses import Rebuilding, Views, Weights, student_of
from efface.methods.replacements import replacements
from efface.models import eg3d
from efface.models.gan.eg3d import Eg3d
from efface.models.gan_model import Parts
from efface.models.recognition.shipped import ShippedRecogniser
from efface.models.rendering import Rendering
from efface.targets.gan import GanTarget
from efface.targets.recognition import RecognitionTarget
from efface.testing.tiny_gan import tiny_parts

RATE, CLOSE = 1e-4, 1e-4
"""Of Adam; largest relative difference of the losses."""


@dataclass(frozen=True)
class Size:
    """Of the network."""

    network: dict[str, Any]
    resolution: int


SMALL = Size(
    {
        "z_dim": 128, "w_dim": 128, "channel_base": 3072, "channel_max": 96, "plane_resolution": 64,
        "plane_channels": 12, "start": 64, "super_channels": (48, 24), "super_clamp": None,
        "rendering": Rendering(
            neural_resolution=48, near=None, far=None, samples=10, importance_samples=10, pivot=(0.0, 0.0, 0.15),
            conditioning=0.0,
        ),
    },
    128,
)  # fmt: skip
FULL = Size({}, 512)

Step = Callable[[], dict[str, float]]
"""Returns the losses."""


def target_of(size: Size) -> GanTarget:
    """A model of this size with random weights, without an encoder."""
    torch.manual_seed(0)
    weights = ShippedRecogniser.shipped
    assert weights is not None
    parts = Parts(eg3d.Generator(size.resolution, **size.network), None, tiny_parts("eg3d").face)
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
    goals = replacements(target, request, 30.0, "w", 1.0)
    losses = Rebuilding(
        target, student, request, goals, weights=Weights(), views=Views(), lpips=None, reach=15.0, adjacent=2,
        preserved=2,
    )  # fmt: skip
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


STEPS: dict[str, Callable[[GanTarget], Step]] = {"naive": naive, "GUIDE": ours}


class Measured(NamedTuple):
    """What two steps of a kind show in a process of their own."""

    losses: dict[str, float]
    """Of the first."""
    seconds: float
    """Processor time of the second."""
    peak: float
    """MB that both need above what the process held before."""


def measured(name: str, size: Size) -> Measured:
    """A kind of step, in this process alone."""
    torch.set_num_threads(1)
    target = target_of(size)
    before = highest_memory()
    step = STEPS[name](target)
    losses = step()
    began = time.process_time()
    step()
    return Measured(losses, time.process_time() - began, highest_memory() - before)


def highest_memory() -> float:
    """MB that this process held at most; getrusage would tell of the one that started it too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def alone(name: str, size: Size) -> Measured:
    """`measured`, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (name, size))


def interleaved(size: Size, repetitions: int) -> dict[str, float]:
    """Median seconds of each step, all in one process, in turns; the first of each does not count."""
    target = target_of(size)
    steps = {name: make(target) for name, make in STEPS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(repetitions + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if i:
                seconds[name].append(time.process_time() - began)
    return {name: median(found) for name, found in seconds.items()}


def gap(found: Mapping[str, float], expected: Mapping[str, float]) -> float:
    """Largest difference of two steps' losses, in shares of the expected one."""
    return max(abs(found[name] - expected[name]) / abs(expected[name]) for name in expected)


def table(size: Size, seconds: Mapping[str, float]) -> Iterator[str]:
    """Its lines, each when it is known. seconds: of the steps that were timed better than by `measured`."""
    yield "| step | seconds | of naive | peak memory, MB | local | adjacency | global |\n|---|---|---|---|---|---|---|"
    found: dict[str, Measured] = {}
    for name in STEPS:
        found[name] = alone(name, size)
        took, naively = (seconds.get(step, found[step].seconds) for step in (name, "naive"))
        terms = " | ".join(f"{term:.6f}" for term in found[name].losses.values())
        yield f"| {name} | {took:.2f} | {took / naively:.2f} | {found[name].peak:.0f} | {terms} |"
    differ = gap(found["GUIDE"].losses, found["naive"].losses)
    yield f"losses differ by {differ:.1e} of their size"
    assert differ <= CLOSE, f"expected at most {CLOSE:g}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--full-size", action="store_true")
    given = parser.parse_args()
    for line in table(FULL, {}) if given.full_size else table(SMALL, interleaved(SMALL, given.repetitions)):
        print(line, flush=True)


if __name__ == "__main__":
    memory.keep_freed()
    torch.set_num_threads(1)
    main()
