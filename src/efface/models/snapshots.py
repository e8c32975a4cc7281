"""NVIDIA's network snapshots: the pickles that StyleGAN2-ADA and EG3D are published in. They carry the source text of
every class and run it when Python loads them; here nothing is executed and nothing of theirs is imported.

The content is a dict {"G": ..., "D": ..., "G_ema": ..., ...}. A network and most of its parts are calls of
`torch_utils.persistence._reconstruct_persistent_obj` on {"type": "class", "version", "module_src", "class_name",
"state"}, state being the `__dict__` of a torch module: `_parameters`, `_buffers`, `_modules`, `_init_args`,
`_init_kwargs` and plain attributes. Tensors are views of storages, each a torch file (the format before zip) in itself.
"""

import hashlib
import io
import json
import math
import mmap
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor

import efface
from efface.errors import EffaceError, line_of
from efface.models import unpickling
from efface.models.pickles import refusal
from efface.models.unpickling import Array, Name, Record, RefusedError, shown
from efface.models.weights import RESERVED

NETWORK = "G_ema"
"""What is read of a snapshot: the generator with averaged weights, which the published pictures are drawn by."""

NAMES = {
    "eg3d": ("backbone.mapping.fc0.weight", "backbone.synthesis.b4.const", "decoder.net.0.weight"),
    "stylegan2": ("mapping.fc0.weight", "synthesis.b4.const"),
}
"""Tensors by which a network is told from others."""

ARGUMENTS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
"""What the arguments are called that both generators take first."""

EXPECTED = f"a snapshot of StyleGAN2-ADA or EG3D: a dict with the generator under {NETWORK!r}"

DEEPEST, MOST, LONGEST = 32, 10_000, 1000
"""Bounds on modules and on the header's values: one in another, in all, and characters of one; in a published EG3D some
120 modules are six deep."""


OVERHEAD = 100
"""Bytes that a tensor takes in a file beside its numbers and its name, at least."""


@dataclass(frozen=True)
class Snapshot:
    """The generator of a snapshot."""

    tensors: dict[str, Tensor]
    """Under their published names, in the state dict's order, as stored, on the CPU."""
    header: dict[str, str]
    """What loading needs: `network` (stylegan2 or eg3d), `class`, and as JSON `arguments` (the constructor's),
    `attributes` (the module's own, such as rendering_kwargs and neural_rendering_resolution) and, of EG3D, `plane_axes`
    [3, 3, 3]; further `origin`, `licence` and `source` (the sha256 of the file)."""
    resolution: int
    """Pixels of a side of its pictures."""
    parameters: int
    """Numbers in the tensors that are no buffers."""


