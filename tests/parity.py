"""The parity fixtures of the generators: values that follow from names, and published results to compare with."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 2e-5
"""Of the largest absolute value: what the fixtures suggest for float32."""


class Fixture:
    """One manifest and its arrays."""

    def __init__(self, data: Path, name: str) -> None:
        path = data.parent / "parity" / name
        self.manifest: dict[str, Any] = json.loads(path.with_suffix(".manifest.json").read_text())
        arrays = path.with_suffix(".npz")
        self.arrays = dict(np.load(arrays)) if arrays.is_file() else {}
        self.stored = {n: a["stored"] for n, a in self.manifest.get("outputs", {"arrays": {}})["arrays"].items()}

    def input(self, name: str) -> Tensor:
        """An input by its name, made from it."""
        facts = self.manifest["inputs"][f"input.{name}"]
        return named(f"input.{name}", facts["shape"], facts["s"], facts["m"])

    def shape(self, name: str) -> list[int]:
        """Of the whole array."""
        return self.manifest["outputs"]["arrays"][name]["shape"]

    def check(self, name: str, found: Tensor) -> None:
        """The whole array found equals what is stored of it."""
        slices = self.stored[name]
        if slices != "full":
            found = found[tuple(_slice(s) for s in slices.strip("[]").split(","))]
        near(found, self.arrays[name], name)


def near(found: Tensor, expected: np.ndarray, name: str = "") -> None:
    assert tuple(found.shape) == expected.shape, name
    difference = np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max()
    assert difference <= TOLERANCE, f"{name}: {difference:.1e}"


def named(name: str, shape: Any, scale: float = 1.0, mean: float = 0.0) -> Tensor:
    """Values that follow from a tensor's name."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    drawn = np.asarray(rng.standard_normal(tuple(shape), dtype=np.float32), dtype=np.float32)
    return torch.from_numpy(np.asarray(drawn * np.float32(scale) + np.float32(mean), dtype=np.float32))


def filled(network: nn.Module) -> nn.Module:
    """A generator with values that follow from its tensors' names, in evaluation mode."""
    for name, tensor in network.state_dict().items():
        if not name.endswith("resample_filter"):
            tensor.copy_(named(name, tensor.shape, *_scale(name)))
    return network.eval().requires_grad_(False)


def check_names(network: nn.Module, manifest: dict[str, Any]) -> None:
    """Names, order, shapes and number of parameters are as published."""
    state = network.state_dict()
    assert {n: list(t.shape) for n, t in state.items()} == {n: t["shape"] for n, t in manifest["tensors"].items()}
    assert list(state) == list(manifest["tensors"])
    assert sum(p.numel() for p in network.parameters()) == manifest["parameters"]
    buffers = {n for n, t in manifest["tensors"].items() if t.get("buffer")}
    assert {n for n, _ in network.named_buffers()} == buffers


def _scale(name: str) -> tuple[float, float]:
    last = name.rpartition(".")[2]
    if re.search(r"(^|\.)mapping\.fc\d+\.", name):
        return (100.0, 0.0) if last == "weight" else (10.0, 0.0)
    if name.endswith("affine.bias"):
        return 0.1, 1.0
    if name.endswith("decoder.net.2.weight"):
        return 4.0, 0.0
    return (1.0 if last in ("weight", "const", "noise_const") else 0.1), 0.0


def _slice(text: str) -> slice | int:
    return int(text) if ":" not in text else slice(*(int(part) if part else None for part in text.strip().split(":")))
