"""Every registered recogniser: what it states of itself is true, and the published numbers are reproduced."""

import json
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import registry
from efface.models import mxnet
from efface.models.recogniser import initialise
from efface.targets.recognition import RecognitionTarget
from onnx_files import registered

NAMES = tuple(registry.names("models.recognition"))
PARITY = {
    "iresnet18": ("iresnet", {"depth": 18}),
    "iresnet34": ("iresnet", {"depth": 34}),
    "iresnet50": ("iresnet", {"depth": 50}),
    "iresnet100": ("iresnet", {"depth": 100}),
    "mobilefacenet": ("mobilefacenet_insightface", {}),
}
TOLERANCE = 2e-5
"""Of the largest absolute value: what the fixtures suggest for float32."""


@pytest.mark.parametrize("name", NAMES)
def test_blocks_hold_every_tensor_once_from_input_to_output(name):
    spec = registered(name)
    with torch.device("meta"):
        network = spec.build()
    held = [n for group in spec.blocks for m in group for n in _state_names(network, m)]
    assert sorted(held) == sorted(network.state_dict())


def _state_names(network: nn.Module, module: str) -> list[str]:
    return [f"{module}.{n}" for n in network.get_submodule(module).state_dict()]


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_output_are_as_stated_and_everything_has_a_gradient(name, generator):
    spec = registered(name)
    assert spec.name == name
    network = initialise(spec.build(), generator).eval()
    linear_name, last_name = spec.output
    taken: dict[str, Tensor] = {}
    network.get_submodule(linear_name or last_name).register_forward_hook(lambda m, i, o: taken.update(linear=o))
    network.get_submodule(last_name).register_forward_hook(lambda m, i, o: taken.update(read=i[0]))
    network.get_submodule(last_name).register_forward_hook(lambda m, i, o: taken.update(last=o))
    size = spec.convention.size
    x = torch.randn(2, 3, size, size, generator=generator).requires_grad_()
    y = network(x)
    assert y.shape == (2, spec.embedding_size)
    assert linear_name is None or torch.equal(taken["linear"], taken["read"])
    assert torch.equal(taken["last"].flatten(1), y)
    y.square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_origin_and_licence(name):
    facts = registry.describe("models.recognition", name).facts
    assert facts["origin"] and facts["licence"]


@pytest.mark.real
@pytest.mark.parametrize("fixture", PARITY)
def test_names_shapes_and_counts_are_those_of_insightface(data, fixture):
    manifest = json.loads((data.parent / "parity" / "iresnet" / f"{fixture}.manifest.json").read_text())
    name, fields = PARITY[fixture]
    with torch.device("meta"):
        network = registry.get("models.recognition", name)(**fields).build()
    state = network.state_dict()
    assert {n: list(t.shape) for n, t in state.items()} == {n: t["shape"] for n, t in manifest["tensors"].items()}
    assert list(state) == list(manifest["tensors"])
    assert sum(p.numel() for p in network.parameters()) == manifest["parameters"]


@pytest.mark.real
@pytest.mark.parametrize("fixture", ["iresnet18", "iresnet50", "mobilefacenet"])
def test_embeddings_and_inner_features_are_those_of_insightface(data, fixture):
    folder = data.parent / "parity" / "iresnet"
    arrays = json.loads((folder / f"{fixture}.manifest.json").read_text())["outputs"]["arrays"]
    expected = np.load(folder / f"{fixture}.npz")
    name, fields = PARITY[fixture]
    network = registry.get("models.recognition", name)(**fields).build().eval()
    _fill(network.state_dict())
    taken: dict[str, Tensor] = {}
    for key in arrays:
        if key.startswith("tap."):
            module = network.get_submodule(key.removeprefix("tap."))
            module.register_forward_hook(lambda m, i, o, key=key: taken.update({key: o}))
    with torch.no_grad():
        taken["embedding"] = network(_named("input.image", (2, 3, 112, 112)))
    for key, array in arrays.items():
        found = taken[key].numpy()
        if array["stored"] != "full":  # a slice such as [:, ::16, ::7, ::7]
            steps = [int(s.strip()[2:] or 1) if "::" in s else 1 for s in array["stored"].strip("[]").split(",")]
            found = found[tuple(slice(None, None, s) for s in steps)]
        assert found.shape == expected[key].shape
        assert np.abs(found - expected[key]).max() <= TOLERANCE * np.abs(expected[key]).max(), key


