"""What a benchmark of GAN face generators is told: generators, who is forgotten, methods with their settings, ablations
of one of them, several people at once, attacks, and where the results go."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from efface.benchmark.drawing.configuration import Ablations, Fewer, check_called, few_methods
from efface.benchmark.gan.choice import choose
from efface.benchmark.grids import People, check_apart, check_names, grids
from efface.config import attempts, entry, part
from efface.errors import EffaceError

METHODS = "methods.gan"
TINY_STEPS = {"steps": 2, "surrogate_steps": 2, "adapt_steps": 2, "measured": 2, "retained": 0}
"""Of the methods in a dry run."""


@dataclass(frozen=True, kw_only=True)
class Generators:
    """A generator with its encoder, photos, and who is forgotten, each person in a run of their own. Paths that begin
    with $NAME are completed when they are used."""

    model: entry("models.gan")  # pyright: ignore[reportInvalidTypeForm]
    """The model to unlearn from."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos."""
    judge: entry("models.recognition") | None = None  # pyright: ignore[reportInvalidTypeForm]
    """A second recogniser, never part of any loss, that scores the same pictures."""
    detector: Path | None = None
    """Folder of the face detector; not needed for photos and pictures that are aligned."""
    latents: Literal["photo", "random"] = "photo"
    """photo: the method is given one photo of the person; random: `report` names people who never existed, a latent of
    each is drawn with the seed (a generator with cameras only)."""
    tune: People = ()
    """People on whom settings are chosen, with the first seed. Nobody: the settings that were chosen on the first data
    set are reported, and there are neither ablations nor attacks nor several people at once."""
    report: Annotated[People, Field(min_length=1)]
    """People on whom the chosen setting is reported, with all seeds."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Seeds of a run: of the method, and of the people who never existed."""
    methods: tuple[str, ...] = ()
    """Methods that are reported, where the settings are taken over; nothing: all."""
    fewer: part(Fewer) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing: every method is reported on everybody."""
    people: PositiveInt = 12
    """Retained people, and held-out people, who are drawn, at most."""
    samples: Annotated[int, Field(ge=2)] = 50
    """People who never existed, drawn to see how far the generator as a whole has moved."""
    anchor: ClassVar[None] = None

    def more(self) -> dict[str, Any]:
        """What else a row's identity holds of it."""
        return {"latents": self.latents, "samples": self.samples}


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """Attempts to bring the forgotten back, on the first people of `report` with the first seed, on all methods."""

    attacks: attempts("attacks.gan")  # pyright: ignore[reportInvalidTypeForm]
    """Each with its budget."""
    people: PositiveInt = 1
    """The first of `report`."""


@dataclass(frozen=True, kw_only=True)
class Several:
    """Several people in one run, together and one after another, with the first seed."""

    methods: tuple[str, ...]
    people: Annotated[People, Field(min_length=2)]


@dataclass(frozen=True, kw_only=True)
class GanBenchmark:
    """Methods × people × seeds."""

    data: Annotated[dict[str, part(Generators)], Field(min_length=1)]  # pyright: ignore[reportInvalidTypeForm]
    """Generators and people by a name of one's own, which files and tables are called by."""
    methods: grids(METHODS)  # pyright: ignore[reportInvalidTypeForm]
    """Method -> its fields, a list where several values are tried; as many settings for each method."""
    ablations: part(Ablations) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing leaves them out."""
    several: part(Several) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing leaves them out."""
    attacked: part(Attacked) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing leaves them out."""
    results: Path
    """Folder of the results: one file for each row of the tables."""
    page: Path | None = None
    """Markdown page whose tables are written between its markers, and its figures beside it; nothing writes none."""
    kind: Literal["gan"] = "gan"
    """What kind of model is unlearned from."""
    choose: ClassVar = staticmethod(choose)

    def check(self, source: str) -> None:
        """Raise EffaceError for what one key says of another."""
        check_names(self.data, source)
        first, ablated = next(iter(self.data)), self.ablations
        if not self.data[first].tune:
            raise EffaceError(
                f"{source}: data.{first}.tune: found nobody, expected people on whom settings are chosen; the data "
                "sets after the first may take them over"
            )
        called: dict[str, tuple[str, ...]] = {"several.methods": self.several.methods if self.several else ()}
        more = {"ablations.people": ablated.people if ablated else ()}
        more |= {"several.people": self.several.people if self.several else ()}
        for name, data in self.data.items():
            if data.tune and data.methods:
                raise EffaceError(
                    f"{source}: data.{name}.methods: found {', '.join(data.methods)}, expected none beside tune: a "
                    "setting is chosen of every method; leave one of the two out"
                )
            called |= {f"data.{name}.methods": data.methods}
            called |= {f"data.{name}.fewer.methods": data.fewer.methods if data.fewer else ()}
            for key, people in {f"data.{name}.report": data.report, **more}.items():
                check_apart(people, data.tune, f"{source}: {key}")
        for group, rows in ablated.groups.items() if ablated else ():
            for title, change in rows.items():
                if change.anchor:
                    raise EffaceError(
                        f"{source}: ablations.groups.{group}.{title}: found anchor, expected fields of the method; a "
                        "face generator has no anchors"
                    )
        check_called(source, self.methods, called, ablated)

    def methods_on(self, data: str) -> tuple[str, ...]:
        """Methods that are reported on a data set."""
        return tuple(m for m in self.methods if m in (self.data[data].methods or self.methods))

    def fewer_on(self, data: str) -> Fewer | None:
        """Who is reported on fewer people there."""
        return self.data[data].fewer

    def chosen_on(self, data: str) -> str:
        """The data set on which the settings are chosen that are reported there."""
        return data if self.data[data].tune else next(iter(self.data))

    def without(self, data: Container[str]) -> dict[str, Any]:
        """What falls away, by key, where only these data sets are kept. Raises EffaceError where settings are chosen on
        one that is not."""
        first = next(iter(self.data))
        for name in self.data:
            if name in data and self.chosen_on(name) not in data:
                raise EffaceError(
                    f"--data: found {name} without {first}, expected both: the settings are chosen on {first}; name "
                    f"both, or pass --rows '{name}/*'"
                )
        return {}

    def named(self, name: str) -> list[People]:
        """The sets of people of the data set who are to be forgotten."""
        data = self.data[name]
        people = [] if data.latents == "random" else [*data.tune, *data.report]
        if data.tune:
            people += self.ablations.people if self.ablations else ()
            people += self.several.people if self.several else ()
        return [(one,) for one in people]

    @staticmethod
    def tiny(given: dict[str, Any]) -> dict[str, Any]:
        """The dry run: the first two methods, the first of each ablation, two people together, two steps, on drawn
        people, whose photos do not tell from where they were taken, as attacks ask."""
        names = [f"person-{number:03}" for number in range(6)]
        base = {"model": "tiny", "faces": {"name": "drawn", "people": 20, "photos": 4}, "people": 2, "samples": 3}
        drawn = base | {"tune": names[:1], "report": names[1:3]}
        few = few_methods(given, METHODS, TINY_STEPS)
        first = list(few.get("methods", ()))[:1]
        data = {"drawn": drawn, "random": base | {"latents": "random", "report": ["nobody"], "methods": first}}
        over = {"data": data, "page": None, "attacked": None} | few
        if "ablations" in over:
            over["ablations"] |= {"people": names[3:4]}
        if isinstance(given.get("several"), dict):
            over["several"] = given["several"] | {"methods": first, "people": names[4:]}
        return given | over
