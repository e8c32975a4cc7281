"""A method's training step beside a naive one: seconds, peak memory, and the losses of both.

They take turns, and seconds are medians of processor time. Losses are the first step's; peak memory is that of a
process of its own for either, above what it held before (Linux only).
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

CLOSE = 1e-4
"""Largest difference of the losses, in shares of the naive step's."""

Step = Callable[[], dict[str, float]]
"""Returns the losses."""
Model = Callable[[], Any]
"""Makes a target; another process has to be able to import it, as what makes a step."""
Makers = Mapping[str, Callable[[Any], Step]]
"""Name -> what makes such a step on a target: first `naive`, then the one whose losses are to be the same."""


class Measured(NamedTuple):
    """What two steps of a kind show in a process of their own."""

    losses: dict[str, float]
    """Of the first."""
    seconds: float
    """Processor time of the second."""
    peak: float
    """MB that both need above what the process held before."""


def measured(model: Model, make: Callable[[Any], Step]) -> Measured:
    """A kind of step, in this process alone."""
    torch.set_num_threads(1)
    target = model()
    before = highest_memory()
    step = make(target)
    losses = step()
    began = time.process_time()
    step()
    return Measured(losses, time.process_time() - began, highest_memory() - before)


def highest_memory() -> float:
    """MB that this process held at most; getrusage would tell of the one that started it too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def alone(model: Model, make: Callable[[Any], Step]) -> Measured:
    """`measured`, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (model, make))


def interleaved(model: Model, makers: Makers, repetitions: int) -> dict[str, float]:
    """Median seconds of each step, all in one process, in turns; the first of each does not count."""
    target = model()
    steps = {name: make(target) for name, make in makers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(repetitions + 1):
        for name, step in steps.items():
            began = time.process_time()
            step()
            if i:
                seconds[name].append(time.process_time() - began)
    return {name: median(found) for name, found in seconds.items()}


def table(model: Model, makers: Makers, seconds: Mapping[str, float]) -> Iterator[str]:
    """Its lines, each when it is known. seconds: of the steps that were timed better than by `measured`. Fails where
    the losses are not the same."""
    found: dict[str, Measured] = {}
    for name, make in makers.items():
        found[name] = alone(model, make)
        losses = found[name].losses
        if len(found) == 1:
            heads = ["step", "seconds", "of naive", "peak memory, MB", *losses]
            yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}"
        took, naively = (seconds.get(step, found[step].seconds) for step in (name, "naive"))
        terms = " | ".join(f"{loss:.6f}" for loss in losses.values())
        yield f"| {name} | {took:.2f} | {took / naively:.2f} | {found[name].peak:.0f} | {terms} |"
    naive, ours, *_ = found
    pairs = [(found[ours].losses[loss], value) for loss, value in found[naive].losses.items()]
    gap = max(abs(one - other) / abs(other) for one, other in pairs)
    yield f"losses of {ours} and {naive} differ by {gap:.1e} of their size"
    assert gap <= CLOSE, f"expected at most {CLOSE:g}"


def asked() -> argparse.Namespace:
    """What the command line says: `repetitions`, `full_size`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--full-size", action="store_true")
    return parser.parse_args()
