"""The settings that a benchmark tries of each method, and other words that its configurations share."""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import PlainValidator, TypeAdapter
from pydantic_core import PydanticCustomError

from efface import config, registry
from efface.config import Named, at, named
from efface.errors import EffaceError

People = tuple[str, ...]
"""People who are forgotten together, or a list of people."""


@dataclass(frozen=True)
class Grid:
    """The settings that are tried of a method."""

    settings: tuple[Named, ...]
    varied: tuple[str, ...]
    """The fields in which they differ."""


def grids(kind: str) -> Any:
    """A pydantic type, what `methods` says: method -> its fields, a list where several values are tried; all
    combinations of these are the settings, and there are as many for each method. kind: of the registry."""

    def read(found: Any) -> dict[str, Grid]:
        if not isinstance(found, Mapping):
            raise PydanticCustomError("methods", "a mapping of methods to their fields; see `efface methods`")
        for name in found:
            if name not in registry.names(kind):
                raise at(str(name), found[name], "it below one of: " + ", ".join(registry.names(kind)))
            if not isinstance(found[name] or {}, Mapping):
                raise at(str(name), found[name], "the method's fields, a list where several values are tried")
        one = TypeAdapter(dict[str, Annotated[Grid, PlainValidator(lambda fields: _grid(kind, fields))]])
        made = one.validate_python({name: {"name": name} | dict(fields or {}) for name, fields in found.items()})
        for name, grid in made.items():
            first, budget = next((other, len(made[other].settings)) for other in made)
            if len(grid.settings) != budget:
                expected = f"{budget}, as {first} has: every method gets the same number of settings"
                raise at(name, f"{len(grid.settings)} settings", expected)
        return made

    return Annotated[dict[str, Grid], PlainValidator(read)]


def _grid(kind: str, fields: dict[str, Any]) -> Grid:
    varied = tuple(field for field, value in fields.items() if isinstance(value, list))
    tried = itertools.product(*(value if isinstance(value, list) else [value] for value in fields.values()))
    return Grid(tuple(named(kind, dict(zip(fields, values, strict=True))) for values in tried), varied)


def label(method: Named, grid: Grid) -> str:
    """What tells a setting from the others of its grid: `learning_rate=0.001, retain_weight=20.0`."""
    return ", ".join(f"{field}={getattr(method.value, field)}" for field in grid.varied) or "as it ships"


Data = TypeVar("Data")


def completed(data: Data, source: str) -> Data:
    """A data set with the environment's values in its paths. Raises EffaceError where one is not set."""
    plain = {field.name: config.plain(getattr(data, field.name)) for field in dataclasses.fields(data)}  # pyright: ignore
    return config.parse_as(type(data), config.expanded(plain, source), source)


def check_names(names: Iterable[str], source: str) -> None:
    """Raise EffaceError where a name cannot be a file's."""
    for name in names:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise EffaceError(f"{source}: found {name!r}, expected a name that can be a file's, such as orl")


def check_apart(judged: Iterable[str], tuned: Iterable[str], source: str) -> None:
    """Raise EffaceError where somebody whom settings are chosen on is reported on. source: of `report`."""
    both = sorted(set(judged) & set(tuned))
    if both:
        raise EffaceError(
            f"{source}: found {', '.join(both)}, expected nobody of `tune`; settings are chosen on other people than "
            "those that they are judged by"
        )


def shorter(kind: str, name: str, fields: Any, few: Mapping[str, int]) -> Any:
    """A method's fields for a dry run: those of `few` that it has."""
    if name not in registry.names(kind) or not isinstance(fields, Mapping):
        return fields
    has = {field.name for field in registry.describe(kind, name).fields}
    return dict(fields) | {field: value for field, value in few.items() if field in has}
