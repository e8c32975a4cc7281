"""What a run is told. YAML, the command line and a service all end in `parse`, and so give the same errors."""

import dataclasses
import os
import re
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PlainValidator, PositiveInt, TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from efface import registry
from efface.errors import EffaceError
from efface.methods.anchors import Anchors

ENTRIES = ("model", "faces", "method", "judge", "retrained", "validation")
"""Keys that hold an entry of a registry."""

PATHS = ("path", "pairs", "weights", "base", "detector", "out", "start", "vgg", "linear")
"""Keys that hold a path."""

WEIGHTS = {
    "models.recognition": "the path of a checkpoint",
    "models.diffusion": "the folder of its weights, which this installation came without",
    "models.gan": "the folder of its weights, which this installation came without, or a file of efface convert",
}
"""What is expected of a model's weights where nothing was given."""


@dataclass(frozen=True)
class Named:
    """One entry of a registry with its fields filled in, for example the method `dispersion` with 200 steps."""

    name: str
    """The entry's name, which is its file's."""
    value: Any
    """The frozen dataclass."""
    weights: Path | None = None
    """Checkpoint file; models only."""

    def fields(self) -> dict[str, Any]:
        """The dataclass's fields and their values."""
        return {f.name: getattr(self.value, f.name) for f in dataclasses.fields(self.value)}

    def plain(self) -> dict[str, Any]:
        """As it stands in YAML: the name, the weights (but for those that come with efface), then the fields."""
        ships = self.weights is None or self.weights == getattr(self.value, "shipped", None)
        weights = {} if ships else {"weights": str(self.weights)}
        return {"name": self.name} | weights | {k: plain(v) for k, v in self.fields().items()}


def entry(kind: str, weights: bool = True) -> Any:
    """A pydantic type: a mapping with `name` and the named entry's own fields becomes a `Named`.

    weights: whether a model comes with its checkpoint.
    """
    return Annotated[Named, PlainValidator(lambda found: named(kind, found, weights))]


def named(kind: str, found: Any, weights: bool = True) -> Named:
    """A name, or a mapping as `entry` says, as a `Named`; for validators: what is wrong is a ValueError of pydantic."""
    fields = {"name": found} if isinstance(found, str) else found
    known = registry.names(kind)
    if not isinstance(fields, Mapping):
        raise PydanticCustomError("entry", "a mapping with `name` and the fields of that name")
    fields = dict(fields)
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in known:
        raise at("name", name, "one of: " + ", ".join(known))
    cls = registry.get(kind, name)
    checkpoint = None
    if kind.startswith("models") and weights:
        checkpoint = fields.pop("weights", cls.shipped)
        if not isinstance(checkpoint, str | Path):
            raise at("weights", checkpoint, WEIGHTS[kind])
    return Named(name, _validate(cls, fields), None if checkpoint is None else Path(checkpoint))


def attempts(kind: str) -> Any:
    """A pydantic type, what `attacks` says: `all`, or a list of names and of mappings as for a method."""

    def read(found: Any) -> tuple[Named, ...]:
        given = list(registry.names(kind)) if found == "all" else found
        if not isinstance(given, list | tuple):
            raise PydanticCustomError("attacks", "all, or a list of names; see `efface attacks`")
        attacks = tuple(named(kind, one) for one in given)
        if len({one.name for one in attacks}) < len(attacks):
            raise PydanticCustomError("attacks", "each attack once")
        return attacks

    return Annotated[tuple[Named, ...], PlainValidator(read)]


def part(cls: type[Any]) -> Any:
    """A pydantic type: a mapping of the dataclass's keys, and no others, becomes the dataclass."""

    def read(found: Any) -> Any:
        if not isinstance(found, Mapping):
            raise PydanticCustomError("part", "a mapping of keys and their values")
        return _validate(cls, found)

    return Annotated[cls, PlainValidator(read)]


def at(key: str, found: Any, expected: str) -> ValidationError:
    """A mistake at `key`, which pydantic reports below the key that is being validated."""
    detail = InitErrorDetails(
        type=PydanticCustomError("value", "{expected}", {"expected": expected}), loc=(key,), input=found
    )
    return ValidationError.from_exception_data("configuration", [detail])


