"""An ONNX graph as a torch network that can be trained, and the way back: the same file with other values.

The graph is run once on an example, node by node, and each node becomes a torch module (onnx_operators); the modules
are joined to blocks (onnx_blocks). A normalisation to unit length at the end is left out: whoever uses the network
normalises.

A tensor that several nodes share (exporters merge equal ones) becomes a parameter for each of them. Written back, the
nodes go on sharing it unless training has told them apart; then the file gets one more initialiser for each other
value.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models import onnx_blocks, onnx_file, onnx_scatter, scatter
from efface.models.onnx_blocks import Block, Step
from efface.models.onnx_operators import MOVES, OPERATORS, Held, Node, Use

TOLERANCE = 1e-3
"""Of the largest value: how far a photo's embedding may depend on the others of its batch. Float32 gives 1e-6."""


@dataclass(frozen=True)
class Graph:
    """A network that was read from an ONNX file."""

    network: nn.Sequential
    """float32 [n, 3, size, size] -> embeddings [n, d], not normalised; children `block0`, `block1`, ..."""
    size: int
    """Side of the input in pixels."""
    embedding_size: int
    normalises: bool
    """Whether the graph itself subtracts a mean and so on: there is arithmetic before the first convolution."""
    output: tuple[str | None, str] | None
    """As `Recogniser.output`; None where the network does not end in a linear map."""
    fixed: tuple[str, ...]
    """As `Recogniser.fixed`: the last BatchNorm's scale where it is 1 throughout, as ArcFace's training keeps it."""
    uses: tuple[Use, ...]
    """What takes which tensor of the file; parameters under their state-dict names."""

    def state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The file's tensors, as `onnx_file.tensors` gives them, under the names and in the shapes of the network."""
        known = ((use, tensors.get(str(use.laid.source))) for use in self.uses)
        return {u.parameter: _taken(t, u.laid) for u, t in known if u.parameter is not None and t is not None}


def read(path: Path, size: int | None = None) -> Graph:
    """The network of an ONNX file, with the file's weights; without the module that may stand behind it.

    size: side of the input in pixels; needed only where the file leaves it open. Raises EffaceError, in one line, as
    `onnx_file.load` does, and for a graph that is not a recogniser or has an operator that is not known here.
    """
    graph = _read(_opened(path), path, size)
    _check_batch(graph, path)
    return graph


def written(path: Path, size: int, state: Mapping[str, Tensor]) -> bytes:
    """The content of the ONNX file at `path` with the network's tensors in place of its own: names, order, types,
    inputs, outputs, opset and metadata stay; a module behind the network is appended to the graph. Raises EffaceError
    as `read` does, and for a value that does not fit the file's type."""
    own = scatter.own_tensors(state)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(scatter.PREFIX)}
    model = _opened(path)
    held = dict(onnx_file.stored(model))
    tensors = onnx_file.tensors(model, path)
    graph = _read(model, path, size)
    if {n: t.shape for n, t in graph.network.state_dict().items()} != {n: t.shape for n, t in state.items()}:
        raise EffaceError(f"{path}: found another network than the one that was unlearned; give the file as it was")
    by_source: dict[str, list[Use]] = {}
    for use in graph.uses:
        by_source.setdefault(str(use.laid.source), []).append(use)
    for source, uses in by_source.items():
        old = tensors[source]
        values = [old if u.parameter is None else _renewed(old, u, state[u.parameter], path) for u in uses]
        kept = next((v for u, v in zip(uses, values, strict=True) if u.parameter is None), values[0])
        if not torch.equal(kept, old):
            onnx_file.replace(held[source], kept)
        added: list[tuple[str, Tensor]] = []
        for use, value in zip(uses, values, strict=True):
            if torch.equal(value, kept):
                continue
            view = _taken(value, use.given)
            name = next((n for n, other in added if torch.equal(other, view)), None)
            if name is None:
                name = _free(model, f"{source}.{len(added) + 1}")
                onnx_file.add(model, name, view)
                added.append((name, view))
            model.graph.node[use.node].input[use.operand] = name
    if own:
        last = graph.network[-1]
        assert isinstance(last, Block)
        onnx_scatter.append(model, last.exit, scatter.Scatter.of(own))
    return model.SerializeToString(deterministic=True)


def _opened(path: Path) -> Any:
    """The model of a file, without the module that may stand behind the network."""
    model = onnx_file.load(path)
    onnx_scatter.take_away(model, path)
    return model


def _renewed(old: Tensor, use: Use, new: Tensor, path: Path) -> Tensor:
    """The file's tensor with a parameter's values."""
    values = new.detach().cpu().reshape(-1)
    limit = torch.finfo(old.dtype).max
    if values.abs().max() > limit:
        raise EffaceError(
            f"{path}: {use.laid.source} would become {float(values.abs().max()):.3g}, expected at most {limit:.3g}, "
            "the largest its type holds; unlearn more gently, or a float32 file"
        )
    flat = torch.empty_like(old).reshape(-1)
    place = torch.arange(len(flat)) if use.laid.place is None else use.laid.place.reshape(-1)
    flat[place] = values.to(old.dtype)
    return flat.view(old.shape)


