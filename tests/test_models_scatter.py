"""The module that hides people: its formula, its place in a network, in files and in ONNX graphs."""

import copy
import math
import pickle
import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.methods.recognition.esc import Esc
from efface.methods.recognition.scatter import ScatterModule
from efface.methods.seen import LastBlocks
from efface.models import scatter, weights
from efface.models.scatter import PREFIX, Scatter, attach, attached, detach
from efface.targets.recognition import RecognitionTarget
from efface.testing.contract import Problem
from onnx_files import computed, export, halved, registered


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.make()


@pytest.fixture(scope="module")
def hidden(problem) -> RecognitionTarget:
    """The tiny recogniser behind which the module hides three people."""
    return problem.unlearn(ScatterModule())


def drawn(size: int, people: int, waves: int, generator: torch.Generator) -> Scatter:
    """A module with random tensors, its gates open for some."""
    state = {n: torch.randn(t.shape, generator=generator) for n, t in Scatter(size, people, waves).state_dict().items()}
    return Scatter.of(state)


# The formula


@torch.no_grad()
def test_the_module_computes_the_formula(generator):
    module = drawn(5, 3, 4, generator)
    y = 3 * torch.randn(40, 5, generator=generator)
    found, state = module(y), {n: t.tolist() for n, t in module.state_dict().items()}
    passed = 0
    for row, made in zip(y.tolist(), found.tolist(), strict=True):
        length = math.sqrt(sum(v * v for v in row))
        e = [v / length for v in row]
        gates = [
            max(0.0, sum(a * v for a, v in zip(w, e, strict=True)) + b)
            for w, b in zip(state["gate.weight"], state["gate.bias"], strict=True)
        ]
        opened = min(1.0, sum(gates))
        sines = [
            math.sin(sum(a * v for a, v in zip(w, e, strict=True)) + b)
            for w, b in zip(state["waves.weight"], state["waves.bias"], strict=True)
        ]
        r = [
            m + sum(v * s for v, s in zip(w, sines, strict=True))
            for w, m in zip(state["mix.weight"], state["mix.bias"], strict=True)
        ]
        expected = [v + opened * (length * d - v) for v, d in zip(row, r, strict=True)]
        assert made == pytest.approx(expected, abs=1e-4)
        if opened == 0:
            assert made == row, "where all gates are closed nothing may change"
            passed += 1
    assert 0 < passed < 40


def test_an_embedding_of_nothing_stays_finite(generator):
    assert drawn(5, 2, 4, generator)(torch.zeros(1, 5)).isfinite().all()


# Its place in a network


@torch.no_grad()
def test_the_network_keeps_its_names_and_is_back_when_the_module_is_taken_away(problem, hidden):
    old, new = problem.target.network.state_dict(), hidden.network.state_dict()
    assert list(new)[: len(old)] == list(old) and all(torch.equal(old[n], new[n]) for n in old)
    assert {n.split(".")[0] for n in list(new)[len(old) :]} == {scatter.CHILD}
    twin = hidden.clone()
    module = detach(twin.network)
    assert module is not None and type(twin.network) is type(problem.target.network) and attached(twin.network) is None
    pixels = problem.crops.pixels
    assert torch.equal(twin.embed(pixels), problem.target.embed(pixels)), "without the module everybody is back"
    assert not torch.equal(hidden.embed(pixels), problem.target.embed(pixels))
    attach(twin.network, module)
    assert torch.equal(twin.embed(pixels), hidden.embed(pixels))
    with pytest.raises(EffaceError, match="detach it first"):
        attach(twin.network, module)
    assert detach(problem.target.clone().network) is None


@torch.no_grad()
def test_copies_and_pickles_hold_the_module(problem, hidden):
    x = hidden.inputs(problem.crops.pixels[:3])
    for twin in (copy.deepcopy(hidden.network), pickle.loads(pickle.dumps(hidden.network))):
        assert torch.equal(twin(x), hidden.network(x)) and type(twin) is type(hidden.network)
        twin.efface_scatter.gate.bias.fill_(-99)
        assert not torch.equal(twin(x), hidden.network(x)), "a copy has tensors of its own"