def _validate(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    """An instance of the dataclass; a key that it does not have is a mistake."""
    known = [f.name for f in dataclasses.fields(cls)]
    for key, value in fields.items():
        if key not in known:
            raise at(str(key), value, "no such key here; the keys are: " + ", ".join(known))
    return TypeAdapter(cls).validate_python(dict(fields))


@dataclass(frozen=True, kw_only=True)
class AnyRun(ABC):
    """What every run is told: who is forgotten, from which model, by which method, and where the result goes."""

    model: Any
    """The model to unlearn from: `name`, `weights`, and the fields of `efface models NAME`."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos: `name` and the fields of `efface datasets NAME`."""
    forget: tuple[str, ...] = ()
    """Identities to forget, by their name in the data set."""
    retain: tuple[str, ...] = ()
    """Identities whose seen photos the method may use; empty: as the protocol divides the others (5 of 9)."""
    method: Any = None
    """The unlearning method: `name` and the fields of `efface methods NAME`."""
    detector: Path | None = None
    """Folder with the face detector's pnet.pt, rnet.pt and onet.pt; not needed for photos that are aligned."""
    judge: entry("models.recognition") | None = None  # pyright: ignore[reportInvalidTypeForm]
    """A second recogniser, never part of any loss, that scores the same faces."""
    attacks: Any = ()
    """Attempts to bring the forgotten back: `all`, or a list of names, each with its fields (`efface attacks NAME`)."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random draw."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the networks run; auto takes an accelerator if there is one."""
    out: Path = Path("efface-run")
    """Folder of the result; it must not exist yet."""

    def plain(self) -> dict[str, Any]:
        """As it stands in YAML: nothing but strings, numbers, lists and mappings."""
        return plain(self)


@dataclass(frozen=True, kw_only=True)
class RunConfig(AnyRun):
    """A run on a recogniser."""

    model: entry("models.recognition")  # pyright: ignore[reportInvalidTypeForm]
    method: entry("methods.recognition") | None = None  # pyright: ignore[reportInvalidTypeForm]
    attacks: attempts("attacks.recognition") = ()  # pyright: ignore[reportInvalidTypeForm]
    retrained: entry("models.recognition") | None = None  # pyright: ignore[reportInvalidTypeForm]
    """The reference trained without the forgotten people, where there is one."""
    kind: Literal["recognition"] = "recognition"
    """What kind of model is unlearned from."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig(AnyRun):
    """A run on an identity-conditioned diffusion model."""

    model: entry("models.diffusion")  # pyright: ignore[reportInvalidTypeForm]
    method: entry("methods.diffusion") | None = None  # pyright: ignore[reportInvalidTypeForm]
    attacks: attempts("attacks.diffusion") = ()  # pyright: ignore[reportInvalidTypeForm]
    anchor: part(Anchors) = field(default_factory=Anchors)  # pyright: ignore[reportInvalidTypeForm]
    """Who is drawn in place of the forgotten: the fields of `methods.anchors.Anchors`."""
    one_after_another: bool = False
    """Several people are forgotten one after another, each from the model that forgot the ones before."""
    changed_only: bool = False
    """Of the weights only the tensors that the method changed are written, to be laid over the original's."""
    draws: PositiveInt = 8
    """Pictures that are generated of each person, by each model."""
    people: PositiveInt = 20
    """Retained people, and held-out people, of whom pictures are generated, at most."""
    kind: Literal["diffusion"] = "diffusion"
    """What kind of model is unlearned from."""


@dataclass(frozen=True, kw_only=True)
class GanConfig(AnyRun):
    """A run on a GAN face generator."""

    model: entry("models.gan")  # pyright: ignore[reportInvalidTypeForm]
    method: entry("methods.gan") | None = None  # pyright: ignore[reportInvalidTypeForm]
    attacks: attempts("attacks.gan") = ()  # pyright: ignore[reportInvalidTypeForm]
    latents: Literal["photo", "random"] = "photo"
    """photo: of each person one photo is inverted, in the domain or out of it; random: `forget` names people who never
    existed, one latent drawn for each name (a generator with cameras only)."""
    photo: PositiveInt = 1
    """Which of the photos that a method may see it is given of each person to forget, from 1."""
    one_after_another: bool = False
    """Several people are forgotten one after another, each from the model that forgot the ones before."""
    people: PositiveInt = 20
    """Retained people, and held-out people, who are drawn, at most; look-alikes beside them."""
    samples: Annotated[int, Field(ge=2)] = 100
    """People who never existed, drawn to see how far the generator as a whole has moved."""
    views: Annotated[int, Field(ge=2)] = 31
    """Frames of the report's turntable, from yaw -45 to 45 degrees; a generator of pictures has none."""
    inversion_steps: PositiveInt = 450
    """Of the search for the latent of each photo, where the model has no encoder; PTI: 450."""
    kind: Literal["gan"] = "gan"
    """What kind of model is unlearned from."""


CONFIGS = {"recognition": RunConfig, "diffusion": DiffusionConfig, "gan": GanConfig}
"""What `kind` says -> what such a run is told."""


def plain(value: Any) -> Any:
    """A value as it stands in YAML."""
    if isinstance(value, Named):
        return value.plain()
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple) else value


