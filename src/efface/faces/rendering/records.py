"""Records of photos as lines of JSON and as arrays. Both round to the same digits, so that they read back equal."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from efface.errors import EffaceError
from efface.faces.rendering.record import PhotoRecord

SHAPES = {"camera": (25,), "landmarks": (68, 2), "five": (5, 2), "alignment": (2, 3)}
"""Fields that are float32 arrays."""
DIGITS = {"camera": 6, "landmarks": 2, "five": 2, "alignment": 6, "expression": 3, "light": 4}
"""Digits after the point: a hundredth of a pixel, a millionth of the picture's side, and so on."""
LIGHT = {"key": 6, "fill": 6, "ambient": 3}
"""Numbers of each light: direction and RGB strength, or RGB strength alone."""
WHOLE = {"landmarks": "landmarks_x100", "expression": "expression_x1000"}
"""Arrays that a pack keeps as whole multiples of the last digit, and what they are called there: half the bytes."""
NAMES = "expressions"
"""Key of the arrays' metadata that names the columns of `expression`, as a JSON list."""


def photo_name(record: PhotoRecord) -> str:
    """Name of the photo in its data set, as `person-017/03.jpg`."""
    return f"{record.person}/{record.photo:02d}.jpg"


def to_line(record: PhotoRecord) -> str:
    """One line of JSON, with no line break."""
    found: dict[str, Any] = {"person": record.person, "photo": record.photo}
    found |= {name: _rounded(name, getattr(record, name)) for name in SHAPES}
    weights = {name: _rounded("expression", weight) for name, weight in sorted(record.expression.items())}
    found["expression"] = {name: weight for name, weight in weights.items() if weight}
    found["light"] = {name: _rounded("light", record.light[name]) for name in LIGHT}
    found["glasses"] = bool(record.glasses)
    return json.dumps(found, separators=(",", ":"), allow_nan=False)


def from_line(line: str | bytes, where: str) -> PhotoRecord:
    """The record of a line. where: what to call it in the error. Raises EffaceError where it is no record."""
    try:
        found = json.loads(line)
        arrays = {name: np.array(found[name], np.float32) for name in SHAPES}
        _check(arrays)
        return PhotoRecord(
            person=_of(str, found["person"]),
            photo=_of(int, found["photo"]),
            expression={_of(str, k): float(v) for k, v in found["expression"].items()},
            light={name: _numbers(found["light"][name], count) for name, count in LIGHT.items()},
            glasses=_of(bool, found["glasses"]),
            **arrays,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EffaceError(f"{where}: found no record of a photo ({error!r}), expected one; render it again") from error


def to_arrays(records: Sequence[PhotoRecord], expressions: Sequence[str]) -> tuple[dict[str, np.ndarray], dict]:
    """The records as arrays in their order, and the metadata that reading them back needs. Person and photo are left
    to the names of the pictures."""
    arrays: dict[str, np.ndarray] = {
        name: np.array([_rounded(name, getattr(record, name)) for record in records], np.float32) for name in SHAPES
    }
    weights = [[_rounded("expression", record.expression.get(name, 0.0)) for name in expressions] for record in records]
    arrays["expression"] = np.array(weights, np.float32)
    for name, called in WHOLE.items():
        whole = np.rint(arrays.pop(name).astype(np.float64) * 10 ** DIGITS[name])
        arrays[called] = whole.astype(np.int16 if np.abs(whole).max(initial=0) < 2**15 else np.int32)
    arrays["light"] = np.array([_rounded("light", [x for n in LIGHT for x in r.light[n]]) for r in records], np.float32)
    arrays["glasses"] = np.array([record.glasses for record in records], np.uint8)
    return arrays, {NAMES: json.dumps(list(expressions))}


def from_arrays(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], names: Sequence[str], where: str
) -> list[PhotoRecord]:
    """The records that `to_arrays` took. names: the pictures' names in their order. Raises EffaceError where the
    arrays are others or do not fit the names."""
    try:
        expressions = json.loads(metadata[NAMES])
        arrays = dict(arrays)
        for name, called in WHOLE.items():
            arrays[name] = (arrays[called] / 10 ** DIGITS[name]).astype(np.float32)
        ends = np.cumsum(list(LIGHT.values()))
        shapes = SHAPES | {"expression": (len(expressions),), "light": (int(ends[-1]),), "glasses": ()}
        for name, shape in shapes.items():
            if arrays[name].shape != (len(names), *shape):
                raise ValueError(f"{name} of shape {arrays[name].shape}, expected {(len(names), *shape)}")
        _check({name: arrays[name] for name in SHAPES})
        found = []
        for i, name in enumerate(names):
            person, photo = name.removesuffix(".jpg").split("/")
            weights, lights = (arrays[n][i].astype(float) for n in ("expression", "light"))
            parts = np.split(lights.round(DIGITS["light"]), ends[:-1])
            found.append(
                PhotoRecord(
                    person=person,
                    photo=int(photo),
                    expression={
                        expressions[j]: round(float(weights[j]), DIGITS["expression"]) for j in np.flatnonzero(weights)
                    },
                    light={light: part.tolist() for light, part in zip(LIGHT, parts, strict=True)},
                    glasses=bool(arrays["glasses"][i]),
                    **{name: arrays[name][i] for name in SHAPES},
                )
            )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EffaceError(f"{where}: not the records of the photos beside it ({error}); render both again") from error
    return found


def _rounded(field: str, value: Any) -> Any:
    """A number or nested lists of numbers, with the field's digits and no -0."""
    return (np.round(np.asarray(value, np.float64), DIGITS[field]) + 0.0).tolist()


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.shape[-len(SHAPES[name]) :] != SHAPES[name] or not np.isfinite(array).all():
            raise ValueError(f"{name} of shape {array.shape}, expected {SHAPES[name]}, all finite")


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"found {value!r}, expected {kind.__name__}")
    return value


def _numbers(value: Any, count: int) -> list[float]:
    if len(value) != count:
        raise ValueError(f"found {len(value)} numbers of light, expected {count}")
    return [float(v) for v in value]
