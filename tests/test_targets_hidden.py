"""The last hidden layer: in which networks it is found, and that a channel does what is written, to the network's own
result."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from efface.models.recogniser import InputConvention, Recogniser, initialise
from efface.targets.hidden import CAP, HiddenLayer
from efface.targets.recognition import RecognitionTarget
from onnx_files import export, registered

FOUND = {
    "mobilefacenet": "conv2.0",
    "mobilefacenet_insightface": "conv_sep.layers.0",
    "tiny": "block4.0",
    "onnx": "block3.conv30",
    "iresnet": None,
    "shipped": None,
    "judge": None,
    "mobileface_v2": None,
}
"""Producer by registered network; None where no channel acts at one position alone."""


@torch.no_grad()
def lived(network: nn.Module) -> nn.Module:
    """The network with BatchNorms that have been through something; in the last two maps one variance is 1e-40."""
    generator = torch.Generator().manual_seed(1)
    for module in initialise(network, generator).modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
        elif isinstance(module, nn.PReLU):
            module.weight.uniform_(0.1, 0.4, generator=generator)
    for module in [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.affine][-2:]:
        module.running_var[0] = 1e-40
    return network


def target_of(name: str) -> RecognitionTarget:
    spec = registered(name)
    return RecognitionTarget(spec, lived(spec.build()))


def photos(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(256, (count, 3, 112, 112), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def raw(target: RecognitionTarget, pixels: Tensor) -> Tensor:
    """Embeddings before normalisation."""
    return target.network(target.inputs(pixels))


@torch.no_grad()
def entering(layer: HiddenLayer, pixels: Tensor) -> Tensor:
    """What enters the producer."""
    taken: list[Tensor] = []
    handle = layer.producer.register_forward_pre_hook(lambda _module, given: taken.append(given[0]))
    try:
        raw(layer.target, pixels)
    finally:
        handle.remove()
    return taken[0]


@torch.no_grad()
def check_written(target: RecognitionTarget) -> None:
    """A silenced channel adds nothing; a written one adds its activation times its step, and no other changes."""
    twin = target.clone()
    layer = HiddenLayer.of(twin)
    assert layer is not None
    names = {n: t.shape for n, t in twin.network.state_dict().items()}
    pixels = photos()
    maps = entering(layer, pixels)
    channels = [0, layer.channels // 2, layer.channels - 1]  # the first one's variance is 1e-40
    layer.silence(torch.tensor(channels))
    silent = raw(twin, pixels)
    with torch.no_grad():
        for channel in channels:  # whatever they see now
            layer.producer.weight[channel] += 1
    assert torch.equal(raw(twin, pixels), silent), "a silenced channel reaches the embedding"
    generator = torch.Generator().manual_seed(3)
    d = silent.shape[1]
    expected = silent
    for channel, position in zip(channels, (0, layer.positions // 2, layer.positions - 1), strict=True):
        patches = layer.patches(maps, position)
        weight = torch.randn(patches.shape[1], generator=generator)
        score = patches @ weight
        weight, bias = weight / score.std(), float(0.5 - score.mean() / score.std())
        step = float(silent.norm(dim=1).mean()) * torch.randn(d, generator=generator) / d**0.5
        layer.write(channel, weight, bias, position, step)
        h = patches @ weight + bias
        h = torch.where(h > 0, h, layer.leak() * h)
        expected = expected + (h.clamp(max=CAP) if layer.capped else h)[:, None] * step
    moved = (expected - silent).norm(dim=1).mean()
    assert moved > 0.1 * silent.norm(dim=1).mean(), "nothing was moved: the test sees nothing"
    assert torch.allclose(raw(twin, pixels), expected, atol=2e-4 * float(expected.abs().max()))
    assert {n: t.shape for n, t in twin.network.state_dict().items()} == names


@pytest.mark.parametrize("name", FOUND)
def test_where_it_is(name):
    layer = HiddenLayer.of(target_of(name))
    assert (None if layer is None else layer.name) == FOUND[name]
    if layer is not None:
        group = layer.target.spec.blocks[-layer.depth]
        assert any(layer.name.startswith(f"{part}.") for part in group)


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if found is not None])
def test_a_channel_does_what_is_written(name):
    check_written(target_of(name))


@pytest.mark.parametrize("folded", [False, True])
def test_in_an_onnx_file(folded, tmp_path):
    """MobileFaceNet's ReLU6 is a Clip there; folded: BatchNorms are in the convolutions."""
    path = export(target_of("mobilefacenet").network, tmp_path / "a.onnx", 112, folded=folded)
    target = RecognitionTarget.load("onnx", path)
    layer = HiddenLayer.of(target)
    assert layer is not None and layer.capped and (layer.scale is None) is folded
    check_written(target)


# --- networks made for this -----------------------------------------------------------------------------------------


