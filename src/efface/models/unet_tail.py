"""A UNet of diffusers from its first trained block on, given what the blocks before it made.

Teacher and student are one network up to the first trained block. So the teacher's pass, which needs no graph, is
listened to, and the student's repeats only what comes after; what the earlier blocks hand to the later ones beside the
main path (the skip connections) comes along.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

Made = Tensor | tuple["Made", ...]
"""What a block makes: a tensor, and from the blocks on the way down also a tuple of tensors for the way up."""


class SharedStart:
    """A frozen teacher and a student that differs from it in the `trained` parameters alone."""

    def __init__(self, teacher: nn.Module, student: nn.Module, trained: Iterable[str]) -> None:
        self.teacher = teacher
        self.blocks = blocks_before(student, trained)
        """Names of the blocks that the student need not repeat."""
        shared = {id(tensor): tensor for tensor in (*student.parameters(), *student.buffers())}
        self.tail: Any = copy.deepcopy(student, shared)  # the same tensors, so training the tail trains the student
        self._replays = {name: _Replay(student.get_submodule(name)) for name in self.blocks}
        for name, replay in self._replays.items():
            self.tail.set_submodule(name, replay)

    def both(self, z: Tensor, t: Tensor, tokens: Tensor, learning: int) -> tuple[Tensor, Tensor]:
        """(the teacher's output [n, ...], no graph; the student's of the first `learning` rows, with graph)."""
        handles = [
            self.teacher.get_submodule(name).register_forward_hook(replay.listen(learning))
            for name, replay in self._replays.items()
        ]
        try:
            with torch.no_grad():
                taught = self.teacher(z, t, encoder_hidden_states=tokens).sample
            some = slice(learning)
            learnt = self.tail(z[some], t[some], encoder_hidden_states=tokens[some]).sample
        finally:
            for handle in handles:
                handle.remove()
            for replay in self._replays.values():
                replay.made = None
        return taught, learnt


class _Replay(nn.Module):
    """Stands for a block: gives what was heard of the teacher's."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.made: Made | None = None
        self.has_cross_attention = getattr(block, "has_cross_attention", False)
        self.resnets = range(len(getattr(block, "resnets", ())))  # the UNet counts them

    def listen(self, rows: int) -> Any:
        """A forward hook that keeps the first rows."""

        def hook(_module: nn.Module, _inputs: Any, made: Made) -> None:
            self.made = _first(made, rows)

        return hook

    def forward(self, *_: Any, **__: Any) -> Made:
        assert self.made is not None
        return self.made


def blocks_before(unet: nn.Module, trained: Iterable[str]) -> tuple[str, ...]:
    """Names of the blocks that run before the first with a trained parameter, in order; none where something is trained
    that all of them use (the embedding of the timestep)."""
    steps: list[str] = ["conv_in"]
    for group in ("down_blocks", "mid_block", "up_blocks"):
        module = unet.get_submodule(group)
        steps += [f"{group}.{i}" for i in range(len(module))] if isinstance(module, nn.ModuleList) else [group]
    steps += ["conv_norm_out", "conv_out"]
    places = set()
    for name in trained:
        places.add(next((i for i, step in enumerate(steps) if name.startswith(f"{step}.")), 0))
    return tuple(steps[: min(places, default=0)])


def _first(made: Made, rows: int) -> Made:
    return tuple(_first(one, rows) for one in made) if isinstance(made, tuple) else made[:rows]
