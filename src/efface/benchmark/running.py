"""Several processes that measure the rows that are missing; this one keeps what they found."""

import os
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from efface import memory
from efface.benchmark.configuration import BenchmarkConfig
from efface.benchmark.grids import People, completed
from efface.benchmark.kinds import module
from efface.benchmark.results import Content, Results, Row
from efface.errors import EffaceError
from efface.faces.splits import check_request
from efface.processes import Worker, end, start
from efface.progress import Watcher


def run(config: BenchmarkConfig, results: Results, processes: int, watcher: Watcher, only: str = "*") -> str:
    """Measure every row that has no result yet; returns what is to be said of rows that are still missing, else "".
    only: rows whose title matches it, with * and ?; others are neither measured nor missing. Raises EffaceError where
    the configuration, the data or a stored result is wrong, before anything is measured."""
    if processes < 1:
        raise EffaceError(f"--processes: found {processes}, expected at least 1")
    known = list(module(config.kind, "rows").tasks(config, results))
    wanted = [task for task in known if fnmatchcase(task.title, only)]
    if not wanted:
        raise EffaceError(
            f"--rows: found {only!r}, expected some of {', '.join(task.title for task in known[:3])}, ...; rows of a "
            "setting that is not chosen yet are not there yet"
        )
    missing = [task for task in wanted if results.get(task) is None]
    total = module(config.kind, "rows").count(config)
    if not missing:
        return ""
    needed = {name: data for name, data in config.data.items() if any(t.data == name for t in missing)}
    given = {name: _readable(name, data, config.named(name)) for name, data in needed.items()}
    lost: dict[str, str] = {}
    with watcher.track("rows of the benchmark", total) as tick, _crew(config.kind, given) as crew:
        finished = done = _done(config, results)
        tick(done)
        while True:
            crew.give(_waiting(config, results, crew, lost, only), processes)
            if not crew.busy:
                break
            for task, content, wrong in crew.heard():
                if content is None:
                    lost[task.file] = wrong
                    watcher.say(f"{task.title}: {wrong}")
                    continue
                results.keep(task, content)
                finished = _done(config, results)
                under_way = ", ".join(other.title for other in crew.under_way()) or "nothing"
                watcher.say(
                    f"{task.title}: {content['took']:.0f} s ({finished} of {total} rows; under way: {under_way})"
                )
                tick(finished - done)
                done = finished
    if not lost:
        return ""
    return f"{total - finished} of {total} rows are missing ({', '.join(lost)}); the same command tries them again"


def _done(config: BenchmarkConfig, results: Results) -> int:
    return sum(_there(results, task) for task in module(config.kind, "rows").tasks(config, results))


def _there(results: Results, task: Row) -> bool:
    """Whether a row has a result; one of another configuration that came up on the way is none."""
    try:
        return results.get(task) is not None
    except EffaceError:
        return False


def _waiting(
    config: BenchmarkConfig, results: Results, crew: "_Crew", lost: dict[str, str], only: str
) -> Iterator[Row]:
    """Rows to be measured that nobody measures, those first whose setting has just been chosen."""
    under_way = {task.file for task in crew.under_way()}
    free: list[Row] = []
    for task in module(config.kind, "rows").tasks(config, results):
        if task.file in under_way or task.file in lost or not fnmatchcase(task.title, only):
            continue
        try:
            if results.get(task) is None:
                free.append(task)
        except EffaceError as error:
            lost[task.file] = str(error)
    yield from sorted(free, key=lambda task: task.kind == "tune")


def _readable(name: str, data: Any, named: Iterable[People]) -> Any:
    """The data set with its paths completed. Raises EffaceError where something of it is not there, or somebody of
    `named`, the sets of people to forget."""
    source = f"data.{name}"
    found = completed(data, source)
    for key, path in (("model.weights", found.model.weights), ("detector", found.detector)):
        if path is not None and not path.exists():
            raise EffaceError(f"{source}.{key}: {path} does not exist; correct it, or leave {name} out with --data")
    try:
        people = found.faces.value.read().photos
        for forget in named:
            check_request(people, forget, ())
    except EffaceError as error:
        raise EffaceError(f"{source}: {error}") from error
    return found


# --- processes ------------------------------------------------------------------------------------------------------


@dataclass
class _Crew:
    """The processes and what each of them does."""

    kind: str
    data: dict[str, Any]
    idle: list[Worker]
    busy: dict[Connection, tuple[Worker, Row]]

    def under_way(self) -> list[Row]:
        """What is being measured."""
        return [task for _, task in self.busy.values()]

    def give(self, waiting: Iterator[Row], most: int) -> None:
        """Hand out rows until `most` processes are busy."""
        while len(self.busy) < most and (task := next(waiting, None)):
            worker = self.idle.pop() if self.idle else start(_work, self.kind, self.data)
            try:
                worker.connection.send(task)
            except OSError:  # it died while it had nothing to do
                end([worker])
                worker = start(_work, self.kind, self.data)
                worker.connection.send(task)
            self.busy[worker.connection] = worker, task

    def heard(self) -> Iterator[tuple[Row, Content | None, str]]:
        """Wait, then (row, its content, what went wrong) of each process that is done; content is None where it has
        none. A process that died is replaced when there is more to do."""
        for connection in cast(list[Connection], wait(list(self.busy))):
            worker, task = self.busy.pop(connection)
            try:
                content, wrong = connection.recv()
            except (EOFError, ConnectionError):
                end([worker])
                code = worker.process.exitcode
                how = f"was killed by signal {-code}" if code and code < 0 else f"ended with exit code {code}"
                yield task, None, f"the process that measured it {how}, perhaps for want of memory; it stays missing"
            else:
                self.idle.append(worker)
                yield task, content, wrong


@contextmanager
def _crew(kind: str, data: dict[str, Any]) -> Iterator[_Crew]:
    crew = _Crew(kind, data, [], {})
    try:
        yield crew
    finally:
        end([*crew.idle, *(worker for worker, _ in crew.busy.values())])


def _work(connection: Connection, kind: str, data: dict[str, Any]) -> None:
    """A worker's life: a data set is loaded once and kept."""
    memory.keep_freed()
    benches = {}
    while True:
        try:
            task: Row = connection.recv()
        except (EOFError, OSError):
            return
        content, wrong, began = None, "", time.perf_counter()
        try:
            measuring = module(kind, "measuring")
            if task.data not in benches:
                benches[task.data] = measuring.Bench(data[task.data])
            content = measuring.measure(benches[task.data], task) | {"took": time.perf_counter() - began}
        except EffaceError as error:
            wrong = str(error)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}; it stays missing\n{traceback.format_exc()}"
        try:
            connection.send((content, wrong))
        except OSError:  # nobody listens any more
            return


def cores() -> int:
    """The processes that are used where nobody says how many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
