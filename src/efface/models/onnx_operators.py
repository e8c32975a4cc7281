"""ONNX operators as torch modules, one function an operator: Node -> module of its computed operands.

Operators: https://onnx.ai/onnx/operators/. What holds weights becomes torch's own module (Conv2d, Linear, BatchNorm1d,
PReLU), so that a network from a file is trained, drawn anew and composed as any other.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError


@dataclass(frozen=True)
class Held:
    """A tensor that does not depend on the photos: the file holds it, or it follows from what the file holds."""

    value: Tensor
    source: str | None = None
    """The tensor of the file whose elements these are; None where they were computed."""
    place: Tensor | None = None
    """int64, of the value's shape: where each element stands in the flattened source; None: in order."""

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Held":
        """The same elements elsewhere."""
        if self.source is None:
            return Held(move(self.value))
        place = torch.arange(self.value.numel()).view(self.value.shape) if self.place is None else self.place
        return Held(move(self.value), self.source, move(place))


@dataclass(frozen=True)
class Use:
    """Where a tensor of the file is used."""

    node: int
    """Position of the node in the graph."""
    operand: int
    given: Held
    """As the node takes it."""
    laid: Held
    """As the torch module lays it out."""
    parameter: str | None
    """Its name in the torch module; None for a constant."""


@dataclass
class Node:
    """One node of a graph while its module is made, with its operands on one example."""

    op: str
    name: str
    index: int
    opset: int
    facts: dict[str, Any]
    """Its attributes."""
    operands: list[Held | Tensor | None]
    """Held, computed from the photos (then as computed from the example), or left out."""
    outputs: int
    batch: int
    """Photos in the example."""
    trained: bool
    """Whether vectors in arithmetic are parameters: they are behind the first convolution or linear map."""
    bias: "tuple[int, int, Held] | None" = None
    """Of a linear map: node, operand and vector of the Add that follows."""
    uses: list[Use] = field(default_factory=list)

    def refuse(self, found: str, expected: str) -> EffaceError:
        """The error of a node that cannot be made."""
        return EffaceError(f"{self.op} {self.name}: found {found}, expected {expected}")

    def has(self, operand: int) -> bool:
        """Whether the operand is given."""
        return operand < len(self.operands) and self.operands[operand] is not None

    def example(self, operand: int = 0) -> Tensor:
        """An operand that is computed from the photos, on the example."""
        found = self.operands[operand] if self.has(operand) else None
        if not isinstance(found, Tensor):
            raise self.refuse(f"a constant as operand {operand}", "what is computed from the photos")
        return found

    def held(self, operand: int) -> Held:
        """An operand that is known beforehand."""
        found = self.operands[operand] if self.has(operand) else None
        if not isinstance(found, Held):
            raise self.refuse(f"{'a computed' if self.has(operand) else 'no'} operand {operand}", "a constant")
        return found

    def integers(self, operand: int, fact: str) -> list[int] | None:
        """What newer opsets give as an operand and older ones as an attribute; None where neither is there."""
        if self.has(operand):
            return [int(v) for v in self.held(operand).value.flatten().tolist()]
        found = self.facts.get(fact)
        return None if found is None else [int(v) for v in (found if isinstance(found, list) else [found])]

    def fill(self, module: nn.Module, **given: tuple[int, Callable[[Tensor], Tensor] | None]) -> nn.Module:
        """Put held operands into the module's parameters: name = (operand, how torch lays it out or None)."""
        for parameter, (operand, move) in given.items():
            self._fill(module, parameter, self.index, operand, self.held(operand), move)
        return module

    def fill_bias(self, module: nn.Module) -> nn.Module:
        """Put what the following Add adds into the module's bias."""
        if self.bias is not None:
            index, operand, held = self.bias
            self._fill(module, "bias", index, operand, held, _flat)
        return module

    def keep(self, operand: int) -> None:
        """Note that a held operand is used as it is, for what else uses the same tensor of the file."""
        held = self.held(operand)
        if held.source is not None and held.value.is_floating_point():
            self.uses.append(Use(self.index, operand, held, held, None))

    def _fill(self, module: nn.Module, parameter: str, index: int, operand: int, held: Held, move: Any) -> None:
        laid = held if move is None else held.moved(move)
        if held.source is None:
            raise self.refuse(f"a {parameter} that is computed", "one that the file holds; export it folded")
        tensor = getattr(module, parameter)
        if laid.value.shape != tensor.shape:
            raise self.refuse(f"a {parameter} of shape {list(laid.value.shape)}", f"{list(tensor.shape)}")
        with torch.no_grad():
            tensor.copy_(laid.value)
        self.uses.append(Use(index, operand, held, laid, parameter))