def _taken(tensor: Tensor, held: Held) -> Tensor:
    """The elements of a file's tensor as `held` has them."""
    return tensor.view(held.value.shape) if held.place is None else tensor.reshape(-1)[held.place]


def _free(model: Any, name: str) -> str:
    """The name, or one that begins with it and is not taken."""
    taken = {n for node in model.graph.node for n in (*node.input, *node.output)}
    while name in taken:
        name += "_"
    return name


# --- reading --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def _read(model: Any, path: Path, size: int | None) -> Graph:
    tensors = onnx_file.tensors(model, path)
    entry, batch, size = onnx_file.entry(model, path, size)
    exit = onnx_file.exit(model, path)
    try:
        steps, uses, example = _steps(model, tensors, entry, exit, _example(batch, size))
    except EffaceError as error:
        raise EffaceError(f"{path}: {error}") from error
    steps, exit = onnx_blocks.without_normalisation(steps, exit, example)
    if not onnx_blocks.holds(steps, onnx_blocks.LINEAR):
        raise EffaceError(f"{path}: found no convolution or linear map on the way to {exit}, expected a recogniser")
    found = example[exit]
    if found.dim() != 2 or len(found) != batch:
        raise EffaceError(
            f"{path}: output {exit} is {list(found.shape)} for {batch} photos, expected embeddings [{batch}, d]; "
            "give a recogniser"
        )
    pieces = onnx_blocks.joined(onnx_blocks.pieces(steps, entry, exit))
    network, named = nn.Sequential(), {}
    for i, piece in enumerate(pieces):
        network.add_module(f"block{i}", Block(piece, entry, end := piece[-1].outputs[0]))
        named |= {step.key: f"block{i}.{step.key}" for step in piece}
        entry = end
    network.eval()
    output = onnx_blocks.output(steps, exit, found.shape[1], named)
    scale = f"{output[1]}.weight" if output is not None and output[0] is not None else None
    fixed = (scale,) if scale is not None and bool((network.get_parameter(scale) == 1).all()) else ()
    for name in fixed:
        network.get_parameter(name).requires_grad_(False)
    return Graph(
        network,
        size,
        found.shape[1],
        normalises=onnx_blocks.normalises(steps),
        output=output,
        fixed=fixed,
        uses=tuple(_renamed(use, key, named) for key, use in uses if key in named),
    )


def _steps(
    model: Any, tensors: Mapping[str, Tensor], entry: str, exit: str, x: Tensor
) -> tuple[list[Step], list[tuple[str, Use]], dict[str, Tensor]]:
    """The graph's computed nodes in order, each one's uses of the file's tensors under its key, and every computed
    tensor on the example."""
    nodes = _needed(model, exit)
    _check_operators([node for _, node in nodes])
    floats = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    values: dict[str, Held | Tensor] = {n: Held(t, n) for n, t in floats.items()}
    values[entry] = x
    for index, node in nodes:  # what does not depend on the photos, first: a bias may be computed after its layer
        if node.op_type == "Constant":
            if node.output[0] not in values:
                with _told(node):
                    values[node.output[0]] = Held(_constant(node))
        elif all(isinstance(values.get(name), Held) for name in node.input if name):
            with _told(node):
                values[node.output[0]] = _folded(_node(model, index, values, x, False))
    readers: dict[str, list[tuple[int, Any]]] = {}
    for index, node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append((index, node))
    steps: list[Step] = []
    uses: list[tuple[str, Use]] = []
    for index, node in nodes:
        if node.output[0] in values:
            continue
        outputs, inputs = tuple(node.output), tuple(n for n in node.input if isinstance(values.get(n), Tensor))
        with _told(node):
            made = _node(model, index, values, x, onnx_blocks.holds(steps, onnx_blocks.LINEAR))
            follower = _bias(made, readers.get(outputs[0], []), values) if outputs[0] != exit else None
            if follower is not None:
                outputs = tuple(follower.output)
            step = Step(f"{node.op_type.lower()}{index}", OPERATORS[node.op_type](made).eval(), inputs, outputs)
            results = step.module(*(values[n] for n in inputs))
        values.update(zip(outputs, results if isinstance(results, tuple) else (results,), strict=False))
        steps.append(step)
        uses += [(step.key, use) for use in made.uses]
    if not isinstance(values[exit], Tensor):
        raise EffaceError(f"output {exit} does not depend on the photos, expected embeddings; give a recogniser")
    return steps, uses, {n: v for n, v in values.items() if isinstance(v, Tensor)}


