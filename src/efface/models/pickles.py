"""Pickles of tensors and of pictures: torch checkpoints and InsightFace's verification sets. A pickle is a program;
here it may build tensors, or lists of bytes and booleans. Whatever else it asks for is refused by name, never called.
Pickles of whole networks: models/snapshots.py."""

import io
import pickle  # noqa: TID251 (for what torch raises)
import pickletools
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface.errors import EffaceError, line_of
from efface.models import unpickling
from efface.models.unpickling import NUMPY, Array, Dtype, RefusedError, latin1

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
        raise refusal(path, _wish(path, str(error)), "only tensors in a plain state dict") from error
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
        pictures, same = unpickling.load(io.BytesIO(data), NUMPY)
        answers = _bytes(same) if isinstance(same, Array) else same
        found = [_bytes(p) for p in pictures], [_bool(a) for a in answers]
    except RefusedError as error:
        raise refusal(path, str(error), "lists of bytes and of booleans") from error
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise EffaceError(
            f"{path}: not a readable verification set ({line_of(error)}); expected ([encoded pictures], [same?])"
        ) from error
    if len(found[0]) != 2 * len(found[1]):
        raise EffaceError(
            f"{path}: found {len(found[0])} pictures and {len(found[1])} answers, expected two pictures an answer"
        )
    return found


def _bytes(value: Any) -> bytes:
    if isinstance(value, Array):
        if not isinstance(value.dtype, Dtype) or value.dtype.name not in ("u1", "b1", "|u1", "|b1", "?"):
            raise RefusedError(f"wants to call numpy.dtype({getattr(value.dtype, 'name', None)!r})")
        value = value.data
    if isinstance(value, bytes | bytearray | str):
        return latin1(value)
    raise TypeError(f"found {_kind(value)} instead of bytes")


def _bool(value: Any) -> bool:
    if isinstance(value, Array):  # a numpy boolean
        return _bytes(value) != b"\0"
    if isinstance(value, bool | int):
        return bool(value)
    raise TypeError(f"found {_kind(value)} instead of a boolean")


def refusal(path: Path, wish: str, expected: str) -> EffaceError:
    """One line about a pickle that was not let through. wish: a verb and its object."""
    return EffaceError(f"{path}: the pickle {wish}, expected {expected}; refused, nothing was executed")


def _wish(path: Path, message: str) -> str:
    """What torch's message, or else the pickle itself, says that it wants."""
    found = re.search(r"GLOBAL (.+?)(?= whose| was not|\s*$|\n)", message)
    name = found.group(1) if found else _first_global(path)
    return f"wants to call {name}" if name else "has unknown instructions or is truncated"


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
