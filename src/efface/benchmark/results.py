"""The folder of results: a file for each row of a benchmark, whole or not there; it says what it is the result of."""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import efface
from efface.errors import EffaceError
from efface.folder import write_bytes, write_text

Content = dict[str, Any]
"""What a result's file holds."""


class Configured(Protocol):
    """As much of a benchmark's configuration as its results need."""

    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def results(self) -> Path: ...


@dataclass(frozen=True)
class Row(ABC):
    """What has to be measured for one row of the tables."""

    file: str
    """Where its result is, below the folder of results."""
    data: str
    """The data set's name."""
    kind: str

    @property
    def title(self) -> str:
        """For people: the file without its ending."""
        return self.file.removesuffix(".json")

    @abstractmethod
    def identity(self, data: Any) -> dict[str, Any]:
        """All that the result depends on, as JSON; a result with another one is of another configuration."""


class Results:
    """The folder of results, as far as they are of this configuration.

    again: results of another configuration, and damaged ones, count as not there.
    """

    def __init__(self, config: Configured, again: bool = False) -> None:
        self.config, self.again = config, again
        self._read: dict[str, Content | None] = {}

    def path(self, task: Row) -> Path:
        """The file of a row."""
        return self.config.results / task.file

    def picture(self, task: Row) -> Path:
        """The JPEG of what a row drew, where it keeps one."""
        return self.path(task).with_suffix(".jpg")

    def get(self, task: Row) -> Content | None:
        """The result of a row; None where there is none. Raises EffaceError where it is of another configuration or
        damaged."""
        if self._read.get(task.file) is None or self._read[task.file]["row"] != self._identity(task):  # pyright: ignore
            self._read[task.file] = self._checked(task)
        return self._read[task.file]

    def keep(self, task: Row, found: Content) -> Content:
        """Write a result, whole or not at all."""
        picture = found.pop("picture", None)
        content = {"row": self._identity(task), "efface": efface.__version__} | _short(found)
        path = self.path(task)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if picture:
                write_bytes(self.picture(task), picture)
            write_text(path, _written(content))
        except OSError as error:
            raise EffaceError(f"{path}: cannot be written ({error.strerror}); free the disk or set results") from error
        self._read[task.file] = content
        return content

    def _identity(self, task: Row) -> dict[str, Any]:
        return task.identity(self.config.data[task.data])

    def _checked(self, task: Row) -> Content | None:
        path = self.path(task)
        if not path.exists():
            return None
        hint = "remove it, or pass --again, which measures it anew"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            known = isinstance(content, dict) and isinstance(content.get("row"), dict) and "took" in content
        except (OSError, ValueError) as error:
            if self.again:
                return None
            raise EffaceError(f"{path}: cannot be read as a result ({error}); {hint}") from error
        wanted = self._identity(task)
        different = _differences(content["row"], wanted) if known else ["it is no result of a benchmark"]
        if not different:
            return content
        if self.again:
            return None
        raise EffaceError(f"{path}: found a result of another configuration ({'; '.join(different)}); {hint}")


def _differences(found: Any, wanted: Any, key: str = "") -> list[str]:
    """What differs, by dotted key."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        nested = (_differences(found.get(k), wanted.get(k), f"{key}.{k}" if key else k) for k in keys)
        return [line for lines in nested for line in lines]
    if found == wanted:
        return []
    told = [json.dumps(value, ensure_ascii=False) for value in (found, wanted)]
    if max(map(len, told)) > 40:
        return [f"{key} differs"]
    return [f"{key} is {told[0]}, now {told[1]}"]


def _written(content: Content) -> str:
    """JSON with a line for each innermost mapping or list."""
    lines = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[{\[][^{}\[\]]*[}\]]", lambda inner: re.sub(r"\n\s*", " ", inner[0]), lines) + "\n"


def _short(value: Any) -> Any:
    """Numbers with six digits that count."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    return [_short(one) for one in value] if isinstance(value, list | tuple) else value
