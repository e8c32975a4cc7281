"""What a benchmark is told: data sets, methods with their settings, attacks, and where the results go."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PlainValidator, PositiveInt, TypeAdapter
from pydantic_core import PydanticCustomError

from efface import config, registry
from efface.config import Named, at, attempts, entry, named, part
from efface.errors import EffaceError

METHODS = "methods.recognition"
People = tuple[str, ...]
"""People who are forgotten together."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A recogniser, photos, and who is forgotten. Paths that begin with $NAME are completed when they are used, so
    that they can be recorded as they stand."""

    model: entry("models.recognition")  # pyright: ignore[reportInvalidTypeForm]
    """The recogniser to unlearn from."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos."""
    detector: Path | None = None
    """Folder of the face detector; not needed for photos that are aligned."""
    tune: Annotated[tuple[People, ...], Field(min_length=1)]
    """Forget sets on which settings are chosen, with the first seed."""
    report: Annotated[dict[str, Annotated[tuple[People, ...], Field(min_length=1)]], Field(min_length=1)]
    """Group of forget sets -> the sets on which the chosen setting is reported, with all seeds."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Seeds of the methods."""
    fpir: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    """False positive identification rate of `misidentified`; the holdout must have 10 searches above it."""
    retrained: dict[str, entry("models.recognition")] = dataclasses.field(default_factory=dict)  # pyright: ignore
    """Group of forget sets -> a model that was trained without its people."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Many people, at once and one after another, by methods as they were chosen on a data set; its first seed."""

    data: str
    """The data set."""
    methods: tuple[str, ...]
    """Methods whose chosen setting is taken."""
    people: People
    """Whom to forget, in this order."""
    at_once: tuple[PositiveInt, ...] = (1, 10, 40)
    """Numbers of people in one request."""
    one_after_another: PositiveInt = 10
    """People in as many requests, each on the model that the one before it gave."""


@dataclass(frozen=True, kw_only=True)
class FewPhotos:
    """Fewer photos of each person to forget, by methods as they were chosen on a data set; first group, first seed."""

    data: str
    """The data set."""
    methods: tuple[str, ...]
    """Methods whose chosen setting is taken."""
    seen: tuple[PositiveInt, ...] = (1, 2, 5)
    """Photos of each person that the method is given."""


@dataclass(frozen=True)
class Grid:
    """The settings that are tried of a method."""

    settings: tuple[Named, ...]
    varied: tuple[str, ...]
    """The fields in which they differ."""


def _grids(found: Any) -> dict[str, Grid]:
    """What `methods` says: method -> its fields, a list where several values are tried; all combinations of these are
    the settings, and there are as many for each method."""
    if not isinstance(found, Mapping):
        raise PydanticCustomError("methods", "a mapping of methods to their fields; see `efface methods`")
    for name in found:
        if name not in registry.names(METHODS):
            raise at(str(name), found[name], "it below one of: " + ", ".join(registry.names(METHODS)))
        if not isinstance(found[name] or {}, Mapping):
            raise at(str(name), found[name], "the method's fields, a list where several values are tried")
    read = TypeAdapter(dict[str, Annotated[Grid, PlainValidator(_grid)]])
    grids = read.validate_python({name: {"name": name} | dict(fields or {}) for name, fields in found.items()})
    for name, grid in grids.items():
        first, budget = next((other, len(grids[other].settings)) for other in grids)
        if len(grid.settings) != budget:
            expected = f"{budget}, as {first} has: every method gets the same number of settings"
            raise at(name, f"{len(grid.settings)} settings", expected)
    return grids


def _grid(fields: dict[str, Any]) -> Grid:
    varied = tuple(field for field, value in fields.items() if isinstance(value, list))
    tried = itertools.product(*(value if isinstance(value, list) else [value] for value in fields.values()))
    return Grid(tuple(named(METHODS, dict(zip(fields, values, strict=True))) for values in tried), varied)


def _controls(found: Any) -> tuple[Named, ...]:
    """What `controls` says: a list of names, and of mappings with fields."""
    if not isinstance(found, list | tuple):
        raise PydanticCustomError("controls", "a list of methods")
    return tuple(named(METHODS, one) for one in found)


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """Methods × forget sets × seeds on several data sets."""

    data: Annotated[dict[str, part(DataSet)], Field(min_length=1)]  # pyright: ignore[reportInvalidTypeForm]
    """Data sets by a name of one's own, which files and tables are called by."""
    methods: Annotated[dict[str, Grid], PlainValidator(_grids)]
    """Method -> its fields, a list where several values are tried; as many settings for each method."""
    controls: Annotated[tuple[Named, ...], PlainValidator(_controls)] = ()
    """Methods without tuning: reported as they are given."""
    variants: dict[str, entry(METHODS)] = dataclasses.field(default_factory=dict)  # pyright: ignore
    """Title -> a method with other fields, reported as it is given, without tuning and attacks."""
    attacks: attempts("attacks.recognition") = ()  # pyright: ignore[reportInvalidTypeForm]
    """Attempts to bring the forgotten back, each with its budget."""
    attacked_sets: PositiveInt = 1
    """They are tried on so many sets of each group that is reported, with the first seed."""
    scale: part(Scale) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Many people; nothing leaves it out."""
    photos: part(FewPhotos) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Fewer photos; nothing leaves it out."""
    results: Path
    """Folder of the results: one file for each row of the tables."""
    page: Path | None = None
    """Markdown page whose tables are written between its markers, and its figures beside it; nothing writes none."""