@torch.no_grad()
def test_behind_a_sequential_it_comes_last_and_once(generator):
    network, module = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), drawn(5, 2, 4, generator)
    x = torch.randn(6, 3, 2, 2, generator=generator)
    expected = module(network(x))
    assert torch.equal(attach(network, module)(x), expected)


def test_the_last_blocks_train_under_the_module_and_leave_it(problem, hidden):
    last = LastBlocks(hidden, 1)
    features, embeddings = last.entering(problem.crops.pixels[:8])
    assert torch.allclose(last(features), embeddings, atol=1e-5)
    loss = last(features).square().mean(1).sin().sum()
    loss.backward()
    assert all(p.grad is not None for p in last.trained())
    assert not any(n.startswith(PREFIX) for n, p in last.clone.network.named_parameters() if p.requires_grad)


def test_what_composes_with_the_last_map_refuses(problem, hidden):
    with pytest.raises(EffaceError, match="found the module scatter behind the last linear map"):
        Esc().unlearn(hidden, problem.request(), torch.Generator())


# Files


def test_the_header_says_that_it_hides(hidden, tmp_path):
    path = hidden.save(tmp_path)[0]
    header = weights.read_header(path)
    assert header["module"] == "scatter" and header["module_sizes"] == "64 dimensions, 3 gates, 256 waves"
    assert header["module_statement"].startswith("hides rather than erases: the network inside is untouched")


@torch.no_grad()
def test_any_torch_user_loads_it_as_the_page_says(problem, tmp_path, monkeypatch):
    spec = registered("shipped")
    assert spec.shipped is not None
    target = RecognitionTarget.load("shipped", spec.shipped)
    hidden = ScatterModule().unlearn(target, problem.request(), torch.Generator().manual_seed(0))
    hidden.save(tmp_path / "hidden" / "weights")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(block, made)
    x = hidden.inputs(problem.crops.pixels[:3])
    assert apart(made["network"](x), hidden.network(x)) <= 1e-5 < apart(target.network(x), hidden.network(x))


def test_a_format_that_cannot_hold_it_is_not_written(problem, tmp_path):
    path = tmp_path / "tiny.pth"
    torch.save(problem.target.network.state_dict(), path)
    target = RecognitionTarget.load("tiny", path)
    assert target.only_safetensors() == ""
    hidden = ScatterModule().unlearn(target, problem.request(), torch.Generator().manual_seed(0))
    assert [p.name for p in hidden.save(tmp_path / "out")] == ["tiny.safetensors"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["tiny.safetensors"]
    line = hidden.only_safetensors()
    assert "safetensors alone" in line and "tiny.pth" in line and "\n" not in line


def damaged(state: dict[str, Tensor], header: dict[str, str], how: str) -> None:
    gate = f"{PREFIX}gate.weight"
    if how == "no header":
        del header["module"]
    elif how == "other module":
        header["module"] = "gather"
    elif how == "no tensors":
        for name in [n for n in state if n.startswith(PREFIX)]:
            del state[name]
    elif how == "one missing":
        del state[f"{PREFIX}mix.bias"]
    elif how == "one more":
        state[f"{PREFIX}more"] = torch.zeros(1)
    elif how == "nobody":
        state[gate], state[f"{PREFIX}gate.bias"] = torch.zeros(0, 64), torch.zeros(0)
    elif how == "shape":
        state[gate] = state[gate][:, :-1].clone()
    elif how == "scalar":
        state[gate] = torch.tensor(1.0)
    elif how == "size":
        state |= drawn(32, 1, 4, torch.Generator()).tensors()
    elif how == "nan":
        state[gate][0, 0] = float("nan")
    elif how == "integer":
        state[gate] = state[gate].to(torch.int8)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("no header", "in the header no module, expected `module: scatter`"),
        ("other module", "in the header module: gather, expected"),
        ("no tensors", "expected those of the module that the header names"),
        ("one missing", "found a module of gate.bias [3]"),
        ("one more", "more [1]"),
        ("nobody", "gate.weight [0, 64]"),
        ("shape", "gate.weight [3, 63]"),
        ("scalar", "gate.weight []"),
        ("size", "found a module for embeddings of 32 dimensions, expected 64"),
        ("nan", "1 of 192 values of efface_scatter.gate.weight are NaN"),
        ("integer", "efface_scatter.gate.weight holds torch.int8"),
    ],
)
def test_a_module_that_does_not_fit_is_one_line(hidden, tmp_path, how, expected):
    path = hidden.save(tmp_path)[0]
    state, header = safetensors.torch.load_file(path), weights.read_header(path)
    damaged(state, header, how)
    safetensors.torch.save_file(state, path, header)
    with pytest.raises(EffaceError) as caught:
        RecognitionTarget.load("tiny", path)
    text = str(caught.value)
    assert expected in text and str(path) in text and "\n" not in text and len(text) < 500


