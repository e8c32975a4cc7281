"""What a benchmark of identity-conditioned diffusion models is told: the model, who is forgotten, methods with their
settings, ablations of one of them, attacks, and where the results go."""

from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from efface.benchmark.diffusion.choice import choose
from efface.benchmark.drawing.configuration import Ablations, Fewer, check_called, few_methods
from efface.benchmark.grids import People, check_apart, check_names, grids
from efface.config import attempts, entry, part
from efface.methods.anchors import Anchors

METHODS = "methods.diffusion"
TINY_STEPS = {"steps": 2, "batch": 4, "draws": 1, "retained": 4, "pictures": 4, "measured": 1}
"""Of the methods in a dry run."""


@dataclass(frozen=True, kw_only=True)
class Portraits:
    """A diffusion model, photos, and who is forgotten, each person in a run of their own. Paths that begin with $NAME
    are completed when they are used."""

    model: entry("models.diffusion")  # pyright: ignore[reportInvalidTypeForm]
    """The model to unlearn from."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos."""
    judge: entry("models.recognition") | None = None  # pyright: ignore[reportInvalidTypeForm]
    """A second recogniser, never part of any loss, that scores the same pictures."""
    detector: Path | None = None
    """Folder of the face detector; not needed for photos and pictures that are aligned."""
    anchor: part(Anchors) = field(default_factory=Anchors)  # pyright: ignore[reportInvalidTypeForm]
    """Who is drawn in place of the forgotten, for every method."""
    tune: Annotated[People, Field(min_length=1)]
    """People on whom settings are chosen, with the first seed."""
    report: Annotated[People, Field(min_length=1)]
    """People on whom the chosen setting is reported, with all seeds."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Seeds of a run: of the anchor, the method, and the noise that pictures are drawn from."""
    draws: PositiveInt = 4
    """Pictures that are drawn of each person."""
    people: PositiveInt = 12
    """Retained people, and held-out people, who are drawn, at most."""

    def more(self) -> dict[str, Any]:
        """What else a row's identity holds of it."""
        return {"draws": self.draws}


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """Attempts to bring the forgotten back, on the first people of `report` with the first seed, on all methods."""

    attacks: attempts("attacks.diffusion")  # pyright: ignore[reportInvalidTypeForm]
    """Each with its budget."""
    people: PositiveInt = 2
    """The first of `report`."""


@dataclass(frozen=True, kw_only=True)
class DiffusionBenchmark:
    """Methods × people × seeds."""

    data: Annotated[dict[str, part(Portraits)], Field(min_length=1)]  # pyright: ignore[reportInvalidTypeForm]
    """Models and people by a name of one's own, which files and tables are called by."""
    methods: grids(METHODS)  # pyright: ignore[reportInvalidTypeForm]
    """Method -> its fields, a list where several values are tried; as many settings for each method."""
    fewer: part(Fewer) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing: every method is reported on everybody."""
    ablations: part(Ablations) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing leaves them out."""
    attacked: part(Attacked) | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Nothing leaves them out."""
    results: Path
    """Folder of the results: one file for each row of the tables."""
    page: Path | None = None
    """Markdown page whose tables are written between its markers, and its figures beside it; nothing writes none."""
    kind: Literal["diffusion"] = "diffusion"
    """What kind of model is unlearned from."""

    several: ClassVar[None] = None
    choose: ClassVar = staticmethod(choose)

    def check(self, source: str) -> None:
        """Raise EffaceError for what one key says of another."""
        ablated = self.ablations
        called = {"fewer.methods": self.fewer.methods if self.fewer else ()}
        check_names(self.data, source)
        for name, data in self.data.items():
            check_apart(data.report, data.tune, f"{source}: data.{name}.report")
            check_apart(ablated.people if ablated else (), data.tune, f"{source}: ablations.people")
        check_called(source, self.methods, called, ablated)

    def methods_on(self, data: str) -> tuple[str, ...]:
        """Methods that are reported on a data set."""
        return tuple(self.methods)

    def fewer_on(self, data: str) -> Fewer | None:
        """Who is reported on fewer people there."""
        return self.fewer

    def chosen_on(self, data: str) -> str:
        """The data set on which the settings are chosen that are reported there."""
        return data

    def without(self, data: Container[str]) -> dict[str, Any]:
        """What falls away, by key, where only these data sets are kept."""
        return {}

    def named(self, name: str) -> list[People]:
        """The sets of people who are to be forgotten in a data set."""
        data = self.data[name]
        return [(one,) for one in (*data.tune, *data.report, *(self.ablations.people if self.ablations else ()))]

    @staticmethod
    def tiny(given: dict[str, Any]) -> dict[str, Any]:
        """The dry run: the first two methods, the first of `fewer` and of each ablation, two steps, on drawn people."""
        names = [f"person-{number:03}" for number in range(4)]
        drawn = {
            "model": "tiny", "faces": {"name": "drawn", "people": 20, "photos": 4}, "anchor": {"choice": "closest"},
            "tune": names[:1], "report": names[1:3], "draws": 2, "people": 2,
        }  # fmt: skip
        over = {"data": {"drawn": drawn}, "page": None} | few_methods(given, METHODS, TINY_STEPS)
        if "ablations" in over:
            over["ablations"] |= {"people": names[3:]}
        if isinstance(given.get("attacked"), dict):
            over["attacked"] = given["attacked"] | {"attacks": [{"name": "halo", "cosines": [1, 0.5]}], "people": 1}
        return given | over
