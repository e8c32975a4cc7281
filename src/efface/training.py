"""The one training loop. Gradient methods and recipes write their loss and hand it to `fit`; a run that is under way
decides, by `session`, where checkpoints go and who is told of progress.

Several processes (torchrun) work together inside a `session`: each computes its part of a batch, they average the
gradients and so stay equal; the first of them writes the checkpoints.
"""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.progress import Quiet, Watcher

POINTS = 100
"""Points of a training curve."""


@dataclass
class Session:
    """What surrounds the calls of `fit` in one run, and what they cost."""

    folder: Path | None = None
    """Where checkpoints are kept; None keeps none."""
    every: int = 50
    """Steps between checkpoints."""
    pause: float = 0.0
    """Seconds between checkpoints, at least; the last step has one all the same."""
    watcher: Watcher = field(default_factory=Quiet)
    """Told of every step."""
    stage: int = 0
    """How many times `fit` has been called."""
    steps: int = 0
    """Optimiser steps taken, resumed ones included."""
    images_seen: int = 0
    """Crops that went through the loss, resumed ones included."""
    trainable_parameters: int = 0
    """Values that the optimiser may change, the largest of all stages."""
    curves: list[dict[str, list[float]]] = field(default_factory=list)
    """Of each stage, the terms of the loss: name -> a value for every step, resumed ones included."""
    seconds: float = 0.0
    """Wall-clock time of the block, that of interrupted processes included."""
    began: float = field(default_factory=time.perf_counter)
    """When the block would have begun, had it never been interrupted; seconds of this process's clock."""

    def cost(self, device: torch.device) -> dict[str, Any]:
        """What audit.json says of the cost."""
        return {
            "seconds": self.seconds,
            "steps": self.steps,
            "images_seen": self.images_seen,
            "peak_memory_mb": peak_memory(device),
            "trainable_parameters": self.trainable_parameters,
            "device": str(device),
        }


