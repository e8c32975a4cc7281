"""The terminal as a watcher: lines, and progress bars with the time left, on standard error."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from efface.progress import Tick

SILENCE = 10.0
"""Seconds without a line after which one says how far the work is, where no bar can be drawn (a file, a service)."""


class Terminal:
    """Prints lines and progress bars for a person."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._said = time.monotonic()

    def say(self, line: str) -> None:
        """Print one line."""
        self._said = time.monotonic()
        self.console.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Tick]:
        """A progress bar with count, speed, time passed and time left; it goes away when the block ends. Where standard
        error is no terminal, a line like `embedding photos: 320 of 1440` after each `SILENCE`."""
        if not self.console.is_interactive:
            tick = self._lines(what, total)
            tick(0)
            yield tick
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Speed(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.advance(task, done)

    def _lines(self, what: str, total: int) -> Tick:
        count = 0

        def tick(done: int) -> None:
            nonlocal count
            count += done
            if time.monotonic() - self._said >= SILENCE:
                self.say(f"{what}: {count} of {total}")

        return tick


class _Speed(ProgressColumn):
    """How many a second, of late."""

    def render(self, task: Task) -> Text:
        """`85/s`; nothing before it is known."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")