class Apply(nn.Module):
    """A function of operands some of which are held: numbers, float tensors (which move with the module) and integer
    tensors (shapes, which stay on the CPU)."""

    def __init__(self, function: Callable[..., Any], held: Sequence[Any] = ()) -> None:
        super().__init__()
        self.function = function
        self.held = [None if isinstance(h, Tensor) and h.is_floating_point() else h for h in held]
        self.floats = [i for i, h in enumerate(held) if h is not self.held[i]]
        for i in self.floats:
            self.register_buffer(f"held{i}", held[i].clone(), persistent=False)

    def forward(self, *inputs: Tensor) -> Any:
        if not self.held:
            return self.function(*inputs)
        left = iter(inputs)
        known = [getattr(self, f"held{i}") if i in self.floats else h for i, h in enumerate(self.held)]
        return self.function(*(next(left) if h is None else h for h in known))


class Arithmetic(nn.Module):
    """A function of a computed operand and a trained tensor."""

    def __init__(self, function: Callable[[Any, Any], Tensor], shape: Sequence[int], first: bool) -> None:
        super().__init__()
        self.function, self.first = function, first
        self.value = nn.Parameter(torch.empty(shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.value, x) if self.first else self.function(x, self.value)


class UnevenConv2d(nn.Conv2d):
    """A convolution with other padding at the end than at the start."""

    around: tuple[int, ...] = (0, 0, 0, 0)
    """Left, right, top, bottom."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(F.pad(x, self.around))


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm over axis 1, whatever the number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


# --- with weights ---------------------------------------------------------------------------------------------------


def conv(node: Node) -> nn.Module:
    outputs, inputs, *kernel = node.held(1).value.shape
    if len(kernel) != 2 or node.example().dim() != 4:
        raise node.refuse(f"a kernel of {len(kernel)} dimensions", "a convolution of pictures")
    stride, dilation = _pair(node, "strides"), _pair(node, "dilations")
    top, left, bottom, right = _pads(node, kernel, stride, dilation)
    groups = int(node.facts.get("group", 1))
    even = (top, left) == (bottom, right)
    module = (nn.Conv2d if even else UnevenConv2d)(
        inputs * groups,
        outputs,
        (kernel[0], kernel[1]),
        stride,
        (top, left) if even else 0,
        dilation,
        groups,
        bias=node.has(2),
    )
    if isinstance(module, UnevenConv2d):
        module.around = (left, right, top, bottom)
    return node.fill(module, weight=(1, None), **({"bias": (2, None)} if node.has(2) else {}))


def gemm(node: Node) -> nn.Module:
    alpha, beta = node.facts.get("alpha", 1.0), node.facts.get("beta", 1.0)
    if node.facts.get("transA", 0) or alpha != 1 or (node.has(2) and beta != 1):
        raise node.refuse("alpha, beta or transA", "a plain linear map x·W + b")
    transposed = bool(node.facts.get("transB", 0))
    return _linear(node, transposed, node.has(2))


def matmul(node: Node) -> nn.Module:
    return _linear(node, False, False)


def _linear(node: Node, transposed: bool, bias: bool) -> nn.Module:
    weight = node.held(1).value
    if weight.dim() != 2:
        raise node.refuse(f"a weight of {weight.dim()} dimensions", "a matrix")
    outputs, inputs = weight.shape if transposed else weight.T.shape
    module = nn.Linear(inputs, outputs, bias=bias or node.bias is not None)
    node.fill(module, weight=(1, None if transposed else _transposed), **({"bias": (2, _flat)} if bias else {}))
    return node.fill_bias(module)


def batch_normalization(node: Node) -> nn.Module:
    if node.facts.get("training_mode", 0) or (node.opset < 14 and node.outputs > 1):
        raise node.refuse("training mode", "evaluation mode; export the model after model.eval()")
    if not node.facts.get("spatial", 1):
        raise node.refuse("statistics for each pixel (spatial 0)", "for each channel")
    module = BatchNorm(node.held(1).value.numel(), eps=node.facts.get("epsilon", 1e-5))
    names = ("weight", "bias", "running_mean", "running_var")
    return node.fill(module, **{name: (i, None) for i, name in enumerate(names, 1)})


def p_relu(node: Node) -> nn.Module:
    x, slope = node.example(), node.held(1).value
    channels, aligned = x.shape[1], (1,) * (x.dim() - slope.dim()) + tuple(slope.shape)
    by_channel = slope.numel() == channels and len(aligned) == x.dim() and aligned[1] == channels
    old = tuple(slope.shape) == (channels,) and x.shape[-1] != channels  # MXNet's exporter wrote [c] for [c, 1, 1]
    if slope.numel() != 1 and not by_channel and not old:
        raise node.refuse(f"slopes of shape {list(slope.shape)}", f"one, or one for each of {channels} channels")
    return node.fill(nn.PReLU(slope.numel()), weight=(1, _flat))


# --- elementwise ----------------------------------------------------------------------------------------------------


def arithmetic(function: Callable[[Any, Any], Tensor], node: Node) -> nn.Module:
    """Of two operands. A held one is a number, a constant, or, behind the first layer with weights, trained."""
    known = [i for i in (0, 1) if isinstance(node.operands[i], Held)]
    if not known:
        return Apply(function)
    i = known[0]
    held = node.held(i)
    if held.value.numel() == 1 and held.value.dim() <= node.example(1 - i).dim():
        node.keep(i)
        return Apply(function, [held.value.item() if k == i else None for k in (0, 1)])
    if node.trained and held.value.is_floating_point() and held.source is not None:
        return node.fill(Arithmetic(function, held.value.shape, first=i == 0), value=(i, None))
    return _applied(node, function, 2)


def relu(node: Node) -> nn.Module:
    return nn.ReLU()


def leaky_relu(node: Node) -> nn.Module:
    return nn.LeakyReLU(node.facts.get("alpha", 0.01))


def clip(node: Node) -> nn.Module:
    low, high = (
        node.held(i).value.item() if node.has(i) else node.facts.get(fact) for i, fact in ((1, "min"), (2, "max"))
    )
    return nn.ReLU6() if (low, high) == (0, 6) else Apply(partial(_clipped, low=low, high=high))


def sigmoid(node: Node) -> nn.Module:
    return nn.Sigmoid()


def hard_sigmoid(node: Node) -> nn.Module:
    return Apply(partial(_hard_sigmoid, alpha=node.facts.get("alpha", 0.2), beta=node.facts.get("beta", 0.5)))


def hard_swish(node: Node) -> nn.Module:
    return nn.Hardswish()


def sqrt(node: Node) -> nn.Module:
    return Apply(torch.sqrt)


def cast(node: Node) -> nn.Module:
    if node.facts["to"] in (1, 10, 11, 16):  # FLOAT, FLOAT16, DOUBLE, BFLOAT16: all are computed in float32
        return Apply(Tensor.float)
    if node.facts["to"] in (6, 7):  # INT32, INT64
        return Apply(Tensor.long)
    raise node.refuse(f"type {node.facts['to']}", "a floating-point or integer type")


def identity(node: Node) -> nn.Module:
    return nn.Identity()


def dropout(node: Node) -> nn.Module:
    if node.has(2) and bool(node.held(2).value.any()):
        raise node.refuse("training mode", "evaluation mode; export the model after model.eval()")
    return nn.Identity()


# --- pooling and sums -----------------------------------------------------------------------------------------------


def global_average_pool(node: Node) -> nn.Module:
    return nn.AdaptiveAvgPool2d(1)


def average_pool(node: Node) -> nn.Module:
    kernel, stride, (top, left, *end), ceil = _window(node)
    if [top, left] != end:
        raise node.refuse(f"uneven pads {[top, left, *end]}", "even ones")
    return nn.AvgPool2d(kernel, stride, (top, left), ceil, bool(node.facts.get("count_include_pad", 0)))


def max_pool(node: Node) -> nn.Module:
    if node.outputs > 1:
        raise node.refuse("two outputs", "the maxima alone")
    kernel, stride, (top, left, bottom, right), ceil = _window(node)
    pool = partial(F.max_pool2d, kernel_size=kernel, stride=stride, dilation=_pair(node, "dilations"), ceil_mode=ceil)
    return Apply(partial(_padded_pool, pool=pool, around=(left, right, top, bottom)))


def reduce(function: Callable[..., Tensor], node: Node) -> nn.Module:
    """Over axes that are not the photos'."""
    axes = node.integers(1, "axes")
    if not axes or any(a % node.example().dim() == 0 for a in axes):
        raise node.refuse(f"axes {axes or 'all'}", "some, but not that of the photos")
    return Apply(partial(function, dim=tuple(axes), keepdim=bool(node.facts.get("keepdims", 1))))


def lp_normalization(node: Node) -> nn.Module:
    return Apply(partial(F.normalize, p=node.facts.get("p", 2), dim=node.facts.get("axis", -1)))


# --- shapes ---------------------------------------------------------------------------------------------------------


def flatten(node: Node) -> nn.Module:
    axis = node.facts.get("axis", 1)
    if axis % node.example().dim() != 1:
        raise node.refuse(f"axis {axis}", "1: everything of one photo in one row")
    return nn.Flatten()


def reshape(node: Node) -> nn.Module:
    if node.facts.get("allowzero", 0):
        raise node.refuse("allowzero", "0 to stand for the size as it is")
    if isinstance(node.operands[1], Tensor):
        return Apply(_reshaped)
    shape = node.integers(1, "shape") or []
    x = node.example()
    if x.dim() and x.shape[0] == node.batch == _reshaped(x, shape).shape[0]:
        shape[0] = 0  # a fixed number of photos, as it was exported: any number now
    return Apply(partial(_reshaped, shape=shape))


def transpose(node: Node) -> nn.Module:
    order = node.facts.get("perm") or list(range(node.example().dim()))[::-1]
    return Apply(partial(torch.permute, dims=order))


def concat(node: Node) -> nn.Module:
    return _applied(node, partial(_joined, axis=node.facts["axis"]), len(node.operands))


def split(node: Node) -> nn.Module:
    axis, x = node.facts.get("axis", 0), node.example()
    sizes = node.integers(1, "split")
    if sizes is None:
        each = math.ceil(x.shape[axis] / node.outputs)
        sizes = [min(each, x.shape[axis] - each * i) for i in range(node.outputs)]
    return Apply(partial(torch.split, split_size_or_sections=sizes, dim=axis))


def slice_(node: Node) -> nn.Module:
    starts, ends = (node.integers(i, fact) or [] for i, fact in ((1, "starts"), (2, "ends")))
    axes = node.integers(3, "axes") or list(range(len(starts)))
    steps = node.integers(4, "steps") or [1] * len(starts)
    if min(steps) < 1:
        raise node.refuse(f"steps {steps}", "positive ones")
    cuts = [slice(None)] * node.example().dim()
    for axis, *cut in zip(axes, starts, ends, steps, strict=True):
        cuts[axis] = slice(*cut)
    return Apply(partial(_cut, cuts=tuple(cuts)))


def shape_(node: Node) -> nn.Module:
    return Apply(partial(_shape, cut=slice(node.facts.get("start", 0), node.facts.get("end"))))


def gather(node: Node) -> nn.Module:
    return _applied(node, partial(_gathered, axis=node.facts.get("axis", 0)), 2)


def unsqueeze(node: Node) -> nn.Module:
    axes = node.integers(1, "axes") or []
    rank = node.example().dim() + len(axes)
    return Apply(partial(_unsqueezed, axes=sorted(a % rank for a in axes)))


def squeeze(node: Node) -> nn.Module:
    x, axes = node.example(), node.integers(1, "axes")
    if axes is None:  # all axes of size 1, but never that of the photos
        axes = [i for i, size in enumerate(x.shape) if i and size == 1]
    return Apply(partial(torch.squeeze, dim=tuple(axes)))


def expand(node: Node) -> nn.Module:
    return _applied(node, _expanded, 2)


def pad(node: Node) -> nn.Module:
    pads = node.integers(1, "pads") or []
    mode = node.facts.get("mode", "constant")
    if mode != "constant" or node.has(3):
        raise node.refuse(f"mode {mode!r}{' with axes' if node.has(3) else ''}", "a constant around all axes")
    value = node.held(2).value.item() if node.has(2) else node.facts.get("value", 0.0)
    rank = node.example().dim()
    around = [n for axis in reversed(range(rank)) for n in (pads[axis], pads[axis + rank])]
    return Apply(partial(F.pad, pad=around, value=value))


def _applied(node: Node, function: Callable[..., Any], count: int) -> Apply:
    """A function of the first `count` operands, the held ones kept."""
    held = [h.value if isinstance(h, Held) else None for h in node.operands[:count]]
    for i in range(count):
        if held[i] is not None:
            node.keep(i)
    return Apply(function, held if any(h is not None for h in held) else ())


def _pair(node: Node, fact: str) -> tuple[int, int]:
    found = node.facts.get(fact) or [1, 1]
    return int(found[0]), int(found[-1])


def _pads(node: Node, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Top, left, bottom, right."""
    auto = node.facts.get("auto_pad", "NOTSET")
    if auto == "NOTSET":
        return tuple(int(n) for n in node.facts.get("pads") or (0, 0, 0, 0))
    if auto == "VALID":
        return (0, 0, 0, 0)
    total = [
        max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(node.example().shape[2:], kernel, stride, dilation, strict=True)
    ]
    start = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    return (*start, *(t - s for t, s in zip(total, start, strict=True)))


def _window(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, ...], bool]:
    """Kernel, stride, pads and whether the last window may be cut, of pooling."""
    kernel, stride = _pair(node, "kernel_shape"), _pair(node, "strides")
    pads = _pads(node, kernel, stride, _pair(node, "dilations"))
    return kernel, stride, pads, bool(node.facts.get("ceil_mode", 0))


def _transposed(x: Tensor) -> Tensor:
    return x.T


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1)


def _divided(a: Any, b: Any) -> Tensor:
    whole = isinstance(a, Tensor) and not a.is_floating_point()  # shapes
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _clipped(x: Tensor, low: float | None, high: float | None) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def _hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def _padded_pool(x: Tensor, pool: Callable[[Tensor], Tensor], around: Sequence[int]) -> Tensor:
    return pool(F.pad(x, tuple(around), value=-math.inf) if any(around) else x)


def _reshaped(x: Tensor, shape: Any) -> Tensor:
    sizes = shape.tolist() if isinstance(shape, Tensor) else shape
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(sizes)])


def _joined(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, dim=axis)


def _cut(x: Tensor, cuts: tuple[slice, ...]) -> Tensor:
    return x[cuts]


def _shape(x: Tensor, cut: slice) -> Tensor:
    return torch.tensor(x.shape[cut], dtype=torch.int64)


def _gathered(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    axis %= x.dim()
    found = x.index_select(axis, (indices % x.shape[axis]).flatten().to(x.device))
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _unsqueezed(x: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        x = x.unsqueeze(axis)
    return x


def _expanded(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


OPERATORS: dict[str, Callable[[Node], nn.Module]] = {
    "Add": partial(arithmetic, operator.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "Div": partial(arithmetic, _divided),
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": hard_swish,
    "Identity": identity,
    "LeakyRelu": leaky_relu,
    "LpNormalization": lp_normalization,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Mul": partial(arithmetic, operator.mul),
    "PRelu": p_relu,
    "Pad": pad,
    "Pow": partial(arithmetic, operator.pow),
    "ReduceL2": partial(reduce, torch.linalg.vector_norm),
    "ReduceMean": partial(reduce, torch.mean),
    "ReduceSum": partial(reduce, torch.sum),
    "Relu": relu,
    "Reshape": reshape,
    "Shape": shape_,
    "Sigmoid": sigmoid,
    "Slice": slice_,
    "Split": split,
    "Sqrt": sqrt,
    "Squeeze": squeeze,
    "Sub": partial(arithmetic, operator.sub),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""What is supported, and Constant."""

MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Dropout")
"""Operators that leave every element as it is."""