def load(path: Path, settings: Sequence[str] = (), only: Sequence[str] = (), tiny: bool = False) -> BenchmarkConfig:
    """Read the YAML file with `--set a.b=c` over it. only: data sets to keep; empty keeps all. tiny: a dry run on drawn
    people with the tiny model. Raises EffaceError for whatever is wrong with it."""
    given = config.read_yaml(path, settings)
    if tiny:
        given = _tiny(given)
    found: BenchmarkConfig = config.parse_as(BenchmarkConfig, given, str(path))
    _check(found, str(path))
    for name in only:
        if name not in found.data:
            raise EffaceError(f"--data: found {name!r}, expected one of: {', '.join(found.data)}")
    kept = {name: data for name, data in found.data.items() if name in (only or found.data)}
    scale, photos = (one if one and one.data in kept else None for one in (found.scale, found.photos))
    return dataclasses.replace(found, data=kept, scale=scale, photos=photos)


def _check(found: BenchmarkConfig, source: str) -> None:
    """What one key says of another."""
    for name in (*found.data, *found.variants):
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise EffaceError(f"{source}: found {name!r}, expected a name that can be a file's, such as orl")
    known = (*found.methods, *found.variants, *(control.name for control in found.controls))
    for key, more in (("scale", found.scale), ("photos", found.photos)):
        if more is None:
            continue
        if more.data not in found.data:
            raise EffaceError(f"{source}: {key}.data: found {more.data!r}, expected one of: {', '.join(found.data)}")
        for method in more.methods:
            if method not in known:
                raise EffaceError(f"{source}: {key}.methods: found {method!r}, expected one of: {', '.join(known)}")
    if found.scale and len(found.scale.people) < max(*found.scale.at_once, found.scale.one_after_another):
        needed = max(*found.scale.at_once, found.scale.one_after_another)
        raise EffaceError(
            f"{source}: scale.people: found {len(found.scale.people)} people, expected at least {needed}, as many as "
            "are to be forgotten"
        )
    twice = [title for title in known if known.count(title) > 1]
    if twice:
        raise EffaceError(f"{source}: found {twice[0]!r} twice among methods, variants and controls, expected it once")
    for name, data in found.data.items():
        judged = {who for sets in data.report.values() for people in sets for who in people}
        both = sorted(judged & {who for people in data.tune for who in people})
        if both:
            raise EffaceError(
                f"{source}: data.{name}.report: found {', '.join(both)}, expected nobody of `tune`; settings "
                "are chosen on other people than those that they are judged by"
            )
        for group in data.retrained:
            if group not in data.report:
                raise EffaceError(
                    f"{source}: data.{name}.retrained: found {group!r}, expected one of: {', '.join(data.report)}"
                )


def completed(data: DataSet, source: str) -> DataSet:
    """The data set with the environment's values in its paths. Raises EffaceError where one is not set."""
    plain = {field.name: config.plain(getattr(data, field.name)) for field in dataclasses.fields(data)}
    return config.parse_as(DataSet, config.expanded(plain, source), source)


def _tiny(given: dict[str, Any]) -> dict[str, Any]:
    """The dry run: the first two methods and the first control for a few steps on one set of two drawn people."""
    names = [f"person-{number:03}" for number in range(8)]
    drawn = {
        "model": "tiny",
        "faces": {"name": "drawn", "people": 40},
        "tune": [names[:2]],
        "report": {"drawn": [names[2:4]]},
        "fpir": 2e-2,
    }
    methods, controls = given.get("methods"), given.get("controls")
    few = dict(list(methods.items())[:2]) if isinstance(methods, dict) else methods
    if isinstance(few, dict):
        few = {name: _shorter(name, fields or {}) for name, fields in few.items()}
    more = {"data": "drawn", "methods": list(few) if isinstance(few, dict) else []}
    over: dict[str, Any] = {
        "data": {"drawn": drawn},
        "methods": few,
        "controls": controls[:1] if isinstance(controls, list) else controls,
        "variants": {},
        "page": None,
    }
    if given.get("results"):
        over["results"] = f"{given['results']}-tiny"
    if given.get("scale"):
        over["scale"] = more | {"people": names[4:], "at_once": [1, 3], "one_after_another": 2}
    if given.get("photos"):
        over["photos"] = more | {"seen": [2, 5]}
    return given | {k: v for k, v in over.items() if v is not None or k == "page"}


def _shorter(name: str, fields: Any) -> Any:
    """A method's fields with few steps."""
    if name not in registry.names(METHODS) or not isinstance(fields, Mapping):
        return fields
    has = {field.name for field in registry.describe(METHODS, name).fields}
    return dict(fields) | ({"steps": 5} if "steps" in has else {})