def test_weights_of_another_network_are_recognised_with_the_module(hidden, tmp_path):
    path = hidden.save(tmp_path)[0]
    with pytest.raises(EffaceError, match="expected 128 as shipped"):
        RecognitionTarget.load("shipped", path)


# ONNX


def apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


class Unit(nn.Module):
    """A network and the normalisation that some files end in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        y = self.network(x)
        return y / y.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def files(problem, tmp_path_factory) -> Path:
    """ONNX files of the tiny recogniser."""
    folder = tmp_path_factory.mktemp("onnx")
    axes: dict[str, Any] = {"dynamic_axes": {"photo": {0: "n"}, "embedding": {0: "n"}}}
    network = problem.target.network
    for name, exported, opset, options in (
        ("plain", network, 17, axes),
        ("old", network, 9, {}),
        ("unit", Unit(copy.deepcopy(network)), 13, axes),
        ("new", network, 18, axes),
    ):
        export(exported, folder / f"{name}.onnx", 40, opset, **options)
    halved(folder / "plain.onnx", folder / "half.onnx")
    return folder


@pytest.mark.parametrize("name", ["plain", "old", "unit", "new", "half"])
@torch.no_grad()
def test_the_module_is_written_into_the_graph_and_read_back(name, files, problem, tmp_path):
    target = RecognitionTarget.load(
        "onnx", files / f"{name}.onnx", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)
    )
    hidden = ScatterModule().unlearn(target, problem.request(), torch.Generator().manual_seed(0))
    path = hidden.save(tmp_path)[1]
    onnx.checker.check_model(onnx.load(path), full_check=True)
    rows = [i for p in (*problem.split.forget, problem.split.holdout[0]) for i in problem.split.unseen[p]]
    x = hidden.inputs(problem.crops.pixels[rows])
    found, expected = computed(path, x), hidden.network(x)
    if name == "half":
        assert F.cosine_similarity(found, expected).min() >= 0.9995
    else:
        expected = F.normalize(expected) if name == "unit" else expected
        assert apart(found, expected) <= 1e-4
    assert apart(expected, computed(files / f"{name}.onnx", x)) > 0.1, "the module changes nothing"
    again = RecognitionTarget.load("onnx", path, mean=target.spec.convention.mean, std=target.spec.convention.std)
    assert again.module is not None and again.spec.blocks == target.spec.blocks
    if name != "half":
        assert torch.equal(again.embed(problem.crops.pixels[rows]), hidden.embed(problem.crops.pixels[rows]))
    assert weights.read_header(path)["module"] == "scatter"
    once_more = again.save(tmp_path / "again")[1]
    assert onnx.load(once_more) == onnx.load(path), "reading and writing adds nothing"
    detach(again.network)
    assert onnx.load(again.save(tmp_path / "without")[1]) == onnx.load(target.save(tmp_path / "same")[1])


@pytest.mark.parametrize(
    ("how", "expected"), [("metadata", "found parts of a module"), ("nodes", "found parts of a module")]
)
def test_a_damaged_module_in_a_graph_is_one_line(how, expected, files, problem, tmp_path):
    target = RecognitionTarget.load("onnx", files / "plain.onnx")
    path = ScatterModule().unlearn(target, problem.request(), torch.Generator()).save(tmp_path)[1]
    model = onnx.load(path)
    if how == "metadata":
        del model.metadata_props[:]
    else:
        for node in model.graph.node:
            node.name = ""
    onnx.save(model, path)
    with pytest.raises(EffaceError) as caught:
        RecognitionTarget.load("onnx", path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
