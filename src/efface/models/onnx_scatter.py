"""The module of models/scatter.py in an ONNX graph: appended behind the embedding, found again, taken away.

Its nodes, and what they compute, are named `efface_scatter/...`, its tensors as in the torch network. They are computed
in float32, also in a float16 graph. A normalisation that stands at the graph's end stays behind them.
"""

from pathlib import Path
from typing import Any

from torch import ones, tensor

from efface.errors import EffaceError
from efface.models import onnx_file, scatter

MARK = f"{scatter.CHILD}/"
"""What the names of its nodes, and of what they compute, begin with."""
BEFORE = f"{MARK}embedding"
"""The embedding that enters the module."""


def append(model: Any, embedding: str, module: scatter.Scatter) -> None:
    """Put the module's nodes behind what makes the tensor `embedding`; whatever took that takes the module's output."""
    from onnx import TensorProto, helper

    kind = _type(model, embedding)
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == embedding:
                node.output[i] = BEFORE
    state = module.state_dict()
    people, size = state["gate.weight"].shape
    constants = {"sizes": ones(size, 1), "people": ones(people, 1), "one": ones(1), "tiny": tensor([scatter.TINY])}
    for name, value in ({MARK + n: t for n, t in constants.items()} | module.tensors()).items():
        onnx_file.add(model, name, value.detach().cpu().float())
    nodes = []

    def made(op: str, output: str, *inputs: str, **facts: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [output], name=f"{MARK}{op}{len(nodes)}", **facts))
        return output

    def affine(part: str, x: str) -> str:
        names = (f"{scatter.PREFIX}{part}.weight", f"{scatter.PREFIX}{part}.bias")
        return made("Gemm", f"{MARK}{part}", x, *names, transB=1)

    y = BEFORE if kind == TensorProto.FLOAT else made("Cast", f"{MARK}float", BEFORE, to=TensorProto.FLOAT)
    squared = made("MatMul", f"{MARK}squared", made("Mul", f"{MARK}squares", y, y), f"{MARK}sizes")
    length = made("Sqrt", f"{MARK}length", squared)
    unit = made("Div", f"{MARK}unit", y, made("Add", f"{MARK}not0", length, f"{MARK}tiny"))
    summed = made("MatMul", f"{MARK}summed", made("Relu", f"{MARK}gates", affine("gate", unit)), f"{MARK}people")
    over = made("Relu", f"{MARK}over", made("Sub", f"{MARK}less1", summed, f"{MARK}one"))
    opened = made("Sub", f"{MARK}opened", summed, over)
    sines = made("Sin", f"{MARK}sines", affine("waves", unit))
    scattered = made("Mul", f"{MARK}scattered", affine("mix", sines), length)
    moved = made("Mul", f"{MARK}moved", made("Sub", f"{MARK}difference", scattered, y), opened)
    if kind == TensorProto.FLOAT:
        made("Add", embedding, y, moved)
    else:
        made("Cast", embedding, made("Add", f"{MARK}sum", y, moved), to=kind)
    old = list(model.graph.node)
    at = next(i for i, node in enumerate(old) if BEFORE in node.output) + 1
    _replace(model.graph.node, [*old[:at], *nodes, *old[at:]])
    for key, value in module.facts().items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def take_away(model: Any, path: Path) -> None:
    """Remove the module's nodes, tensors and metadata, if there are any. Raises EffaceError where the file says that
    there is a module and the nodes are not as they were written."""
    said = any((entry.key, entry.value) == ("module", scatter.NAME) for entry in model.metadata_props)
    own = [node for node in model.graph.node if node.name.startswith(MARK)]
    makers = [node for node in model.graph.node if BEFORE in node.output]
    if not said and not own and not makers:
        return
    outputs = [name for node in own for name in node.output if not name.startswith(MARK)]
    if not said or len(makers) != 1 or len(outputs) != 1:
        raise EffaceError(
            f"{path}: found parts of a module {scatter.NAME} alone, expected its nodes {MARK}* and `module` in the "
            "metadata; give the file as efface wrote it"
        )
    maker = makers[0]
    renamed = [outputs[0] if name == BEFORE else name for name in maker.output]
    del maker.output[:]
    maker.output.extend(renamed)
    _replace(model.graph.node, [node for node in model.graph.node if not node.name.startswith(MARK)])
    for held in (model.graph.initializer, model.graph.input):
        _replace(held, [one for one in held if not one.name.startswith((MARK, scatter.PREFIX))])
    facts = ("module", "module_sizes", "module_statement")
    _replace(model.metadata_props, [entry for entry in model.metadata_props if entry.key not in facts])


def _type(model: Any, name: str) -> int:
    """Element type of a computed tensor, as ONNX infers it; that of the output where it does not."""
    import onnx

    known = onnx.shape_inference.infer_shapes(model).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*known.output, *known.value_info)}
    return types.get(name) or known.output[0].type.tensor_type.elem_type


def _replace(repeated: Any, values: list[Any]) -> None:
    """Other values in a repeated field of a protobuf."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del repeated[:]
    repeated.extend(copies)
