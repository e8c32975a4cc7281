"""Other processes that work for this one: each is sent what to do and sends back what it made."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

THREADS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Worker(NamedTuple):
    """A process, and this process's end of the pipe to it."""

    process: BaseProcess
    connection: Connection
    """Raises EOFError when the process is dead."""


def start(life: Callable[..., None], *given: Any) -> Worker:
    """Start a process that calls life(its end of the pipe, *given). It computes in one thread and does not hear
    Ctrl-C. It is over when this process is, however that ends and whatever it is doing then."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_live, args=(life, there, *given), daemon=True)
    with _one_thread(), _without_interrupts():
        process.start()
    there.close()  # so that the worker's end is the only one: its death is heard of
    return Worker(process, here)  # pyright: ignore[reportArgumentType]


def end(workers: Iterable[Worker]) -> None:
    """End these processes, whatever they are doing."""
    ended = list(workers)
    for worker in ended:
        worker.process.terminate()
    for worker in ended:
        worker.process.join()
        worker.connection.close()


def _live(life: Callable[..., None], *given: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    life(*given)


def _end_with_parent() -> None:
    """End this process when the one that started it is dead. Files are renamed when whole, so none is cut short."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are started in the block compute in one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started in the block do not hear Ctrl-C: this one does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started with the first process, it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
