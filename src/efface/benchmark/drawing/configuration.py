"""What benchmarks of models that draw are told in the same words."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, PlainValidator, PositiveInt, TypeAdapter
from pydantic_core import PydanticCustomError

from efface import config
from efface.benchmark.grids import Grid, People, check_names, shorter
from efface.config import Named, part
from efface.errors import EffaceError
from efface.methods.anchors import Anchors


@dataclass(frozen=True, kw_only=True)
class Fewer:
    """Methods that are reported on fewer people, with the first seed alone."""

    methods: tuple[str, ...]
    people: PositiveInt = 5
    """The first of `report`."""


@dataclass(frozen=True)
class Change:
    """What a row of an ablation changes of the method as it was chosen."""

    fields: Mapping[str, Any]
    anchor: Anchors | None
    """None: the anchor of every other row."""


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """What changes when something of a method, as it was chosen, does; with the first seed."""

    method: str
    """Whose chosen setting is changed."""
    people: Annotated[People, Field(min_length=1)]
    """Who is forgotten, each in a run of their own."""
    groups: dict[str, dict[str, Annotated[Change, PlainValidator(lambda found: _change(found))]]]
    """Group -> title -> fields of the method; `anchor` is a mapping of the anchor's fields."""


def _change(found: Any) -> Change:
    if not isinstance(found, Mapping):
        raise PydanticCustomError("change", "a mapping of the method's fields, and `anchor`")
    anchor = found.get("anchor")
    fields = {key: value for key, value in found.items() if key != "anchor"}
    return Change(fields, None if anchor is None else TypeAdapter(part(Anchors)).validate_python(anchor))


def check_called(
    source: str, methods: Mapping[str, Grid], called: Mapping[str, Collection[str]], ablated: Ablations | None
) -> None:
    """Raise EffaceError where a key calls a method that is not among `methods`, or an ablation changes what the method
    does not have."""
    if ablated:
        called = {**called, "ablations.method": (ablated.method,)}
    for key, names in called.items():
        for name in names:
            if name not in methods:
                raise EffaceError(f"{source}: {key}: found {name!r}, expected one of: {', '.join(methods)}")
    for group, rows in ablated.groups.items() if ablated else ():
        check_names((group, *rows), f"{source}: ablations.groups.{group}")
        for title, change in rows.items():
            assert ablated is not None
            changed(methods[ablated.method].settings[0], change, f"{source}: ablations.groups.{group}.{title}")


def changed(method: Named, change: Change, source: str = "ablations") -> Named:
    """The method with these fields. Raises EffaceError where it does not have one, or not such a value."""
    return Named(method.name, config.parse_as(type(method.value), method.fields() | dict(change.fields), source))


def few_methods(given: Mapping[str, Any], kind: str, steps: Mapping[str, int]) -> dict[str, Any]:
    """`methods`, `fewer` and `ablations` of a dry run: the first two methods and the first of `fewer`, the first row of
    each ablation. kind: of the registry; steps: what is fewer in the methods."""
    over: dict[str, Any] = {}
    methods, fewer = given.get("methods"), given.get("fewer")
    if isinstance(methods, dict):
        kept = list(methods)[:2]
        if isinstance(fewer, dict):
            kept += list(fewer.get("methods", ()))[:1]
            over["fewer"] = {"methods": kept[2:], "people": 1}
        over["methods"] = {name: shorter(kind, name, methods[name] or {}, steps) for name in methods if name in kept}
    if isinstance(given.get("ablations"), dict):
        few = {group: dict(list(rows.items())[:1]) for group, rows in given["ablations"].get("groups", {}).items()}
        over["ablations"] = given["ablations"] | {"groups": few}
    if given.get("results"):
        over["results"] = f"{given['results']}-tiny"
    return over
