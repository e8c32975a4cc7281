"""ONNX files as such: one graph and the tensors it holds. The package `onnx` is imported when a file is read.

Format: https://onnx.ai/onnx/repo-docs/IR.html. A tensor is an initialiser or stands in a Constant node.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from efface.errors import EffaceError

OLDEST = 7
"""Lowest opset: before it, arithmetic broadcast by other rules."""


def load(path: Path) -> Any:
    """The `onnx.ModelProto` of a file.

    Raises EffaceError, in one line, for a file that is missing, truncated or no ONNX, of an opset below 7, or whose
    tensors lie in other files, and where the package is not installed.
    """
    if importlib.util.find_spec("onnx") is None:
        raise EffaceError("onnx is not installed; install it with: pip install 'efface[onnx]'")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_from_string(path.read_bytes())
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); expected an ONNX file") from error
    except (DecodeError, ValueError) as error:
        raise EffaceError(f"{path}: {_no_onnx(path)}") from error
    opset = opset_of(model)
    if not model.graph.node or not opset:
        raise EffaceError(f"{path}: {_no_onnx(path)}")
    if opset < OLDEST:
        raise EffaceError(f"{path}: found opset {opset}, expected {OLDEST} or newer; use onnx.version_converter")
    for name, tensor in stored(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise EffaceError(
                f"{path}: found tensors in other files ({name}), expected all in this one; write it again by "
                "onnx.save(onnx.load(PATH), NEW)"
            )
    return model


def _no_onnx(path: Path) -> str:
    if path.suffix == ".safetensors":
        return "found safetensors, expected ONNX, which holds the graph too; give the .onnx that was written beside it"
    return "found no ONNX graph: the file is truncated, damaged or of another format; fetch or export it again"


def opset_of(model: Any) -> int:
    """The version of the standard operators that the file asks for; 0 where it does not say."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def stored(model: Any) -> Iterator[tuple[str, Any]]:
    """(name, `onnx.TensorProto`) of every initialiser and of every tensor in a Constant node, which goes by the name
    of its output."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def tensors(model: Any, path: Path) -> dict[str, Tensor]:
    """Every tensor that the file holds, by name, in the file's own type. Raises EffaceError where the values of one are
    not as many as its shape says."""
    return {name: _tensor(tensor, name, path) for name, tensor in stored(model)}


def _tensor(tensor: Any, name: str, path: Path) -> Tensor:
    from onnx import numpy_helper

    try:
        array = np.array(numpy_helper.to_array(tensor))  # a copy: the file's bytes cannot be written to
        return torch.from_numpy(array)
    except (TypeError, ValueError, KeyError) as error:
        line = " ".join(str(error).split())
        raise EffaceError(f"{path}: tensor {name} cannot be read ({line}); fetch or export the file again") from error


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes: numbers, texts, lists of them; tensors as tensors."""
    from onnx import helper, numpy_helper

    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif attribute.HasField("t"):
            value = torch.from_numpy(np.array(numpy_helper.to_array(value)))
        found[attribute.name] = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    return found


def entry(model: Any, path: Path, size: int | None) -> tuple[str, int, int]:
    """Name of the input, photos in the example (as many as the file fixes, or 1) and the side in pixels.

    size: the side where the file leaves it open. Raises EffaceError for other inputs than photos.
    """
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in given]
    if len(inputs) != 1:
        names = ", ".join(i.name for i in inputs) or "none"
        raise EffaceError(f"{path}: found {len(inputs)} inputs ({names}), expected one, the photos; export it so")
    kind = inputs[0].type.tensor_type
    shape = [d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim]
    shown = [d.dim_value if d.dim_value > 0 else d.dim_param or "?" for d in kind.shape.dim]
    where = f"{path}: input {inputs[0].name} is [{', '.join(map(str, shown))}]"
    if kind.elem_type not in (1, 10):  # FLOAT, FLOAT16
        raise EffaceError(f"{where} of type {kind.elem_type}, expected float32 or float16; export it so")
    if kind.HasField("shape") and (len(shape) != 4 or shape[1] not in (3, None)):
        raise EffaceError(f"{where}, expected [n, 3, size, size]; export it so")
    batch, _, height, width = shape or [None] * 4
    fixed = {side for side in (height, width) if side}
    if len(fixed) > 1:
        raise EffaceError(f"{where}, expected a square; give a recogniser of square crops")
    if fixed and size not in (None, *fixed):
        raise EffaceError(f"{where}, so size {size} does not fit; leave size out")
    if not fixed and size is None:
        raise EffaceError(f"{where}, so its size is open; give the pixels of a side: --set model.size=112")
    return inputs[0].name, batch or 1, size or fixed.pop()


def exit(model: Any, path: Path) -> str:
    """Name of the output. Raises EffaceError for several."""
    names = [output.name for output in model.graph.output]
    if len(names) != 1:
        raise EffaceError(
            f"{path}: found {len(names)} outputs ({', '.join(names) or 'none'}), expected one, the embedding; cut the "
            "file: onnx.utils.extract_model"
        )
    return names[0]


def replace(tensor: Any, value: Tensor) -> None:
    """Put other values of the same type and shape into a `TensorProto`; everything else of it stays."""
    from onnx import numpy_helper

    packed = numpy_helper.from_array(value.contiguous().numpy())
    for field in ("float_data", "int32_data", "raw_data"):
        tensor.ClearField(field)
    tensor.raw_data = packed.raw_data


def add(model: Any, name: str, value: Tensor) -> None:
    """One more initialiser; where the file is so old that initialisers are inputs too, also an input."""
    from onnx import helper, numpy_helper

    tensor = numpy_helper.from_array(value.contiguous().numpy(), name)
    model.graph.initializer.append(tensor)
    if model.ir_version < 4:
        model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
