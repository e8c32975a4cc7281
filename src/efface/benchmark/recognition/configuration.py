"""What a benchmark of recognisers is told: data sets, methods with their settings, attacks, and where the results
go."""

import dataclasses
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PlainValidator, PositiveInt
from pydantic_core import PydanticCustomError

from efface.benchmark.grids import People, check_apart, check_names, grids, shorter
from efface.config import Named, attempts, entry, named, part
from efface.errors import EffaceError

METHODS = "methods.recognition"


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


def _controls(found: Any) -> tuple[Named, ...]:
    """What `controls` says: a list of names, and of mappings with fields."""
    if not isinstance(found, list | tuple):
        raise PydanticCustomError("controls", "a list of methods")
    return tuple(named(METHODS, one) for one in found)


@dataclass(frozen=True, kw_only=True)
class RecognitionBenchmark:
    """Methods × forget sets × seeds on several data sets."""

    data: Annotated[dict[str, part(DataSet)], Field(min_length=1)]  # pyright: ignore[reportInvalidTypeForm]
    """Data sets by a name of one's own, which files and tables are called by."""
    methods: grids(METHODS)  # pyright: ignore[reportInvalidTypeForm]
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
    kind: Literal["recognition"] = "recognition"
    """What kind of model is unlearned from."""

    def check(self, source: str) -> None:
        """Raise EffaceError for what one key says of another."""
        check_names((*self.data, *self.variants), source)
        known = (*self.methods, *self.variants, *(control.name for control in self.controls))
        for key, more in (("scale", self.scale), ("photos", self.photos)):
            if more is None:
                continue
            if more.data not in self.data:
                raise EffaceError(f"{source}: {key}.data: found {more.data!r}, expected one of: {', '.join(self.data)}")
            for method in more.methods:
                if method not in known:
                    raise EffaceError(f"{source}: {key}.methods: found {method!r}, expected one of: {', '.join(known)}")
        if self.scale and len(self.scale.people) < max(*self.scale.at_once, self.scale.one_after_another):
            needed = max(*self.scale.at_once, self.scale.one_after_another)
            raise EffaceError(
                f"{source}: scale.people: found {len(self.scale.people)} people, expected at least {needed}, as many "
                "as are to be forgotten"
            )
        twice = [title for title in known if known.count(title) > 1]
        if twice:
            raise EffaceError(
                f"{source}: found {twice[0]!r} twice among methods, variants and controls, expected it once"
            )
        for name, data in self.data.items():
            judged = {who for sets in data.report.values() for people in sets for who in people}
            check_apart(judged, (who for people in data.tune for who in people), f"{source}: data.{name}.report")
            for group in data.retrained:
                if group not in data.report:
                    raise EffaceError(
                        f"{source}: data.{name}.retrained: found {group!r}, expected one of: {', '.join(data.report)}"
                    )

    def without(self, data: Container[str]) -> dict[str, Any]:
        """What falls away, by key, where only these data sets are kept."""
        more = {"scale": self.scale, "photos": self.photos}
        return {key: None for key, one in more.items() if one and one.data not in data}

    def named(self, name: str) -> list[People]:
        """The sets of people who are to be forgotten in a data set."""
        data = self.data[name]
        many = [self.scale.people] if self.scale and self.scale.data == name else []
        return [*data.tune, *(one for sets in data.report.values() for one in sets), *many]

    @staticmethod
    def tiny(given: dict[str, Any]) -> dict[str, Any]:
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
            few = {name: shorter(METHODS, name, fields or {}, {"steps": 5}) for name, fields in few.items()}
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
