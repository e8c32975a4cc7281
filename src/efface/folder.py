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

from efface.errors import EffaceError

CHECKPOINTS = "checkpoints"
"""Where an unfinished run keeps what it can be continued from."""

Say = Callable[[str], None]
"""Told one line for a person to read."""


def write_text(path: Path, text: str) -> None:
    """Write a temporary file, then rename it: the file is whole or not there."""
    partial = path.with_name(path.name + ".tmp")
    try:
        partial.write_text(text, encoding="utf-8")
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
def run_folder(out: Path, config: str, resume: bool, say: Say, replace: bool = False) -> Iterator[RunFolder]:
    """Open OUT.partial for a run of this configuration (YAML) and rename it to OUT at the end of the block.

    resume: continue in an OUT.partial that the same configuration left behind.
    replace: an existing OUT is replaced when the new one is whole; the caller has made sure that it may be.
    Raises EffaceError where OUT is taken, OUT.partial is of another run, or the disk refuses. Where the block raises
    one before there is a checkpoint, nothing is left behind: the mistake is mended and the same command run again.
    """
    partial = out.with_name(out.name + ".partial")
    mine = False
    try:
        if out.exists() and not replace:
            raise EffaceError(f"{out}: exists already; choose another --out or remove it")
        if partial.exists():
            _check_same(partial, config, resume)
        else:
            partial.mkdir(parents=True)
            mine = True
            write_text(partial / "config.yaml", config)
        yield RunFolder(partial, say)
        shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
        old = out.with_name(out.name + ".old")
        if out.exists():
            os.replace(out, old)
        os.replace(partial, out)
        shutil.rmtree(old, ignore_errors=True)
    except EffaceError:
        if mine and not (partial / CHECKPOINTS).exists():
            shutil.rmtree(partial, ignore_errors=True)
        raise
    except OSError as error:
        where = error.filename or partial
        hint = "free space, then --resume" if partial.is_dir() else "choose a folder that can be written as --out"
        raise EffaceError(f"{where}: cannot be written ({error.strerror or error}); {hint}") from error


def _check_same(partial: Path, config: str, resume: bool) -> None:
    """An OUT.partial may be continued only when asked, and only by the configuration that began it."""
    if not resume:
        raise EffaceError(f"{partial}: found an unfinished run; continue it with --resume or remove it")
    try:
        found = yaml.safe_load((partial / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise EffaceError(f"{partial}: found no readable config.yaml, expected an unfinished run; remove it")
    wanted = yaml.safe_load(config)
    different = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
    if different:
        raise EffaceError(
            f"{partial}: found an unfinished run of another configuration (differs in {', '.join(different)}); "
            "remove it or choose another --out"
        )