def read(path: Path) -> Snapshot:
    """The averaged generator of a snapshot, read without executing anything.

    Raises EffaceError, in one line, for a file that is missing, truncated, hostile or of another kind.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            if not size:
                raise EffaceError(f"{path}: found an empty file, expected {EXPECTED}")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found = _content(path, cast(IO[bytes], content))
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); expected a network pickle") from error
    generator = found.get(NETWORK) if isinstance(found, dict) else None
    if not isinstance(generator, Record):
        raise EffaceError(f"{path}: found {_kind(found)}, expected {EXPECTED}")
    try:
        modules = list(_modules(generator))
        entries = list(_tensors(modules, size))
        tensors = {name: tensor for name, tensor, _ in entries}
        network = next((network for network, names in NAMES.items() if all(n in tensors for n in names)), None)
        if network is None:
            few = ", ".join(map(shown, list(tensors)[:3])) or "none"
            raise EffaceError(
                f"{path}: found {NETWORK} of class {shown(generator.name)} with tensors {few}, ..., expected StyleGAN2 "
                "(mapping.fc0.weight, synthesis.b4.const, ...) or EG3D (the same under backbone., decoder.*, ...)"
            )
        resolution, told = _told(network, generator.state, dict(modules))
    except EffaceError:
        raise
    except Exception as error:
        raise _broken(path, error) from error
    header = {
        "network": network,
        "class": shown(generator.name),
        **told,
        "origin": f"converted from {path.name.encode(errors='replace').decode()}",
        "licence": "that of the converted file",
        "source": digest,
        "efface": efface.__version__,
    }
    return Snapshot(tensors, header, resolution, sum(t.numel() for _, t, parameter in entries if parameter))


def _content(path: Path, stream: IO[bytes]) -> Any:
    start = stream.read(4)
    stream.seek(0)
    if start == b"PK\x03\x04":
        raise EffaceError(f"{path}: found a torch checkpoint or another zip file, expected {EXPECTED}")
    try:
        return unpickling.load(stream, _KNOWN, classes=True)
    except RefusedError as error:
        raise refusal(path, str(error), "a network pickle, which only builds tensors and modules") from error
    except Exception as error:  # a broken or hostile pickle may raise anything
        raise _broken(path, error) from error


def _kind(content: Any) -> str:
    if isinstance(content, Record):
        return f"an object of class {shown(content.name)}"
    if not isinstance(content, dict):
        return f"a value of type {type(content).__name__}"
    keys = ", ".join(shown(key) if isinstance(key, str) else "?" for key in list(content)[:5])
    return f"a dict with {keys or 'nothing'} in it" + (f", {NETWORK} being no network" if NETWORK in content else "")


def _broken(path: Path, error: Exception) -> EffaceError:
    return EffaceError(
        f"{path}: not a readable network pickle ({shown(line_of(error))}); it may be truncated: fetch it again"
    )


def _persistent(meta: Any) -> Record:
    """A network or a part of it; its source text is dropped unread."""
    if meta.get("type") != "class" or not isinstance(meta["class_name"], str):
        raise ValueError("a persistent object that is no class")
    return Record(meta["class_name"], (), meta["state"])


@dataclass(frozen=True)
class _Storage:
    """What a persistent identifier stands for: so many elements, which follow in the file."""

    dtype: torch.dtype
    count: int


_TYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}


def _announced(identifier: Any) -> _Storage:
    kind, name, _key, _device, count, *view = identifier
    if kind != "storage" or not isinstance(name, Name) or not isinstance(count, int) or any(view):
        raise ValueError("a torch file that holds another thing than one storage")
    return _Storage(_TYPES[name.dotted], count)


def _storage(data: bytes) -> Tensor:
    """The elements of a storage, flat, in the memory of `data`: a torch file of the format before zip.

    torch.load would do, but it makes room for as many elements as the file claims, and leaves what was in that memory
    where the file does not list the storage.
    """
    stream = io.BytesIO(data)
    magic, version, system = (unpickling.load(stream, {}) for _ in range(3))
    if magic != 0x1950A86A20F9469CFC6C or version != 1001 or system["little_endian"] is not True:
        raise ValueError("a storage that is no little-endian torch file of version 1001")
    storage = unpickling.load(stream, dict.fromkeys(_TYPES), persistent=_announced)
    keys = unpickling.load(stream, {})
    if not isinstance(storage, _Storage) or len(keys) != 1:
        raise ValueError("a torch file that holds another thing than one storage")
    (count,) = struct.unpack("<q", stream.read(8))
    left = len(data) - stream.tell()
    if count != storage.count or count * storage.dtype.itemsize != left:
        raise ValueError(f"a storage of {storage.count} elements, {storage.dtype}, in {left} bytes")
    if not count:
        return torch.empty(0, dtype=storage.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it must not be written to, which nobody does
        return torch.frombuffer(data, dtype=storage.dtype, offset=stream.tell())


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """torch._utils._rebuild_tensor_v2: a view of a storage."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > 8 or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor whose size and stride do not fit")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else offset
    if count > storage.numel() or last >= max(storage.numel(), 1):
        raise ValueError(f"a tensor beyond its storage of {storage.numel()} elements")
    return storage.as_strided(size, stride, offset)


_KNOWN: unpickling.Known = {
    **unpickling.NUMPY,
    "collections.OrderedDict": unpickling.mapping,
    "dnnlib.util.EasyDict": unpickling.mapping,
    "builtins.set": unpickling.members,
    "__builtin__.set": unpickling.members,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
    "torch.storage._load_from_bytes": _storage,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
}
"""Every function that a snapshot may call, and ours in its stead."""


def _modules(root: Record) -> Iterator[tuple[str, dict[str, Any]]]:
    """(prefix of its names, state) of a module and all that are in it, in the state dict's order."""
    waiting, left = [("", root)], MOST
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, Record) or not isinstance(module.state, dict):
            raise ValueError(f"no module under {prefix or NETWORK}")
        yield prefix, module.state
        if prefix.count(".") >= DEEPEST:
            raise ValueError(f"modules more than {DEEPEST} deep")
        inner = module.state.get("_modules", {})
        left -= len(inner)
        if left < 0:
            raise ValueError(f"more than {MOST} modules")
        waiting += [(f"{prefix}{_part(n)}.", m) for n, m in reversed(inner.items()) if m is not None]


