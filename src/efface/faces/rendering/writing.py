"""From a seed to files: several processes render, this one writes."""

import importlib.metadata
import importlib.util
import io
import json
import os
import re
import shutil
import tarfile
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, cast, get_args

import safetensors.numpy

import efface
from efface.errors import EffaceError
from efface.faces.rendering import records
from efface.faces.rendering.heads import Heads
from efface.faces.rendering.reading import PACK_PHOTOS, PACK_RECORDS, PHOTOS
from efface.folder import RunFolder, run_folder, write_text
from efface.processes import Worker, end, start
from efface.progress import Watcher

Format = Literal["folder", "shards", "pack"]

PEOPLE_A_SHARD = 100
SETTINGS = "render.json"
"""File of the finished folder: what was asked for, and with what it was made."""
LARGEST = 1_000_000
"""People and photos are numbered below this."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to render. The same order gives the same bytes on the same versions."""

    people: tuple[int, ...]
    """Numbers of the people, ascending."""
    photos: tuple[int, ...]
    """Numbers of each person's photos, ascending."""
    size: int = 128
    """Side of a photo in pixels."""
    seed: int = 0
    """The population."""
    format: Format = "folder"
    views: int = 0
    """Times that the moment of each photo is seen again in front of a plain grey (`Studio.photos`)."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of each person's files, ascending."""
        each = 1 + self.views
        return tuple(each * photo + view for photo in self.photos for view in range(each))

    def __post_init__(self) -> None:
        if not 32 <= self.size <= 1024:
            raise EffaceError(f"--size: found {self.size}, expected 32 to 1024 pixels")
        if not 0 <= self.seed < 2**63:
            raise EffaceError(f"--seed: found {self.seed}, expected 0 to 2^63 - 1")
        if not 0 <= self.views <= 16:
            raise EffaceError(f"--views: found {self.views}, expected 0 to 16")
        if self.format not in get_args(Format):
            raise EffaceError(f"--format: found {self.format!r}, expected one of: {', '.join(get_args(Format))}")


def numbers(text: str, what: str) -> tuple[int, ...]:
    """The numbers of `100-119,1000-4999`, ascending, each once. what: the option's name, for the error.

    >>> numbers("3,0-2,1", "--people")
    (0, 1, 2, 3)
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < LARGEST:
            raise EffaceError(
                f"{what}: found {part.strip()!r}, expected numbers and ranges below {LARGEST:,} such as 0-119,200"
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def ranges(found: Sequence[int]) -> str:
    """What `numbers` reads back.

    >>> ranges((0, 1, 2, 5))
    '0-2,5'
    """
    parts: list[list[int]] = []
    for number in found:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def name_of(person: int) -> str:
    """A person's name, as `person-017`."""
    return f"person-{person:03d}"


def render(order: Order, heads: Path, out: Path, processes: int, resume: bool, watcher: Watcher) -> None:
    """Render into the folder `out`, which appears when everything is in it. The bytes do not depend on the number of
    processes, nor on whether the work was stopped and resumed.

    Raises EffaceError for what the user can mend: `out` taken, a head model that is none, an extra not installed.
    """
    if processes < 1:
        raise EffaceError(f"--processes: found {processes}, expected at least 1")
    _needed("numba", "render")
    if order.format == "shards":
        _needed("webdataset", "data")
    model = Heads.load(heads)
    with run_folder(out, settings(order, model), resume, watcher.say, told=SETTINGS) as folder:
        store = _Store(folder, order, model)
        done = store.done()
        todo = [person for person in order.people if person not in done]
        each, began = len(order.numbers), time.perf_counter()
        with watcher.track("rendering photos", each * len(order.people)) as tick:
            tick(each * len(done))
            for person, photos in _rendered(order, model, todo, processes):
                store.keep(person, photos)
                tick(each)
        seconds = time.perf_counter() - began
        store.finish()
        count, used = each * len(todo), min(processes, len(todo))
        told = f"{count:,} photos of {len(todo):,} people in {seconds:.1f} s: {count / seconds:.1f} photos/s"
        again = f"; {len(done):,} people were there already" if done else ""
        watcher.say(f"{told} in {used} process{'es' if used != 1 else ''}{again}")


def settings(order: Order, heads: Heads) -> str:
    """What render.json holds: the order, the heads' digest and the versions on which the bytes depend."""
    found = {
        "people": ranges(order.people),
        "photos": ranges(order.photos),
        "size": order.size,
        "seed": order.seed,
        "format": order.format,
        **({"views": order.views} if order.views else {}),
        "heads": heads.digest,
        "versions": {"efface": efface.__version__}
        | {name: importlib.metadata.version(name) for name in ("numba", "numpy", "pillow")},
    }
    return json.dumps(found, indent=1) + "\n"


