"""What a recogniser target promises to methods, metrics and attacks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from efface import registry
from efface.errors import EffaceError
from efface.models import weights
from efface.models.recogniser import initialise
from efface.targets.recognition import RecognitionTarget
from efface.testing import TINY
from onnx_files import registered

NAMES = tuple(registry.names("models.recognition"))


@pytest.fixture
def pixels(generator) -> Tensor:
    return torch.randint(256, (6, 3, 112, 112), dtype=torch.uint8, generator=generator)


@pytest.fixture
def tiny() -> RecognitionTarget:
    return RecognitionTarget.load("tiny", TINY)


def untrained(name: str, generator: torch.Generator) -> RecognitionTarget:
    """A random network whose BatchNorms have been through something: no statistic is 0 or 1."""
    spec = registered(name)
    network = initialise(spec.build(), generator)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith("running_var") or (tensor.dim() == 1 and key.endswith("weight")):
                tensor.mul_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return RecognitionTarget(spec, network)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_composed_output_is_the_map_of_the_old_one(name, pixels, generator):
    target = untrained(name, generator)
    x = target.inputs(pixels[:3])
    y = target.network(x)
    d = target.spec.embedding_size
    matrix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    offset = 3 * torch.randn(d, generator=generator)
    before = {n: t.shape for n, t in target.network.state_dict().items()}
    for a, c in ((matrix, offset), (torch.eye(d) - 1.0 / d, None)):
        expected = y.double() @ a.double().T + (0 if c is None else c.double())
        target.compose_output(a, c)
        found = target.network(x)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        y = found
    assert {n: t.shape for n, t in target.network.state_dict().items()} == before


@torch.no_grad()
def test_composing_with_the_identity_changes_no_weight_and_a_dead_channel_is_no_obstacle(tiny, pixels):
    other = tiny.clone()
    other.compose_output(torch.eye(64))
    for name, tensor in tiny.network.state_dict().items():
        torch.testing.assert_close(other.network.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    other.network.get_submodule("bn").weight[5] = 0
    y = other.network(other.inputs(pixels))
    other.compose_output(torch.ones(64, 64))
    torch.testing.assert_close(other.network(other.inputs(pixels)), y.sum(1, keepdim=True).expand(-1, 64))


def test_composing_a_bare_linear_map(generator):
    class Bare:
        output = (None, "1")

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    target = RecognitionTarget(Bare(), network)  # pyright: ignore[reportArgumentType]
    x = torch.randn(4, 3, 2, 2, generator=generator)
    matrix, offset = torch.randn(3, 3, generator=generator), torch.randn(3, generator=generator)
    expected = network(x) @ matrix.T + offset
    target.compose_output(matrix, offset)
    torch.testing.assert_close(network(x), expected)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_follow_the_convention(name, pixels):
    spec = registered(name)
    target = RecognitionTarget(spec, torch.nn.Identity())
    x = target.inputs(pixels)
    convention = spec.convention
    assert x.shape == (6, 3, convention.size, convention.size) and x.dtype == torch.float32
    red = pixels.clone()
    red[:, 0] = 200
    channel = 0 if convention.channels == "RGB" else 2
    expected = (200 - convention.mean[channel]) / convention.std[channel]
    torch.testing.assert_close(target.inputs(red)[:, channel], torch.full_like(x[:, 0], expected))


def test_a_smaller_input_is_reduced_as_pillow_reduces(tiny, generator):
    smooth = F.interpolate(torch.rand(1, 3, 9, 9, generator=generator) * 255, (112, 112), mode="bilinear")
    picture = smooth.to(torch.uint8)
    small = Image.fromarray(picture[0].permute(1, 2, 0).numpy()).resize((40, 40), Image.Resampling.BILINEAR)
    ours = tiny.inputs(picture)[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    assert np.abs(ours - np.asarray(small, np.float32)).max() < 1.01


def test_embeddings_are_unit_and_do_not_depend_on_the_batch(tiny, pixels):
    ticks: list[int] = []
    whole, parts = tiny.embed(pixels), tiny.embed(pixels, batch=4, tick=ticks.append)
    torch.testing.assert_close(whole.norm(dim=-1), torch.ones(6))
    torch.testing.assert_close(whole, parts, atol=1e-6, rtol=0)
    assert ticks == [4, 2]
    assert tiny.embed(pixels[:0]).shape == (0, 64)
    assert not whole.requires_grad


def test_a_clone_is_independent(tiny, pixels):
    before = {n: t.clone() for n, t in tiny.network.state_dict().items()}
    twin = tiny.clone()
    assert not any(p.requires_grad for p in twin.network.parameters())
    with torch.no_grad():
        for parameter in twin.network.parameters():
            parameter.add_(1)
    twin.compose_output(torch.zeros(64, 64))
    assert all(torch.equal(t, before[n]) for n, t in tiny.network.state_dict().items())
    assert twin.weights == tiny.weights == TINY


def test_gradient_reaches_the_last_blocks_only_where_it_is_wanted(tiny, pixels):
    for p in tiny.last_blocks(0):
        p.requires_grad_(False)
    assert len(tiny.last_blocks(0)) == len(list(tiny.network.parameters()))
    wanted = tiny.last_blocks(1)
    assert {id(p) for p in wanted} == {
        id(p) for m in ("linear", "bn") for p in tiny.network.get_submodule(m).parameters()
    }
    for p in wanted:
        p.requires_grad_(True)
    tiny.forward(pixels).sum().backward()
    assert all((p.grad is not None) == any(p is w for w in wanted) for p in tiny.network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_network_holds_fixed_is_stated_and_not_among_the_last_blocks(name):
    spec = registered(name)
    network = spec.build().to("meta")
    named = dict(network.named_parameters())
    assert {n for n, p in named.items() if not p.requires_grad} == set(spec.fixed)
    target = RecognitionTarget(spec, network, torch.device("meta"))
    for count in (0, len(spec.blocks)):
        wanted = {id(p) for p in target.last_blocks(count)}
        assert {n for n, p in named.items() if id(p) in wanted} == set(named) - set(spec.fixed)


def test_saved_is_loaded_again_in_both_formats(tiny, pixels, tmp_path):
    published = tmp_path / "theirs.pth"
    torch.save({f"module.{n}": t for n, t in tiny.network.state_dict().items()}, published)
    target = RecognitionTarget.load("tiny", published).clone()
    target.compose_output(torch.eye(64).flip(0))
    paths = target.save(tmp_path / "weights", method="none")
    assert [p.name for p in paths] == ["tiny.safetensors", "theirs.pth"]
    assert weights.read_header(paths[0])["method"] == "none"
    for path in paths:
        assert torch.equal(RecognitionTarget.load("tiny", path).embed(pixels), target.embed(pixels))
    assert next(iter(torch.load(paths[1], weights_only=True))).startswith("module.")
    assert [p.name for p in tiny.save(tmp_path / "again")] == ["tiny.safetensors"]


def test_unknown_names_and_fields(tmp_path):
    with pytest.raises(EffaceError, match=r"found 'nosuch', expected one of: .*tiny"):
        RecognitionTarget.load("nosuch", TINY)
    with pytest.raises(EffaceError, match="found weights of tiny, expected iresnet \\(depth 100\\)"):
        RecognitionTarget.load("iresnet", TINY, depth=100)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilefacenet", "recogniser-mobilefacenet/mobilefacenet.pt"),
        ("mobileface_v2", "recogniser-mobileface-v2/MobileFace_Identification_V2-0000.params"),
    ],
)
@torch.no_grad()
def test_published_weights_composed_saved_and_loaded(data, name, file, pixels, generator, tmp_path):
    target = RecognitionTarget.load(name, data / file)
    d = target.spec.embedding_size
    y = target.network(target.inputs(pixels[:2])).double()
    matrix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    target.compose_output(matrix)
    found = target.network(target.inputs(pixels[:2]))
    assert (found - y @ matrix.T).abs().max() <= 1e-4 * found.abs().max()
    for path in target.save(tmp_path):
        assert torch.equal(RecognitionTarget.load(name, path).embed(pixels[:2]), target.embed(pixels[:2]))