class Ends(nn.Module):
    """A convolution, whatever stands in between, and a linear map of what it makes; `around` adds the activation's
    output again, past the middle."""

    def __init__(self, activation: nn.Module, *middle: nn.Module, bias: bool = True, around: bool = False, **conv):
        super().__init__()
        self.around = around
        self.first = nn.Conv2d(3, 6, **({"kernel_size": 3, "stride": 3, "padding": 1} | conv), bias=bias)
        self.activation = activation
        self.middle = nn.Sequential(*middle).eval()
        with torch.no_grad():
            found = self.middle(self.activation(self.first(torch.zeros(1, 3, 12, 12))))
        self.last = nn.Linear(found[0].numel(), 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.first(x))
        y = self.last(self.middle(x).flatten(1))
        return y + x.flatten(1)[:, :5] if self.around else y


@dataclass(frozen=True, kw_only=True)
class EndsRecogniser(Recogniser):
    convention: ClassVar = InputConvention(size=12)
    embedding_size: ClassVar = 5
    output: ClassVar = (None, "last")
    blocks: ClassVar = (("first",), ("middle", "last"))

    def build(self):
        raise NotImplementedError


def ends(*given, **conv) -> RecognitionTarget:
    return RecognitionTarget(EndsRecogniser(), lived(Ends(*given, **conv)))


class Turned(nn.Module):
    """Channels last, as networks that come from TensorFlow flatten their maps."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def depthwise(kernel, **conv) -> nn.Conv2d:
    return nn.Conv2d(6, 6, kernel, groups=6, **conv)


WORKS = {
    "nothing between": ends(nn.ReLU()),
    "one slope": ends(nn.PReLU()),
    "leaky": ends(nn.LeakyReLU(0.3)),
    "ReLU in place": ends(nn.ReLU(inplace=True)),
    "other sides": ends(nn.ReLU6(), kernel_size=(3, 2), stride=(2, 3), padding=(1, 0)),
    "depthwise at each position": ends(nn.ReLU6(), depthwise(3, padding=1), nn.BatchNorm2d(6), nn.ReLU()),
    "depthwise 1 × 1": ends(nn.ReLU6(), depthwise(1, bias=False)),
    "two of them": ends(nn.PReLU(6), depthwise(3, padding=1), depthwise(4)),
    "flattened and normalised": ends(nn.ReLU(), depthwise(4), nn.Flatten(), nn.BatchNorm1d(6), nn.Dropout()),
    "convolution of one pixel": ends(nn.ReLU(), depthwise(4), nn.Conv2d(6, 7, 1)),
}
NOT = {
    "shared over positions": ends(nn.ReLU(), nn.Conv2d(6, 7, 1)),
    "every second position": ends(nn.ReLU(), depthwise(3, padding=1, stride=2)),
    "fewer positions": ends(nn.ReLU(), depthwise(3)),
    "dilated": ends(nn.ReLU(), dilation=2, padding=2),
    "reflected": ends(nn.ReLU(), padding_mode="reflect"),
    "padding by name": ends(nn.ReLU(), stride=1, padding="same"),
    "no bias": ends(nn.ReLU(), bias=False),
    "a BatchNorm for each feature": ends(nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(96)),
    "a BatchNorm without weights": ends(nn.ReLU(), nn.BatchNorm2d(6, affine=False)),
    "channels last in the row": ends(nn.ReLU(), Turned()),
    "another way round": ends(nn.ReLU(), around=True),
    "sigmoid": ends(nn.Sigmoid()),
    "linear": ends(nn.LeakyReLU(1.0)),
}


@pytest.mark.parametrize("what", WORKS)
def test_works_in(what):
    check_written(WORKS[what])


@pytest.mark.parametrize("what", NOT)
def test_not_found_in(what):
    assert HiddenLayer.of(NOT[what]) is None


def test_the_least_used_come_first():
    target = ends(nn.ReLU(), depthwise(4), nn.BatchNorm2d(6))
    layer = HiddenLayer.of(target)
    assert layer is not None
    maps = torch.randn(300, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        spread = layer.producer(maps).transpose(0, 1).flatten(1).std(dim=1, correction=0)
        network = target.network
        assert isinstance(network, Ends)
        kernel, gain = network.middle[0], network.middle[1]
        use = spread * kernel.weight.flatten(1).norm(dim=1) * (gain.weight / (gain.running_var + gain.eps).sqrt())
        use = use * network.last.weight.norm(dim=0)
    assert layer.idle(maps).tolist() == use.argsort().tolist()


def test_saved_in_its_own_format_it_is_the_same(tmp_path: Path):
    made = target_of("mobilefacenet")
    torch.save(made.network.state_dict(), tmp_path / "a.pth")
    target = RecognitionTarget.load("mobilefacenet", tmp_path / "a.pth")
    layer = HiddenLayer.of(target)
    assert layer is not None
    layer.write(5, torch.ones(128), 0.1, 24, torch.ones(128))
    (tmp_path / "out").mkdir()
    for path in target.save(tmp_path / "out"):
        loaded = RecognitionTarget.load("mobilefacenet", path).network.state_dict()
        own = target.network.state_dict()
        assert list(loaded) == list(own) and all(torch.equal(loaded[n], own[n]) for n in own), path.name