def peak_memory(device: torch.device) -> float:
    """The largest memory so far in MB: of the accelerator, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def thinned(curve: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """`step`, and for each term of the loss its means over the steps up to it, at most POINTS of them."""
    steps = max(map(len, curve.values()), default=0)
    every = max(1, -(-steps // POINTS))
    windows = [slice(start, min(start + every, steps)) for start in range(0, steps, every)]
    means = {name: [fmean(values[w]) for w in windows] for name, values in curve.items()}
    return {"step": [w.stop for w in windows], **means}


_current: ContextVar[Session | None] = ContextVar("efface_training_session", default=None)
_spreading: ContextVar[bool] = ContextVar("efface_training_spreading", default=False)


@contextmanager
def processes(on_cpu: bool) -> Iterator[PartialState]:
    """Join the processes that torchrun started; without it this one is alone. On a CPU each of several computes in one
    thread."""
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=1))  # aligning photos may take hours
    try:
        if state.num_processes > 1 and on_cpu:
            torch.set_num_threads(1)
        yield state
    finally:
        if state.num_processes > 1:
            state.destroy_process_group()


@contextmanager
def session(
    folder: Path | None = None, watcher: Watcher | None = None, every: int = 50, pause: float = 0.0
) -> Iterator[Session]:
    """Collect cost, report progress and keep checkpoints for every `fit` inside the block. Where `folder` already
    holds checkpoints of an interrupted run, each `fit` continues from them to the same numbers."""
    current = Session(folder, every, pause, watcher or Quiet())
    token = _current.set(current)
    try:
        yield current
    finally:
        current.seconds = time.perf_counter() - current.began
        _current.reset(token)


@torch.no_grad()
def follow(mean: nn.Module, network: nn.Module, average: float, done: int) -> None:
    """Running mean of weights after so many steps: mean ← d · mean + (1 − d) · network, BatchNorm's statistics too;
    counters are copied. d is `average`, in the first steps less: (1 + done) / (10 + done)."""
    decay = min(average, (1 + done) / (10 + done))
    pairs = list(zip(mean.state_dict().values(), network.state_dict().values(), strict=True))
    means, values = (list(column) for column in zip(*(p for p in pairs if p[0].is_floating_point()), strict=True))
    torch._foreach_lerp_(means, values, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for counter, value in pairs:
        if not counter.is_floating_point():
            counter.copy_(value)


def fit(
    module: nn.Module,
    draw: Callable[[torch.Generator], tuple[Tensor, ...]],
    loss: Callable[..., dict[str, Tensor]],
    *,
    optimiser: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    steps: int,
    generator: torch.Generator,
    train_mode: bool = False,
    parted: bool = False,
    schedule: Callable[[int], float] | None = None,
    each: Callable[[int, Tensor], None] | None = None,
    clip: float | None = None,
) -> None:
    """Minimise the sum of the loss terms, in place.

    module: holds everything that is trained, on its device, and whatever else an interrupted run has to find again.
    draw: draw(generator) -> tensors of one batch (first dimension: the batch); they are moved to the device.
    loss: loss(*batch) -> named scalar terms, summed.
    optimiser: over the trainable parameters of `module`; several where some parameters need another.
    steps: optimiser steps in all.
    generator: the only source of randomness (CPU); its state is in the checkpoint.
    train_mode: training from scratch; else `module` is put in evaluation mode, so BatchNorm stays frozen.
    parted: of several processes, each draws its part of a batch, and the loss is a mean over photos; else all draw the
    same whole batch, and `spread` divides the work.
    schedule: schedule(step from 0) -> factor of the optimiser's rates.
    each: each(steps done, the loss) is called after every step, before its checkpoint.
    clip: the largest norm of all gradients together; longer ones are shortened to it.
    Raises EffaceError when a loss is not finite.
    """
    together = _current.get() is not None and PartialState().num_processes > 1
    current = _current.get() or Session()
    optimisers = [optimiser] if isinstance(optimiser, torch.optim.Optimizer) else list(optimiser)
    groups = [group for o in optimisers for group in o.param_groups]
    trained = [p for group in groups for p in group["params"]]
    current.trainable_parameters = max(current.trainable_parameters, sum(p.numel() for p in trained))
    path = current.folder / f"stage-{current.stage}.pt" if current.folder else None
    current.stage += 1
    device = trained[0].device
    accelerator = Accelerator()
    module.train(train_mode)
    state = _read(path, current.watcher) if path and path.exists() else None
    start, images = (state["step"], state["images"]) if state else (0, 0)
    curve: dict[str, list[float]] = state.get("curve", {}) if state else {}
    current.curves.append(curve)
    if state:
        module.load_state_dict(state["module"])
        for one, kept in zip(optimisers, state["optimisers"], strict=True):
            one.load_state_dict(kept)
        groups = [group for o in optimisers for group in o.param_groups]
        generator.set_state(state["generator"])
        current.watcher.say(f"stage {current.stage}: resuming after step {start} of {steps}")
        current.began = min(current.began, time.perf_counter() - state["seconds"])
    saved = time.monotonic()
    with current.watcher.track(f"training, stage {current.stage}", steps) as tick:
        tick(start)
        for step in range(start, steps):
            if schedule:
                for group in groups:
                    group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(step)
            batch = draw(generator)
            with accelerator.autocast(), _spread(together and not parted):
                terms = loss(*(t.to(device) for t in batch))
            total = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(total):
                found = {name: float(term.detach()) for name, term in terms.items()}
                raise EffaceError(
                    f"step {step + 1} of {steps}: found the loss {found}, expected it finite; lower the learning rate"
                )
            for one in optimisers:
                one.zero_grad(set_to_none=True)
            accelerator.backward(total)
            if together:
                _average_gradients(accelerator, trained)
            if clip is not None:
                nn.utils.clip_grad_norm_(trained, clip)
            for one in optimisers:
                one.step()
            for name, term in terms.items():
                curve.setdefault(name, []).append(float(term.detach()))
            images += len(batch[0]) * (accelerator.num_processes if together and parted else 1)
            tick(1)
            if each:
                each(step + 1, total.detach())
            due = (step + 1) % current.every == 0 and time.monotonic() - saved >= current.pause
            if path and accelerator.is_main_process and (due or step + 1 == steps):
                _save(
                    path,
                    {
                        "module": module.state_dict(),
                        "optimisers": [one.state_dict() for one in optimisers],
                        "generator": generator.get_state(),
                        "step": step + 1,
                        "images": images,
                        "curve": curve,
                        "seconds": time.perf_counter() - current.began,
                    },
                )
                saved = time.monotonic()
    current.steps += steps
    current.images_seen += images


@contextmanager
def _spread(active: bool) -> Iterator[None]:
    """Whether `spread` divides its work among the processes, for the block."""
    token = _spreading.set(active)
    try:
        yield
    finally:
        _spreading.reset(token)


def spread(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function(x), which makes rows [n, ...] of rows [n, ...], each by itself. In the loss of a `fit` whose processes
    draw whole batches, each process computes a part of the rows and is given the others'.

    So each has all rows for a loss over pairs, and gradients through its own part alone. These are multiplied by the
    number of processes: their mean over the processes is then the gradient through all rows.
    """
    state = PartialState() if _spreading.get() else None
    if state is None or len(x) < state.num_processes:
        return function(x)
    shares = x.tensor_split(state.num_processes)
    own = function(shares[state.process_index])
    if own.requires_grad:
        own.register_hook(lambda gradient: gradient * state.num_processes)
    sent = own.detach().new_zeros(len(shares[0]), *own.shape[1:])  # the first part is the longest
    sent[: len(own)] = own.detach()
    found = [torch.empty_like(sent) for _ in shares]
    torch.distributed.all_gather(found, sent)
    rows = [one[: len(share)] for one, share in zip(found, shares, strict=True)]
    rows[state.process_index] = own
    return torch.cat(rows)


def _average_gradients(accelerator: Accelerator, trained: list[Tensor]) -> None:
    """The mean over all processes, in place. Sparse gradients hold the same rows in each."""
    values = []
    for p in trained:
        if p.grad is not None:
            p.grad = p.grad.coalesce() if p.grad.is_sparse else p.grad
            values.append(p.grad.values() if p.grad.is_sparse else p.grad)
    flat = torch.cat([v.flatten() for v in values])
    means = torch.as_tensor(accelerator.reduce(flat, reduction="mean")).split([v.numel() for v in values])
    for value, mean in zip(values, means, strict=True):
        value.copy_(mean.view_as(value))


def _save(path: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint beside its place, then rename: a kill at any moment leaves the old one or the new one."""
    partial = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with contextlib.suppress(OSError):
            partial.unlink()
        raise EffaceError(
            f"{path}: the checkpoint cannot be written ({error}); free the disk or choose another folder"
        ) from error


def _read(path: Path, watcher: Watcher) -> dict[str, Any] | None:
    """A checkpoint of ours; None, and a word about it, where it is damaged: the stage is done again, to the same
    numbers."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")  # noqa: TID251 (tensors and numbers only)
    except Exception as error:  # a broken file raises many kinds
        watcher.say(f"{path}: damaged ({type(error).__name__}); this stage begins again")
        return None
