"""What a training from scratch writes down as it goes, and reads back at its end: terms of the loss, speed, what was
measured."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from efface.folder import RunFolder
from efface.training import Session

Series = dict[str, dict[int, float]]
"""Figure -> step -> value."""


class Journal:
    """The log of a training of `steps` steps with `batch` of `unit` (images, say) each.

    every: steps from one line to the next.
    """

    def __init__(self, folder: RunFolder, session: Session, steps: int, batch: int, unit: str, every: int) -> None:
        self.folder, self.session, self.steps, self.batch, self.unit, self.every = (
            folder, session, steps, batch, unit, every,
        )  # fmt: skip
        self._last: tuple[int, float] | None = None
        self._terms: list[dict[str, float]] = []

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """The terms of one step's loss."""
        self._terms.append({name: float(term.detach()) for name, term in terms.items()})

    def step(self, done: int) -> None:
        """So many steps are done: write a line where one is due."""
        if self._last is None:
            self._last = (done, time.perf_counter())
        if done % self.every and done != self.steps:
            return
        now = time.perf_counter()
        speed = (done - self._last[0]) * self.batch / max(1e-9, now - self._last[1])
        self._last = (done, now)
        terms = {name: float(np.mean([one[name] for one in self._terms])) for name in self._terms[-1]}
        self._terms.clear()
        said = ", ".join(f"{name} {value:.4f}" for name, value in terms.items())
        message = f"step {done} of {self.steps}: {said}, {speed:.{0 if speed >= 20 else 1}f} {self.unit}/s"
        seconds = round(now - self.session.began, 1)
        facts = {"step": done, "seconds": seconds, "loss": sum(terms.values()), "terms": terms}
        self.folder.log("training", message, **facts, **{f"{self.unit}_per_second": round(speed, 2)})

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens in the block is not training and does not count in its speed."""
        began = time.perf_counter()
        yield
        if self._last:
            self._last = (self._last[0], self._last[1] + time.perf_counter() - began)

    def measured(self, done: int, figures: Mapping[str, float], ceiling: float) -> None:
        """Write what was measured. ceiling: what the photos themselves reach."""
        said = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
        message = f"step {done}: {said} (photos themselves: {ceiling:.3f})"
        self.folder.log("validation", message, step=done, figures=dict(figures), ceiling=ceiling)

    def read(self) -> tuple[dict[int, float], Series]:
        """(loss by step, what was measured), of an interrupted training's beginning too."""
        log = [json.loads(line) for line in (self.folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = {line["step"]: line["loss"] for line in log if line["event"] == "training"}
        series: Series = {}
        for line in log:
            if line["event"] == "validation":
                for key, value in line["figures"].items():
                    series.setdefault(key, {})[line["step"]] = value
        return losses, series


def trapezoid(step: int, steps: int, warm_up: float, cooling: float) -> float:
    """Factor of the learning rate: it rises from 0 in the first share of the steps and falls to 0 in the last."""
    return min(1.0, (step + 1) / (warm_up * steps + 1), (steps - step) / (cooling * steps + 1))
