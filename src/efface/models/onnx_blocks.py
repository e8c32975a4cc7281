"""What an ONNX graph's steps amount to: where the embedding is, and the blocks of which the network consists.

Where a single tensor carries everything, the network may be cut; the pieces are joined to blocks:
- a piece with branches and weights (a residual block) is a block, with the activation behind it;
- what lies between two such blocks, before the first and after the last, is one block each (a BatchNorm begins it);
- a network without branches has a block for each convolution or linear map, with what follows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LINEAR = (nn.Conv2d, nn.Linear)
"""What a block begins with, in a network without branches."""
TRANSPARENT = (nn.Identity, nn.Flatten)
"""What may stand behind the last linear map and change no value."""


@dataclass(frozen=True)
class Step:
    """A node that computes something from the photos."""

    key: str
    module: nn.Module
    inputs: tuple[str, ...]
    """Names of its computed operands."""
    outputs: tuple[str, ...]


class Block(nn.Module):
    """A piece of a graph with one tensor in and one out; its children are the nodes."""

    def __init__(self, steps: Sequence[Step], entry: str, exit: str) -> None:
        super().__init__()
        self.entry, self.exit = entry, exit
        self.wiring = [(step.key, step.inputs, step.outputs) for step in steps]
        for step in steps:
            self.add_module(step.key, step.module)

    def forward(self, x: Tensor) -> Tensor:
        values = {self.entry: x}
        for key, inputs, outputs in self.wiring:
            made = self.get_submodule(key)(*(values[name] for name in inputs))
            values.update(zip(outputs, made if isinstance(made, tuple) else (made,), strict=False))
        return values[self.exit]


def without_normalisation(steps: list[Step], exit: str, example: Mapping[str, Tensor]) -> tuple[list[Step], str]:
    """The steps without a normalisation to unit length at the end, and what is then the output."""
    makers = {name: step for step in steps for name in step.outputs}
    while exit in makers and (isinstance(makers[exit].module, nn.Identity) or makers[exit].key.startswith("cast")):
        exit = makers[exit].inputs[0]
    for name in makers[exit].inputs if exit in makers else ():
        before, after = example[name], example[exit]
        if before.shape != after.shape or before.dim() != 2 or not before.is_floating_point():
            continue
        parallel = torch.allclose(F.normalize(before, dim=1), after, atol=1e-5)
        if parallel and not torch.allclose(before, after, atol=1e-5):
            exit = name
            break
    needed = _ancestors(exit, makers)
    return [step for step in steps if step.key in needed], exit


def _ancestors(name: str, makers: Mapping[str, Step]) -> set[str]:
    """Keys of the steps that a tensor depends on."""
    found: set[str] = set()
    todo = [name]
    while todo:
        step = makers.get(todo.pop())
        if step is not None and step.key not in found:
            found.add(step.key)
            todo += step.inputs
    return found


def normalises(steps: Sequence[Step]) -> bool:
    """Whether arithmetic stands before the first layer with weights: then the photos go in as they are, 0 to 255, as
    InsightFace's own reader decides (model_zoo/arcface_onnx.py)."""
    first = next(i for i, step in enumerate(steps) if isinstance(step.module, LINEAR))
    return any(step.key.startswith(("sub", "add", "mul", "div")) for step in steps[:first])


def pieces(steps: Sequence[Step], entry: str, exit: str) -> list[list[Step]]:
    """The steps, cut wherever a single tensor carries everything."""
    last = {name: i for i, step in enumerate(steps) for name in step.inputs} | {exit: len(steps)}
    pieces: list[list[Step]] = [[]]
    live = {entry}
    for i, step in enumerate(steps):
        pieces[-1].append(step)
        live = {name for name in (*live, *step.outputs) if last.get(name, -1) > i}
        if live == {step.outputs[0]}:
            pieces.append([])
    return pieces[:-1] if not pieces[-1] else pieces


def joined(pieces: Sequence[list[Step]]) -> list[list[Step]]:
    """The pieces joined to blocks, as the head of this file says."""
    branched = [len(piece) > 1 and holds(piece, LINEAR) for piece in pieces]
    blocks: list[list[Step]] = []
    closed = False  # whether the last block is one with branches, which only an activation may follow
    for piece, alone in zip(pieces, branched, strict=True):
        resumes = holds(piece, (*LINEAR, nn.BatchNorm1d) if closed else LINEAR)
        begins = alone or (resumes and (closed or not any(branched)))
        if not blocks or (begins and holds(blocks[-1], LINEAR)):
            blocks.append(piece)
        else:
            blocks[-1] = blocks[-1] + piece
        closed = alone if begins else closed
    return blocks


def holds(piece: Sequence[Step], kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether one of the steps is of one of these kinds."""
    return any(isinstance(step.module, kinds) for step in piece)


def output(steps: Sequence[Step], exit: str, width: int, named: Mapping[str, str]) -> tuple[str | None, str] | None:
    """The last linear map and the BatchNorm behind it, by their names in the network. width: of the embedding."""
    makers = {step.outputs[0]: step for step in steps}
    readers = [name for step in steps for name in step.inputs]

    def back(name: str) -> Step | None:
        """What makes a tensor, past what changes no value; None where something else takes it too."""
        step = makers.get(name)
        while step is not None and (
            isinstance(step.module, TRANSPARENT) or step.key.startswith(("reshape", "squeeze"))
        ):
            step = makers.get(step.inputs[0]) if readers.count(step.inputs[0]) == 1 else None
        return step

    def linear(step: Step | None) -> str | None:
        """Its name, if it is a linear map to the whole embedding."""
        module = None if step is None else step.module
        grouped = isinstance(module, nn.Conv2d) and module.groups != 1
        fits = isinstance(module, LINEAR) and len(module.weight) == width and not grouped
        return named[step.key] if step is not None and fits else None

    last = back(exit)
    if last is not None and isinstance(last.module, nn.BatchNorm1d) and readers.count(last.inputs[0]) == 1:
        before = linear(back(last.inputs[0]))
        return None if before is None else (before, named[last.key])
    alone = linear(last)
    return None if alone is None else (None, alone)