def _named(name: str, shape: tuple[int, ...], scale: float = 1.0, mean: float = 0.0, positive: bool = False) -> Tensor:
    """Values that follow from a tensor's name: the rule of the parity fixtures."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    drawn = rng.standard_normal(shape, dtype=np.float32)
    drawn = np.abs(drawn) if positive else drawn
    return torch.from_numpy(drawn * np.float32(scale) + np.float32(mean))


def _fill(state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        module, _, last = name.rpartition(".")
        shape = tuple(tensor.shape)
        if last == "num_batches_tracked":
            continue
        if last == "running_var":
            value = _named(name, shape, 0.1, 1.0, positive=True)
        elif last in ("running_mean", "bias"):
            value = _named(name, shape, 0.03)
        elif len(shape) > 1:
            value = _named(name, shape, 1 / np.sqrt(np.prod(shape[1:])))
        else:
            value = _named(name, shape, 0.1, 1.0 if f"{module}.running_var" in state else 0.25)
        tensor.copy_(value)


@pytest.mark.real
def test_mobileface_v2_computes_what_its_published_graph_says(data, generator):
    folder = data / "recogniser-mobileface-v2"
    path = folder / "MobileFace_Identification_V2-0000.params"
    target = RecognitionTarget.load("mobileface_v2", path)
    pixels = torch.randint(256, (2, 3, 112, 112), dtype=torch.uint8, generator=generator)
    graph = json.loads((folder / "MobileFace_Identification_V2-symbol.json").read_text())["nodes"]
    values = {name.partition(":")[2]: tensor for name, tensor in mxnet.read_params(path).items()}
    assert sum(v.numel() for v in values.values()) == 892_384
    with torch.no_grad():
        expected = _run_graph(graph, values | {"data": pixels.flip(1).float()})  # raw BGR, normalised by the graph
        found = target.network(target.inputs(pixels))
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max()


def test_mobileface_v2_takes_every_pixel_as_its_graph_normalises_it():
    levels = torch.arange(256, dtype=torch.uint8).repeat(49).view(1, 1, 112, 112).expand(1, 3, -1, -1)
    target = RecognitionTarget(registered("mobileface_v2"), nn.Identity())
    assert torch.equal(target.inputs(levels), (levels.float() - 127.5) * 0.0078125)


def _run_graph(nodes: list[dict], values: dict[str, Tensor]) -> Tensor:
    """A slow interpreter of MXNet's graph, operator by operator."""
    done: list[Tensor] = []
    for node in nodes:
        x = [done[i] for i, *_ in node["inputs"]]
        facts = node.get("attrs") or {}
        match node["op"]:
            case "null":
                out = values[node["name"]]
            case "_minus_scalar":
                out = x[0] - float(facts["scalar"])
            case "_mul_scalar":
                out = x[0] * float(facts["scalar"])
            case "_maximum_scalar":
                out = x[0].clamp(min=float(facts["scalar"]))
            case "_minimum_scalar":
                out = x[0].clamp(max=float(facts["scalar"]))
            case "Convolution":
                stride, pad = (json.loads(facts[k].replace("(", "[").replace(")", "]")) for k in ("stride", "pad"))
                out = F.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, stride, pad, 1, int(facts.get("num_group", 1)))
            case "BatchNorm":  # inputs: data, gamma, beta, moving mean, moving variance; MXNet's default epsilon
                out = F.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=float(facts.get("eps", 1e-3)))
            case "elemwise_add":
                out = x[0] + x[1]
            case "Flatten":
                out = x[0].flatten(1)
            case "FullyConnected":
                out = F.linear(x[0], x[1])
            case other:
                raise AssertionError(f"unknown operator {other}")
        done.append(out)
    return done[-1]