@contextlib.contextmanager
def _told(node: Any) -> Iterator[None]:
    """Whatever else a node's operands and attributes make torch raise, as an EffaceError."""
    try:
        yield
    except EffaceError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:120] or type(error).__name__
        raise EffaceError(
            f"{node.op_type} {node.name or node.output[0]}: found operands that do not fit ({line}), expected a graph "
            "that runs; export it again"
        ) from error


def _needed(model: Any, exit: str) -> list[tuple[int, Any]]:
    """(position, node) of those that the output depends on, in order. Raises EffaceError where one reads what nothing
    before it makes."""
    wanted, needed = {exit}, []
    for index, node in reversed(list(enumerate(model.graph.node))):
        if wanted & set(node.output):
            needed.append((index, node))
            wanted |= {name for name in node.input if name}
    known = {i.name for i in (*model.graph.input, *model.graph.initializer)}
    for _, node in reversed(needed):
        missing = [name for name in node.input if name and name not in known]
        if missing:
            raise EffaceError(
                f"{node.op_type} {node.name or node.output[0]}: found no {missing[0]}, expected it before; export again"
            )
        known |= set(node.output)
    if exit not in known:
        raise EffaceError(f"found nothing that makes the output {exit}; export it again")
    return needed[::-1]


def _check_operators(nodes: Sequence[Any]) -> None:
    """Raise EffaceError where one is not known."""
    unknown: dict[str, str] = {}
    for node in nodes:
        plain = node.domain in ("", "ai.onnx") and (node.op_type in OPERATORS or node.op_type == "Constant")
        if not plain:
            unknown.setdefault(f"{node.domain}.{node.op_type}".lstrip("."), node.name or node.output[0])
    if any("Quantize" in name or "Integer" in name or name.startswith("QLinear") for name in unknown):
        names = ", ".join(unknown)
        raise EffaceError(f"found a quantised graph ({names}), expected float; give the file that it was made from")
    if unknown:
        names = ", ".join(f"{name} (node {node})" for name, node in list(unknown.items())[:3])
        raise EffaceError(f"found unknown operators: {names}; expected {', '.join(OPERATORS)}, Constant")


def _constant(node: Any) -> Tensor:
    """What a Constant node holds where that is a number or a list of them."""
    (value,) = onnx_file.attributes(node).values()
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _node(model: Any, index: int, values: Mapping[str, Held | Tensor], x: Tensor, trained: bool) -> Node:
    node = model.graph.node[index]
    return Node(
        node.op_type,
        node.name or node.output[0],
        index,
        onnx_file.opset_of(model),
        onnx_file.attributes(node),
        [values[name] if name else None for name in node.input],
        len(node.output),
        len(x),
        trained,
    )


def _folded(node: Node) -> Held:
    """The result of a node all of whose operands are held; its first output."""
    first, *_ = node.operands
    assert isinstance(first, Held)
    module = OPERATORS[node.op](replace(node, operands=[first.value, *node.operands[1:]]))
    if node.op in MOVES:
        return first.moved(module)
    if node.op == "Cast" and first.value.is_floating_point() and module(first.value).is_floating_point():
        return first  # all floating-point types are computed in float32
    result = module(first.value)
    return Held(result[0] if isinstance(result, tuple) else result)


def _bias(node: Node, readers: Sequence[tuple[int, Any]], values: Mapping[str, Held | Tensor]) -> Any:
    """The Add behind a linear map without bias, if it adds one vector; it becomes the node's bias."""
    if node.op not in ("MatMul", "Gemm") or node.has(2) or len(readers) != 1 or readers[0][1].op_type != "Add":
        return None
    index, add = readers[0]
    width = node.held(1).value.shape[0 if node.facts.get("transB", 0) else -1]
    for operand, name in enumerate(add.input):
        held = values.get(name)
        if isinstance(held, Held) and held.source is not None and held.value.numel() == held.value.shape[-1] == width:
            node.bias = (index, operand, held)
            return add
    return None


def _example(count: int, size: int) -> Tensor:
    """Noise [count, 3, size, size] from −1 to 1."""
    return 2 * torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) - 1


@torch.no_grad()
def _check_batch(graph: Graph, path: Path) -> None:
    """Raise EffaceError unless each of two photos has the same embedding alone and together."""
    x = _example(2, graph.size)
    try:
        together, apart = graph.network(x), torch.cat([graph.network(one) for one in x.split(1)])
        finite = bool(apart.isfinite().all())  # what is not is told when the weights are loaded
        same = not finite or (together - apart).abs().max() <= TOLERANCE * apart.abs().max()
    except (RuntimeError, IndexError):  # shapes that do not fit
        same = False
    if not same:
        raise EffaceError(
            f"{path}: found another embedding for two photos together than for each alone, expected the same; the "
            "graph mixes its photos: export it with a dynamic batch axis"
        )


def _renamed(use: Use, key: str, named: Mapping[str, str]) -> Use:
    return use if use.parameter is None else replace(use, parameter=f"{named[key]}.{use.parameter}")
