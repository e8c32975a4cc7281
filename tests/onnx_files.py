"""ONNX files for tests: exports of our networks, small graphs written as text, float16, and onnxruntime as judge."""

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper, parser
from torch import Tensor, nn

from efface import registry
from efface.models.recogniser import Recogniser


def registered(name: str) -> Recogniser:
    """A registered recogniser in its smallest form; `onnx`: from an export of `tiny`."""
    if name == "onnx":
        return _from_file()
    return registry.get("models.recognition", name)(**({"depth": 18} if name == "iresnet" else {}))


@functools.cache
def _from_file() -> Recogniser:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.onnx"
        export(registered("tiny").build(), path, 40)
        return registry.get("models.recognition", "onnx")().of(path)


def export(network: nn.Module, path: Path, size: int, opset: int = 17, folded: bool = False, **options: Any) -> Path:
    """Export by torch. folded: BatchNorms are folded into convolutions, constants computed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(1, 3, size, size),), path, dynamo=False, opset_version=opset,
            input_names=["photo"], output_names=["embedding"], do_constant_folding=folded,
            training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE, **options,
        )  # fmt: skip
    return path


def written(
    path: Path, nodes: str, opset: int = 13, shape: str = "1,3,8,8", held: dict[str, Any] | None = None,
    outputs: str = "float[1,5] y", **shapes: tuple[int, ...],
) -> Path:  # fmt: skip
    """A graph in ONNX's text form from `x` to `y`; of `shapes` normal initialisers are drawn, `held` are given."""
    text = f'<ir_version: 8, opset_import: ["": {opset}, "odd": 1]> g (float[{shape}] x) => ({outputs}) {{ {nodes} }}'
    model = parser.parse_model(text)
    drawn = np.random.default_rng(0)
    arrays = {n: drawn.normal(size=s, scale=0.3).astype(np.float32) for n, s in shapes.items()}
    arrays |= {n: np.asarray(v) for n, v in (held or {}).items()}
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
    path.write_bytes(model.SerializeToString())
    return path


def halved(path: Path, new: Path) -> Path:
    """The same file with float16 throughout: tensors, input and output."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16), tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.t.data_type == onnx.TensorProto.FLOAT:
                array = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    new.write_bytes(model.SerializeToString())
    return new


def computed(path: Path, x: Tensor) -> Tensor:
    """What onnxruntime makes of inputs [n, 3, size, size], one after the other: float32 [n, ...]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    entry = session.get_inputs()[0]
    kind = np.float16 if "float16" in entry.type else np.float32
    parts = [session.run(None, {entry.name: one[None].numpy().astype(kind)})[0] for one in x]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))
