"""What unlearning costs."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from efface import training

Unlearned = TypeVar("Unlearned")


def costed(unlearn: Callable[[], Unlearned], device: torch.device) -> tuple[Unlearned, dict[str, Any]]:
    """What `unlearn` gives, and what it cost."""
    clear_peak()
    began = time.process_time()
    with training.session() as session:
        unlearned = unlearn()
    cost = session.cost(device)
    kept = ("seconds", "steps", "images_seen", "trainable_parameters")
    own = {"processor_seconds": time.process_time() - began, "peak_memory_mb": peak()}
    return unlearned, {key: cost[key] for key in kept} | own


def clear_peak() -> None:
    """Let `peak` begin anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float | None:
    """The largest memory of this process in MB since `clear_peak`; None where the system does not say it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def mean_cost(costs: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of each cost over runs, and the largest memory."""
    keys = costs[0] if costs else ()
    known = {key: [cost[key] for cost in costs if cost[key] is not None] for key in keys}
    combine: dict[str, Callable[[Sequence[float]], float]] = {"peak_memory_mb": max}
    return {
        key: combine.get(key, lambda found: math.fsum(found) / len(found))(found) if found else None
        for key, found in known.items()
    }
