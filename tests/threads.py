"""Threads in place of worker processes, for tests that are not about processes."""

import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

from efface.processes import Worker


class Beside:
    """A thread that does what a worker's process does: no second Python, which takes seconds to begin."""

    exitcode = 0

    def __init__(self, life: Callable[..., None], *given: Any) -> None:
        self.here, there = multiprocessing.Pipe()
        self.thread = threading.Thread(target=life, args=(there, *given), daemon=True)
        self.thread.start()

    def terminate(self) -> None:
        self.here.close()  # it hears that nobody is there

    def join(self) -> None:
        self.thread.join()


def start_beside(life: Callable[..., None], *given: Any) -> Worker:
    """As `processes.start`."""
    beside = Beside(life, *given)
    return Worker(beside, beside.here)  # pyright: ignore[reportArgumentType]
