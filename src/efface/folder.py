"""The folder of one run: built as OUT.partial, renamed to OUT when everything is in it."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from efface.errors import EffaceError

CHECKPOINTS = "checkpoints"
"""Where an unfinished run keeps what it can be continued from."""

Say = Callable[[str], None]
"""Told one line for a person to read."""


def write_text(path: Path, text: str) -> None:
    """Write a temporary file, then rename it: the file is whole or not there."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same for bytes."""
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunFolder:
    """The unfinished folder of a run."""

    path: Path
    """OUT.partial."""
    say: Say

    @property
    def checkpoints(self) -> Path:
        """Where the training keeps what it continues from; gone from the finished folder."""
        return self.path / CHECKPOINTS

    def log(self, event: str, message: str, **fields: Any) -> None:
        """One line in log.jsonl and one for the reader."""
        record = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, "message": message} | fields
        with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        self.say(message)

    def write_json(self, name: str, value: Any) -> None:
        """Write `name` whole or not at all."""
        write_text(self.path / name, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def run_folder(
    out: Path, config: str, resume: bool, say: Say, mark: str | None = None, told: str = "config.yaml"
) -> Iterator[RunFolder]:
    """Open OUT.partial for a run of this configuration (YAML) and rename it to OUT at the end of the block.

    resume: continue in an OUT.partial that the same configuration left behind.
    mark: name of an empty file that says whose the folder is: an OUT that holds it is replaced when the new one is
    whole, and an OUT.partial of another configuration that holds it is begun anew.
    told: name of the file that keeps the configuration.
    Raises EffaceError where OUT is taken, OUT.partial is of another run or another process, or the disk refuses. Where
    the block fails before there is a checkpoint, nothing is left behind: mend the mistake and run the command again.
    """
    out = Path(os.path.abspath(out))
    partial, old = (out.with_name(out.name + end) for end in (".partial", ".old")) if out.name else (out, out)
    mine = False
    try:
        if out.exists() and not (mark and (out / mark).is_file()):
            raise EffaceError(f"{out}: exists already; choose another --out or remove it")
        if partial.exists() and mark and (partial / mark).is_file() and _differences(partial / told, config):
            shutil.rmtree(partial)
        if partial.exists():
            _check_same(partial, told, config, resume)
        else:
            partial.mkdir(parents=True)
            mine = True
            write_text(partial / told, config)
            if mark:
                (partial / mark).touch()
        with _locked(partial):
            yield RunFolder(partial, say)
            shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        where = error.filename or partial
        hint = "free space, then --resume" if partial.is_dir() else "choose a folder that can be written as --out"
        raise EffaceError(f"{where}: cannot be written ({error.strerror or error}); {hint}") from error
    except Exception:
        if mine and not (partial / CHECKPOINTS).exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def _locked(partial: Path) -> Iterator[None]:
    """Keep other processes out of the folder for the block; a process that dies lets go."""
    lock = FileLock(partial / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise EffaceError(f"{partial}: another run is writing it; wait for it or choose another --out") from error
    try:
        yield
        (partial / "lock").unlink(missing_ok=True)
    finally:
        lock.release()


def _differences(path: Path, config: str) -> list[str]:
    """Keys in which a stored configuration differs from this one; all of them where it cannot be read."""
    wanted = yaml.safe_load(config)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        return sorted(wanted)
    return sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))


def _check_same(partial: Path, told: str, config: str, resume: bool) -> None:
    """An OUT.partial may be continued only when asked, and only by the configuration that began it."""
    if not resume:
        raise EffaceError(f"{partial}: found an unfinished run; continue it with --resume or remove it")
    different = _differences(partial / told, config)
    if different:
        raise EffaceError(
            f"{partial}: found an unfinished run of another configuration (differs in {', '.join(different)}); "
            "remove it or choose another --out"
        )