def parse(given: Mapping[str, Any], source: str) -> RunConfig | DiffusionConfig | GanConfig:
    """The one validator. `source` names where `given` came from, for the error."""
    kind = given.get("kind", "recognition")
    if kind not in CONFIGS:
        raise EffaceError(f"{source}: kind: found {kind!r}, expected one of: {', '.join(CONFIGS)}")
    return parse_as(CONFIGS[kind], expanded(given, source), source)


def parse_as(cls: type[Any], given: Mapping[str, Any], source: str) -> Any:
    """An instance of another dataclass by the same validator; paths stay as they are (`expanded` completes them)."""
    try:
        return _validate(cls, given)
    except ValidationError as error:
        raise EffaceError(_one_line(error, source)) from error


def load(
    path: Path | None,
    settings: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    tiny: bool = False,
) -> RunConfig | DiffusionConfig | GanConfig:
    """Read the YAML file (if any), lay the command line's own options over it, then `--set a.b=c`, then validate.

    tiny: keep the method and its settings but run it for a few steps on drawn people and the tiny model.
    """
    given = read_yaml(path, settings, overrides)
    return parse(_tiny(given) if tiny else given, str(path) if path else "command line")


def load_recipe(
    path: Path | None,
    settings: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    tiny: bool = False,
) -> Named:
    """The same for a training: `name` says which recipe, the other keys are its fields.

    tiny: what the recipe itself says is its dry run is laid over everything.
    """
    given = read_yaml(path, settings, overrides)
    source = str(path) if path else "command line"
    name = given.get("name")
    if tiny and name in registry.names("recipes"):
        given |= registry.get("recipes", name).tiny
    try:
        return named("recipes", expanded(given, source))
    except ValidationError as error:
        raise EffaceError(_one_line(error, source)) from error