def _needed(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise EffaceError(f"{package} is not installed; install it with: pip install 'efface[{extra}]'")


# --- processes ------------------------------------------------------------------------------------------------------

_Photos = list[tuple[bytes, str]]
"""JPEG bytes and the record's line of each photo of a person."""


def _rendered(order: Order, heads: Heads, todo: Sequence[int], processes: int) -> Iterator[tuple[int, _Photos]]:
    """(person, photos) of everybody in `todo`, in the order in which they are finished. A worker that hears no more
    of this process ends by itself, so nothing is left running even if this process is killed."""
    waiting = iter(todo)
    try:
        with _workers(min(processes, len(todo)), order, heads) as workers:
            busy = [worker for worker in workers if _give(worker, waiting)]
            while busy:
                for worker in cast(list[Connection], wait(busy)):
                    person, photos, wrong = worker.recv()
                    if wrong:
                        raise RuntimeError(f"person {person} could not be rendered\n{wrong}")
                    if not _give(worker, waiting):
                        busy.remove(worker)
                    yield person, photos
    except (EOFError, ConnectionError) as error:
        raise EffaceError(
            "a rendering process died, perhaps for want of memory; give fewer --processes, and --resume"
        ) from error


def _give(worker: Connection, waiting: Iterator[int]) -> bool:
    """Send the next person to a worker; False where nobody is left."""
    person = next(waiting, None)
    if person is not None:
        worker.send(person)
    return person is not None


@contextmanager
def _workers(count: int, order: Order, heads: Heads) -> Iterator[list[Connection]]:
    """Connections to processes that are sent numbers of people and send back their photos."""
    started: list[Worker] = []
    try:
        for _ in range(count):
            started.append(start(_work, order, heads))
        yield [worker.connection for worker in started]
    finally:
        end(started)


def _work(connection: Connection, order: Order, heads: Heads) -> None:
    """A worker's life."""
    studio = None
    while True:
        try:
            person = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if studio is None:
                from efface.faces.rendering.studio import Studio

                studio = Studio(heads, order.seed)
            rendered = studio.photos(person, order.photos, order.size, order.views)
            reply = person, [(picture, records.to_line(record)) for picture, record in rendered], ""
        except Exception:
            reply = person, [], traceback.format_exc()
        try:
            connection.send(reply)
        except OSError:  # nobody listens any more
            return


# --- files ----------------------------------------------------------------------------------------------------------


class _Store:
    """The unfinished folder. Each person's photos lie in OUT.partial/PERSON; their records, written last, in the
    checkpoints: a person who has them is done. A shard is written as soon as all its people are done."""

    def __init__(self, folder: RunFolder, order: Order, heads: Heads) -> None:
        self.folder, self.order, self.heads = folder, order, heads
        step = PEOPLE_A_SHARD if order.format == "shards" else len(order.people)
        self.groups = [order.people[i : i + step] for i in range(0, len(order.people), step)]

    def done(self) -> set[int]:
        """People who need not be rendered again."""
        found: set[int] = set()
        for number, group in enumerate(self.groups):
            if self._shard(number).exists():
                self._remove(group)  # it may have been stopped just before
                found.update(group)
            else:
                found.update(person for person in group if self._lines(person).exists())
                self._close(number, found)
        return found

    def keep(self, person: int, photos: _Photos) -> None:
        """Write one person."""
        path = self.folder.path / name_of(person)
        path.mkdir(exist_ok=True)
        for number, (picture, _) in zip(self.order.numbers, photos, strict=True):
            (path / f"{number:02d}.jpg").write_bytes(picture)
        lines = self._lines(person)
        lines.parent.mkdir(exist_ok=True)
        write_text(lines, "".join(line + "\n" for _, line in photos))
        if self.order.format == "shards":
            number = next(i for i, group in enumerate(self.groups) if group[0] <= person <= group[-1])
            self._close(number, {p for p in self.groups[number] if self._lines(p).exists()})

    def finish(self) -> None:
        """Make the finished folder of people who all are done."""
        if self.order.format == "folder":
            lines = (self._lines(person).read_text(encoding="utf-8") for person in self.order.people)
            write_text(self.folder.path / PHOTOS, "".join(lines))
        elif self.order.format == "pack":
            found = list(self._photos(self.order.people))
            _write(self.folder.path / PACK_PHOTOS, _tar((name, picture) for name, picture, _ in found))
            read = [records.from_line(line, name) for name, _, line in found]
            arrays, metadata = records.to_arrays(read, self.heads.expressions)
            _write(self.folder.path / PACK_RECORDS, safetensors.numpy.save(arrays, metadata))
            self._remove(self.order.people)

    def _close(self, number: int, done: set[int]) -> None:
        """Write a shard if all its people are done."""
        group = self.groups[number]
        if self.order.format != "shards" or not done.issuperset(group):
            return
        from webdataset.writer import TarWriter

        stream = io.BytesIO()
        with TarWriter(stream, user="", group="", mode=0o644, mtime=0, encoder=False) as tar:
            for name, picture, line in self._photos(group):
                key = name.removesuffix(".jpg")
                tar.write({"__key__": key, "jpg": picture, "json": line.encode()})
        _write(self._shard(number), stream.getvalue())
        self._remove(group)

    def _photos(self, people: Iterable[int]) -> Iterator[tuple[str, bytes, str]]:
        """(name, JPEG bytes, line) of people's photos."""
        for person in people:
            lines = self._lines(person).read_text(encoding="utf-8").splitlines()
            for photo, line in zip(self.order.numbers, lines, strict=True):
                name = f"{name_of(person)}/{photo:02d}.jpg"
                yield name, (self.folder.path / name).read_bytes(), line

    def _remove(self, people: Iterable[int]) -> None:
        """Delete what is kept of people one by one."""
        for person in people:
            self._lines(person).unlink(missing_ok=True)
            shutil.rmtree(self.folder.path / name_of(person), ignore_errors=True)

    def _lines(self, person: int) -> Path:
        return self.folder.checkpoints / f"{name_of(person)}.jsonl"

    def _shard(self, number: int) -> Path:
        return self.folder.path / f"shard-{number:06d}.tar"


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar that says nothing of when and by whom it was made."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _write(path: Path, content: bytes) -> None:
    """The file is whole or not there."""
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
