"""The only reader of pickles: torch checkpoints and InsightFace's verification sets. A pickle is a program; here it may
build tensors, or lists of bytes and booleans, and whatever else it asks for is refused by name and never called."""

import io
import pickle  # noqa: TID251 (the restricted reader is made of it)
import pickletools
import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.errors import EffaceError, line_of

WRAPPERS = ("state_dict", "model")
"""Keys under which a training checkpoint keeps the weights."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a torch file (zip or legacy format), on the CPU, names as they stand in the file. One that is
    wrapped as {"state_dict": ...} or {"model": ...} is unwrapped; groups {group: {name: ...}} become group.name.

    Raises EffaceError for what is truncated, wants to call anything but the making of tensors, or holds no state dict.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocol 4; what matters raises
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 (this is the reader)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error), "only tensors in a plain state dict") from error
    except Exception as error:  # a broken file: RuntimeError, EOFError, IndexError, OSError, KeyError, ...
        raise EffaceError(
            f"{path}: not a readable torch checkpoint ({line_of(error)}); it may be truncated: fetch it again"
        ) from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise EffaceError(f"{path}: found {_kind(content)}, expected a state dict: names and their tensors")
    if all(isinstance(value, Mapping) for value in content.values()):
        content = {f"{group}.{name}": value for group, held in content.items() for name, value in held.items()}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise EffaceError(f"{path}: found {_kind(value)} under {name!r}, expected a state dict: names and tensors")
    return dict(content)


def read_bin(path: Path) -> tuple[list[bytes], list[bool]]:
    """An InsightFace verification set (lfw.bin and the like; written by Python 2 or 3): 2n encoded pictures, of which
    2i and 2i+1 are a pair, and n times "the same person?".

    Raises EffaceError for any other content; nothing that the pickle names is executed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    try:
        content = _BytesUnpickler(io.BytesIO(data), encoding="bytes").load()
        pictures, same = content
        answers = same.data if isinstance(same, _Array) else same
        found = [_bytes(p) for p in pictures], [_bool(a) for a in answers]
    except _RefusedError as error:
        raise _refusal(path, f"GLOBAL {error}", "lists of bytes and of booleans") from error
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise EffaceError(
            f"{path}: not a readable verification set ({line_of(error)}); expected ([encoded pictures], [same?])"
        ) from error
    if len(found[0]) != 2 * len(found[1]):
        raise EffaceError(
            f"{path}: found {len(found[0])} pictures and {len(found[1])} answers, expected two pictures an answer"
        )
    return found


class _RefusedError(Exception):
    """The pickle asked for this name."""


class _Array:
    """Stands for a pickled numpy array: keeps its bytes, whatever its shape."""

    data: bytes = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.data = _bytes(state[-1])  # (version, shape, dtype, Fortran order?, bytes)


class _Dtype:
    """Stands for a pickled numpy dtype; only bytes and booleans are let through."""

    def __setstate__(self, state: Any) -> None:
        pass


def _dtype(name: str | bytes, *_: Any) -> _Dtype:
    text = name.decode() if isinstance(name, bytes) else name
    if text not in ("u1", "b1", "|u1", "|b1", "?"):
        raise _RefusedError(f"numpy.dtype({text!r})")
    return _Dtype()


def _latin1(text: str | bytes, _encoding: str | bytes = "latin1") -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin1")


def _from_buffer(data: Any, *_: Any) -> _Array:
    array = _Array()
    array.data = _bytes(data)
    return array


_STANDINS = {
    "numpy.ndarray": lambda *_: _Array(),
    "numpy.dtype": _dtype,
    "_codecs.encode": _latin1,  # how Python 3 writes bytes in protocol 2
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: _Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": lambda _dtype, data: _latin1(data) for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
"""Every name that a verification set may use, and our function that is called in its stead."""


class _BytesUnpickler(pickle.Unpickler):
    """Reads lists, tuples, bytes, numbers and byte arrays."""

    def find_class(self, module: str, name: str) -> Any:
        standin = _STANDINS.get(f"{module}.{name}")
        if standin is None:
            raise _RefusedError(f"{module}.{name}")
        return partial(standin)  # a fresh object: a pickle could set attributes on what it is given


def _bytes(value: Any) -> bytes:
    if isinstance(value, _Array):
        return value.data
    if isinstance(value, bytes | bytearray | str):
        return _latin1(value) if isinstance(value, str) else bytes(value)
    raise TypeError(f"found {_kind(value)} instead of bytes")


def _bool(value: Any) -> bool:
    if isinstance(value, bytes):  # a numpy boolean
        return value != b"\0"
    if isinstance(value, bool | int):
        return bool(value)
    raise TypeError(f"found {_kind(value)} instead of a boolean")


def _refusal(path: Path, message: str, expected: str) -> EffaceError:
    """One line about a pickle that was not let through."""
    found = re.search(r"GLOBAL (.+?)(?= whose| was not|\s*$|\n)", message)
    name = found.group(1) if found else _first_global(path)
    wish = f"the pickle wants to call {name}" if name else "the pickle has unknown instructions or is truncated"
    return EffaceError(f"{path}: {wish}, expected {expected}; refused, nothing was executed")


def _first_global(path: Path) -> str | None:
    """The first name that the pickle imports, read without executing it; None where there is none to be read."""
    strings: list[str] = []
    try:
        with open(path, "rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name in ("GLOBAL", "INST"):
                    return str(argument).replace(" ", ".")
                if operation.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if isinstance(argument, str):
                    strings.append(argument)
    except Exception:  # not a pickle to its end
        return None
    return None


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}" if value is not None else "nothing"
