"""What a run tells where it stands: a line now and then where there is no terminal, a bar that goes away on one."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from rich.console import Console

from efface import config, run
from efface.cli import terminal
from efface.cli.terminal import Terminal
from efface.progress import Quiet, Tick


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the terminal believes have passed; a test moves them. By a real clock each silence would take
    10 seconds, and what is printed would depend on how busy the machine is."""
    now = [0.0]
    monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_without_a_terminal_a_line_follows_each_silence(clock: list[float], capsys: pytest.CaptureFixture[str]):
    watcher = Terminal()
    with watcher.track("embedding photos", 1440) as tick:
        for done in range(0, 1440, 32):
            clock[0] = done / 32  # a second for each batch
            tick(32)
    assert capsys.readouterr().err.splitlines() == [
        "embedding photos: 352 of 1440",
        "embedding photos: 672 of 1440",
        "embedding photos: 992 of 1440",
        "embedding photos: 1312 of 1440",
    ]


def test_without_a_terminal_lines_said_are_no_silence(clock: list[float], capsys: pytest.CaptureFixture[str]):
    watcher = Terminal()
    clock[0] = 60
    with watcher.track("attack [probe]", 2) as tick:  # what takes long is announced; brackets are no markup
        clock[0] = 120
        watcher.say("something else")
        tick(1)
    with watcher.track("attack [relearning]", 2):
        clock[0] = 125
    assert capsys.readouterr().err.splitlines() == ["attack [probe]: 0 of 2", "something else"]


def test_a_terminal_gets_a_bar_and_no_lines(clock: list[float]):
    watcher, written = Terminal(), io.StringIO()
    watcher.console = Console(file=written, force_terminal=True, width=100)
    with watcher.track("embedding photos", 1440) as tick:
        clock[0] = 60
        tick(320)
    assert "320/1440" in written.getvalue() and "320 of 1440" not in written.getvalue()


def test_every_pass_of_an_evaluation_is_announced_and_done():
    announced: dict[str, int] = {}
    done: dict[str, int] = {}

    class Counting(Quiet):
        @contextmanager
        def track(self, what: str, total: int) -> Iterator[Tick]:
            announced[what], done[what] = total, 0

            def tick(more: int) -> None:
                done[what] += more

            yield tick

    faces = {"name": "drawn", "people": 14, "photos": 8}
    run.evaluate(
        config.parse({"model": {"name": "tiny"}, "faces": faces, "forget": ["person-003"]}, "test"), None, Counting()
    )
    assert (
        announced == done == {"aligning faces": 112, "embedding photos": 3 * 112}
    )  # the model's, a random network's two
