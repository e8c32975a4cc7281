"""Processes that work for another one are over when that one is."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection

import pytest

from efface.processes import end, start

PARENT = """
import os, time
from test_processes import busy
from efface.processes import start

if __name__ == "__main__":
    worker = start(busy)
    print(worker.connection.recv(), flush=True)
    time.sleep(60)
"""


def busy(connection: Connection) -> None:
    """Says who it is, then works on and listens to nobody."""
    connection.send(os.getpid())
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        pass


def runs(process: int) -> bool:
    """Whether it is there and not dead (a dead one that nobody has waited for is still there)."""
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as file:
            return file.read().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells who runs")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_busy_process_ends_with_the_one_that_started_it(how, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    where = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    with subprocess.Popen([sys.executable, str(script)], env=where, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert runs(worker)
        parent.send_signal(how)
        parent.wait()
        limit = time.monotonic() + 20
        while runs(worker) and time.monotonic() < limit:
            time.sleep(0.02)
        assert not runs(worker)


def test_ended_by_name():
    worker = start(busy)
    process = worker.connection.recv()
    assert runs(process)
    end([worker])
    assert not runs(process) and worker.process.exitcode == -signal.SIGTERM


INTERRUPTED = """
from test_processes import answering
from efface.processes import end, start

if __name__ == "__main__":
    workers = [start(answering) for _ in range(2)]
    print(*[worker.connection.recv() for worker in workers], flush=True)
    input()
    for worker in workers:
        worker.connection.send("still there")
    print(*[worker.connection.recv() for worker in workers], sep=", ", flush=True)
    end(workers)
"""


def answering(connection: Connection) -> None:
    connection.send(os.getpid())
    connection.send(connection.recv())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="interrupts cannot be held back here")
def test_not_even_the_first_one_hears_an_interrupt(tmp_path):
    """The first one of a program, which is why another program starts them."""
    script = tmp_path / "parent.py"
    script.write_text(INTERRUPTED)
    where = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], env=where, text=True, **pipes) as parent:
        assert parent.stdout is not None
        for process in parent.stdout.readline().split():
            os.kill(int(process), signal.SIGINT)
        said, wrong = parent.communicate("\n", timeout=60)
    assert (said, wrong) == ("still there, still there\n", "")