def _tensors(modules: list[tuple[str, dict[str, Any]]], size: int) -> Iterator[tuple[str, Tensor, bool]]:
    """(full name, copy, whether it is a parameter) of parameters and of the buffers that a state dict has.

    size: bytes of the file, which they and their names must not exceed in all: one that is stored once may be in a
    thousand modules, empty or not.
    """
    for prefix, state in modules:
        left_out = state.get("_non_persistent_buffers_set", frozenset())
        if not isinstance(left_out, set | frozenset):
            raise ValueError(f"names of buffers in a value of type {type(left_out).__name__}")
        groups = (state.get("_parameters", {}), True), (state.get("_buffers", {}), False)
        for name, tensor, parameter in ((n, t, kind) for group, kind in groups for n, t in group.items()):
            full = prefix + _part(name)
            if not isinstance(tensor, Tensor | None):
                raise ValueError(f"no tensor under {full}")
            found = None if name in left_out and not parameter else tensor
            size -= 1 if found is None else found.numel() * found.itemsize + len(full) + OVERHEAD
            if size < 0:
                raise ValueError("tensors of more bytes than the file has")
            if found is not None:
                yield full, found.clone(memory_format=torch.contiguous_format), parameter


def _part(name: Any) -> str:
    if not isinstance(name, str) or not re.fullmatch(r"\w{1,100}", name, re.ASCII):
        raise ValueError("a name that is no word")
    if name == RESERVED:
        raise ValueError(f"the name {name}, under which safetensors files keep their header")
    return name


def _told(network: str, state: dict[str, Any], states: Mapping[str, dict[str, Any]]) -> tuple[int, dict[str, str]]:
    """(resolution, what the header says of how the network was made). state: the generator's; states: all modules'."""
    given = state.get("_init_args", ())
    if len(given) > len(ARGUMENTS):
        raise ValueError(f"{len(given)} positional arguments where {len(ARGUMENTS)} are known")
    arguments = dict(zip(ARGUMENTS, given, strict=False)) | state.get("_init_kwargs", {})
    attributes = {n: v for n, v in state.items() if isinstance(n, str) and not n.startswith("_") and n != "training"}
    resolution = attributes.get("img_resolution", arguments.get("img_resolution"))
    if type(resolution) is not int:
        raise ValueError("no img_resolution among the generator's arguments")
    told = {"arguments": _json(arguments), "attributes": _json(attributes)}
    if network == "eg3d" and "plane_axes" in states.get("renderer.", {}):
        told["plane_axes"] = _json(states["renderer."]["plane_axes"])
    return resolution, told


def _json(value: Any) -> str:
    left = MOST

    def plain(value: Any, depth: int) -> Any:
        nonlocal left
        if isinstance(value, Array):
            value = value.numbers()
        # an axis of length 0 has no numbers, but as many lists as the ones before it are long
        left -= math.prod(max(n, 1) for n in value.shape) if isinstance(value, np.ndarray | Tensor) else 1
        if left < 0 or depth > DEEPEST:
            raise ValueError(f"arguments of more than {MOST} values or more than {DEEPEST} deep")
        if isinstance(value, np.ndarray | Tensor):
            value = value.tolist()
        if isinstance(value, dict):
            return {_text(k): plain(v, depth + 1) for k, v in value.items()}
        if isinstance(value, set | frozenset):
            value = sorted(value, key=repr)
        if isinstance(value, list | tuple):
            return [plain(v, depth + 1) for v in value]
        if value is None or isinstance(value, bool) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, int) and abs(value) < 2**63:
            return value
        return _text(value)

    return json.dumps(plain(value, 0), allow_nan=False)


def _text(value: Any) -> str:
    """What is no plain value, in words: of classes and functions the name."""
    if isinstance(value, Record | Name):
        return shown(value.name if isinstance(value, Record) else value.dotted)
    if not isinstance(value, str):
        value = repr(value) if value is None or isinstance(value, float | bytes | int) else type(value).__name__
    if len(value) > LONGEST:
        raise ValueError(f"an argument of {len(value)} characters")
    return value
