"""MXNet's NDArray list (`.params`), read and written byte for byte; MXNet itself is not needed.

Little endian: u64 0x112, u64 0, u64 count; per array u32 magic, i32 storage (0 = dense; not in version 1), u32 axes,
i64 per axis, i32 device type, i32 device, i32 element type, the elements; then u64 count and per name u64 length and
the bytes.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError

MAGIC = struct.pack("<Q", 0x112)
"""First bytes of a file."""
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
TYPES = tuple(np.dtype(t) for t in ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8"))
"""Element types by MXNet's number."""


def read_params(path: Path) -> dict[str, Tensor]:
    """Names (such as `arg:conv1_weight`) and tensors in the order of the file.

    Raises EffaceError where the file is truncated or holds sparse, unnamed or very old (before 1.0) arrays.
    """
    data = path.read_bytes()
    try:
        reader = _Reader(data)
        magic, _, count = reader.take("<QQQ")
        if magic != 0x112:
            raise EffaceError(f"{path}: found no NDArray list, expected MXNet's .params format")
        arrays = [_array(reader, path) for _ in range(count)]
        (named,) = reader.take("<Q")
        names = [reader.bytes(reader.take("<Q")[0]).decode() for _ in range(named)]
    except (struct.error, UnicodeDecodeError) as error:
        raise EffaceError(f"{path}: ends or breaks off within an array; it may be truncated: fetch it again") from error
    if len(names) != len(arrays):
        raise EffaceError(f"{path}: found {len(arrays)} arrays and {len(names)} names, expected a name for each")
    return dict(zip(names, arrays, strict=True))


def params_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a `.params` file (arrays of version 2), in the order of `tensors`."""
    parts = [MAGIC, struct.pack("<QQ", 0, len(tensors))]
    for tensor in tensors.values():
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        shape = tensor.shape
        parts.append(struct.pack(f"<IiI{len(shape)}q", V2, 0, len(shape), *shape))
        parts.append(struct.pack("<iii", 1, 0, TYPES.index(array.dtype)) + array.tobytes())
    names = [name.encode() for name in tensors]
    parts.append(struct.pack("<Q", len(names)))
    parts.extend(struct.pack("<Q", len(name)) + name for name in names)
    return b"".join(parts)


class _Reader:
    """A position in the bytes; reading past the end raises struct.error."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def bytes(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise struct.error("past the end")
        self.at += length
        return self.data[self.at - length : self.at]

    def take(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))


def _array(reader: _Reader, path: Path) -> Tensor:
    (magic,) = reader.take("<I")
    if magic not in (V1, V2, V3) or (magic != V1 and reader.take("<i")[0] != 0):
        raise EffaceError(f"{path}: found a sparse array or an unknown version, expected dense arrays of version 1-3")
    (axes,) = reader.take("<I")
    shape = reader.take(f"<{axes}q")
    _, _, kind = reader.take("<iii")
    if not 0 <= kind < len(TYPES) or any(n < 0 for n in shape):
        raise EffaceError(f"{path}: found shape {shape} of element type {kind}, expected a dense array of numbers")
    count = int(np.prod(shape, dtype=object)) if shape else 1
    values = np.frombuffer(reader.bytes(count * TYPES[kind].itemsize), TYPES[kind])
    return torch.from_numpy(values.reshape(shape).copy())
