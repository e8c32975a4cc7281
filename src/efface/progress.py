"""How a run tells a person where it stands."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tick = Callable[[int], None]
"""Told how many more of the announced things are done."""


class Watcher(Protocol):
    """Someone who is told what goes on; the terminal is one, a service's log another."""

    def say(self, line: str) -> None:
        """One line to read."""
        ...

    def track(self, what: str, total: int) -> AbstractContextManager[Tick]:
        """Announce `total` things; the block calls the tick as they are done."""
        ...


class Quiet:
    """Tells nobody anything."""

    def say(self, line: str) -> None:
        """Drop the line."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Tick]:
        """Drop the ticks."""
        yield lambda done: None