def read_yaml(
    path: Path | None, settings: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The YAML file, the command line's own options over it, then each `--set`."""
    given: dict[str, Any] = {} if path is None else _yaml(path)
    _merge(given, overrides or {})
    for setting in settings:
        _set(given, setting)
    return given


FEW = {"steps": 2, "batch": 2, "retained": 4, "measured": 2, "pictures": 4, "preserved": 4, "rounds": 1}
"""Fields of a method for models that draw in a dry run, where it has them."""


DRAWN = {
    "diffusion": {"anchor": {"choice": "closest"}, "draws": 2},
    "gan": {"photo": 1, "samples": 4, "views": 3},
}
"""What a dry run on a model that draws sets, by its kind."""


def _tiny(given: dict[str, Any]) -> dict[str, Any]:
    """The dry run of a configuration: seconds on one core, with nothing from outside."""
    given = {k: v for k, v in given.items() if k not in ("detector", "judge", "retrained", "retain")}
    draws = given.get("kind") in DRAWN
    invented = {"forget": given["forget"]} if given.get("latents") == "random" and "forget" in given else {}
    given |= {
        "model": {"name": "tiny"},
        "faces": {"name": "drawn"} | ({"people": 14, "photos": 6} if draws else {"people": 40}),
        "forget": ["person-000", "person-001"],
    } | invented
    if draws:
        given |= DRAWN[given["kind"]] | {"attacks": (), "people": 3}
    method, kind = given.get("method"), f"methods.{given.get('kind', 'recognition')}"
    method = {"name": method} if isinstance(method, str) else method
    if isinstance(method, dict) and kind in registry.KINDS and method.get("name") in registry.names(kind):
        has = {f.name for f in registry.describe(kind, method["name"]).fields}
        few = FEW if draws else {"steps": 5, "epochs": 1}
        given["method"] = method | {k: v for k, v in few.items() if k in has}
    return given


def dump(config: AnyRun | Named) -> str:
    """The configuration as YAML that `load` reads back."""
    return yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EffaceError(f"{path}: cannot be read as a configuration ({error}); give a YAML file") from error
    except yaml.YAMLError as error:
        raise EffaceError(f"{path}: found broken YAML ({' '.join(str(error).split())}); correct it") from error
    if not isinstance(found, dict):
        raise EffaceError(
            f"{path}: found {type(found).__name__}, expected a mapping of keys such as model, faces, forget"
        )
    return found


def _set(given: dict[str, Any], setting: str) -> None:
    """Lay one `a.b=value` over the mapping; the value is read as YAML."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise EffaceError(f"--set: found {setting!r}, expected key=value such as method.steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EffaceError(f"--set {key}: found {text!r}, expected a value as in YAML") from error
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    _merge(given, nested)


def _merge(given: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay `over` on `given`, key by key; another `name` drops the fields that belonged to the old one."""
    for key, value in over.items():
        old = given.get(key)
        if isinstance(old, str) and isinstance(value, Mapping) and key in ENTRIES:
            old = {"name": old}
        if (
            isinstance(old, dict)
            and isinstance(value, Mapping)
            and value.get("name", old.get("name")) == old.get("name")
        ):
            _merge(old, value)
            given[key] = old
        else:
            given[key] = dict(value) if isinstance(value, Mapping) else value


def expanded(value: Any, source: str, key: str = "") -> Any:
    """Paths that begin with $NAME or ~ get the environment's value; every other $ is a letter like any other."""
    if isinstance(value, Mapping):
        return {k: expanded(v, source, str(k)) for k, v in value.items()}
    if not isinstance(value, str) or key not in PATHS:
        return value
    named = re.match(r"\$(?:\{(\w+)\}|(\w+))", value)
    if named is None:
        return os.path.expanduser(value)
    name = named[1] or named[2]
    if name not in os.environ:
        raise EffaceError(f"{source}: found {value!r} but {name} is not set; set it to the folder it stands for")
    return os.environ[name] + value[named.end() :]


def _option(key: str) -> str:
    """How the command line says a key that has to be there."""
    return {"model": "--model NAME --weights FILE", "faces": "--faces FOLDER"}.get(key, f"--set {key}=...")


PLAINER = {
    "a valid tuple": "a list",
    "^a valid string$": "a text; put it in quotes",
    "^Input is not a valid path.*": "a path",
}
"""pydantic's words -> ours."""


def _one_line(error: ValidationError, source: str) -> str:
    """Source, key, what was found, what was expected: the first mistake, and how many more there are."""
    first, *more = error.errors()
    key = ".".join(str(part) for part in first["loc"]) or "configuration"
    others = f" (and {len(more)} more)" if more else ""
    if first["type"] == "value_error":  # the dataclass says itself what was found and what was expected
        return f"{source}: {key}: {first['msg'].removeprefix('Value error, ')}{others}"
    found = "nothing" if first["type"] == "missing" or first["input"] is None else repr(first["input"])[:80]
    expected = (
        f"it; give it in YAML or as {_option(key)}"
        if first["type"] == "missing"
        else re.sub(r"^Input should be ", "", first["msg"])
    )
    for said, better in PLAINER.items():
        expected = re.sub(said, better, expected)
    return f"{source}: {key}: found {found}, expected {expected}{others}"
