"""The StyleGAN2 generator: published names and numbers, and every layer against a slow formula."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import convolve2d, correlate2d

from efface.errors import EffaceError
from efface.models.stylegan2 import Generator, SynthesisLayer, ToRGB, doubled, halved, low_pass, modulated
from gradients import check_gradients
from parity import Fixture, check_names, filled

PUBLISHED = {
    "tiny32": {
        "resolution": 32,
        "z_dim": 64,
        "w_dim": 64,
        "layers": 2,
        "channel_base": 1024,
        "channel_max": 64,
        "clamp": None,
    },
    "ffhq256": {"resolution": 256, "channel_base": 16384},
    "ffhq1024-config-f": {},
}


@pytest.mark.real
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_published_ones(data, name):
    with torch.device("meta"):
        network = Generator(**PUBLISHED[name])
    fixture = Fixture(data, f"stylegan2/{name}")
    check_names(network, fixture.manifest)
    assert network.mapping.count == fixture.manifest["num_ws"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["tiny32", "ffhq256"])
def test_numbers_are_the_published_ones(data, name):
    fixture = Fixture(data, f"stylegan2/{name}")
    network = filled(Generator(**PUBLISHED[name]))
    assert isinstance(network, Generator)
    z, free = fixture.input("z"), fixture.input("ws")
    latents = {
        "psi1": network.mapping(z),
        "psi0.7": network.mapping(z, truncation=0.7),
        "psi0.7.cutoff4": network.mapping(z, truncation=0.7, cutoff=4),
        "freews": free,
    }
    for key, w in latents.items():
        if key == "freews":
            continue
        if "cutoff" not in key:
            assert torch.equal(w, w[:, :1].expand_as(w))
            w = w[:, 0]
        fixture.check(f"ws.{key}", w)
    taps = {}
    for size in network.synthesis.resolutions:
        block = network.synthesis.get_submodule(f"b{size}")
        block.register_forward_hook(lambda m, i, o, size=size: taps.update({f"b{size}.x": o[0], f"b{size}.img": o[1]}))
    left = {k for k in fixture.stored if not k.startswith("ws.")}
    for stored in sorted(k for k in left if k.startswith("image.")):
        latent, noise = re.fullmatch(r"image\.(.+)\.(none|const)(?:\.grid|\.crop|\.unfused)?", stored).groups()
        fixture.check(stored, network.synthesis(latents[latent], noise))
        left.remove(stored)
        for tap, found in taps.items():
            if (name := f"tap.{latent}.{noise}.{tap}") in left:
                fixture.check(name, found)
                left.remove(name)
    assert not left


def tiny(**changed) -> Generator:
    """A generator that draws 16 pixels, every number of which was drawn (noise strengths and biases too)."""
    torch.manual_seed(0)
    options = {"z_dim": 8, "w_dim": 12, "layers": 2, "channel_base": 128, "channel_max": 12, "clamp": None} | changed
    network = Generator(16, **options).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.rpartition(".")[2] in ("noise_strength", "bias", "w_avg"):
                tensor.add_(torch.randn_like(tensor) * 0.3)
    return network


def test_names_of_a_tiny_generator():
    network = tiny(c_dim=3)
    layer = ["weight", "noise_strength", "bias", "resample_filter", "noise_const", "affine.weight", "affine.bias"]
    colours = [f"torgb.{n}" for n in ("weight", "bias", "affine.weight", "affine.bias")]
    expected = [f"synthesis.b4.{n}" for n in ("const", "resample_filter", *(f"conv1.{n}" for n in layer), *colours)]
    for size in (8, 16):
        inner = ["resample_filter", *(f"conv{i}.{n}" for i in (0, 1) for n in layer), *colours]
        expected += [f"synthesis.b{size}.{n}" for n in inner]
    maps = [f"mapping.{m}.{n}" for m in ("embed", "fc0", "fc1") for n in ("weight", "bias")]
    assert list(network.state_dict()) == [*expected, "mapping.w_avg", *maps]
    assert network(torch.zeros(2, 8), torch.zeros(2, 3)).shape == (2, 3, 16, 16)


def test_mapping_is_the_papers_formula():
    mapping = tiny(c_dim=3).mapping
    z, c = torch.randn(4, 8), torch.randn(4, 3)
    x = torch.cat([z / z.square().mean(1, keepdim=True).sqrt(), unit(mapping.embed.weight @ c.T / 3**0.5, mapping)], 1)
    for layer in (mapping.fc0, mapping.fc1):
        x = x @ layer.weight.T * 0.01 / layer.weight.shape[1] ** 0.5 + layer.bias * 0.01
        x = torch.where(x > 0, x, 0.2 * x) * 2**0.5
    w = mapping(z, c)
    assert w.shape == (4, 6, 12)
    assert torch.allclose(w, x.unsqueeze(1).expand(-1, 6, -1), atol=1e-5)


def unit(x, mapping):
    x = x.T + mapping.embed.bias
    return x / x.square().mean(1, keepdim=True).sqrt()


def test_truncation_goes_to_the_average_and_stops_at_the_cutoff():
    mapping = tiny().mapping
    w = mapping(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)))
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    half = mapping(z, truncation=0.5)
    assert torch.allclose(half, (w + mapping.w_avg) / 2, atol=1e-6)
    assert torch.allclose(mapping(z, truncation=0.0), mapping.w_avg.expand_as(w))
    cut = mapping(z, truncation=0.5, cutoff=4)
    assert torch.equal(cut[:, :4], half[:, :4]) and torch.equal(cut[:, 4:], w[:, 4:])
    assert torch.equal(mapping(z, truncation=0.5, cutoff=0), w)
    assert torch.equal(mapping(z, truncation=0.5, cutoff=99), half)


def test_the_average_moves_only_when_told_and_by_the_decay():
    mapping = tiny().mapping.train()
    before, z = mapping.w_avg.clone(), torch.randn(5, 8)
    w = mapping(z)
    assert torch.equal(mapping.w_avg, before)
    mapping.track(w, decay=0.9)
    assert torch.allclose(mapping.w_avg, 0.9 * before + 0.1 * w[:, 0].mean(0), atol=1e-6)
    assert not mapping.w_avg.requires_grad
    for _ in range(200):
        mapping.track(w, decay=0.9)
    assert torch.allclose(mapping.w_avg, w[:, 0].mean(0), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("side", [2, 7])
@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_the_slow_formula(count, side, up):
    """Both ways round: a map larger than the weights of a pair of channels (7 × 7) and one that is smaller."""
    torch.manual_seed(side)
    x, weight, style = torch.randn(count, 4, side, side), torch.randn(5, 4, 3, 3), torch.randn(count, 4)
    found = modulated(x, weight, style, 1.5, low_pass() if up else None)
    for n in range(count):
        scaled = weight.double() * style[n].double().view(1, -1, 1, 1)
        scaled = scaled / (scaled.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt() * 1.5
        for o in range(5):
            slow = sum(convolved(x[n, i].double().numpy(), scaled[o, i].numpy(), up) for i in range(4))
            assert np.allclose(found[n, o], slow, atol=1e-5)


def convolved(x, weight, up):
    """Correlation without up-sampling; with it, true convolution of the picture with zeros between its pixels, then the
    filter."""
    if not up:
        return correlate2d(x, weight, mode="same")
    return filtered(convolve2d(spread(x)[:-1, :-1], weight, mode="full"), 4)[2:-2, 2:-2]


def spread(x):
    wide = np.zeros((2 * x.shape[0], 2 * x.shape[1]))
    wide[::2, ::2] = x
    return wide


def filtered(x, gain):
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64 * gain
    return convolve2d(x, taps, mode="full")


def test_resampling_is_the_slow_formula():
    x = torch.randn(2, 3, 6, 6)
    twice, half = doubled(x, low_pass()), halved(x, low_pass())
    for n in range(2):
        for c in range(3):
            slow = filtered(spread(x[n, c].double().numpy()), 4)[1:-2, 1:-2]
            assert np.allclose(twice[n, c], slow, atol=1e-6)
            slow = filtered(x[n, c].double().numpy(), 1)[2:-1:2, 2:-1:2]
            assert np.allclose(half[n, c], slow, atol=1e-6)
    flat = doubled(torch.ones(1, 1, 8, 8), low_pass())
    assert torch.allclose(flat[..., 2:-2, 2:-2], torch.ones(()))  # brightness stays


def test_colours_are_a_weighted_sum_of_the_maps():
    layer = ToRGB(5, 3, 7, clamp=0.5)
    x, w = torch.randn(2, 5, 4, 4), torch.randn(2, 7)
    style = (w @ layer.affine.weight.T / 7**0.5 + layer.affine.bias) / 5**0.5
    slow = torch.einsum("oi,ni,nihw->nohw", layer.weight[..., 0, 0], style, x) + layer.bias.view(-1, 1, 1)
    assert torch.allclose(layer(x, w), slow.clamp(-0.5, 0.5), atol=1e-6)
    assert slow.abs().max() > 0.5


def test_noise_modes():
    network = tiny()
    w = network.mapping(torch.randn(2, 8))
    none, const = network.synthesis(w, "none"), network.synthesis(w, "const")
    assert not torch.allclose(none, const, atol=1e-3)
    assert torch.equal(network.synthesis(w), const)
    drawn = [network.synthesis(w, "random", torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.allclose(drawn[0], drawn[2], atol=1e-3)
    same = network.synthesis(w[:1].expand(2, -1, -1), "random", torch.Generator().manual_seed(1))
    assert not torch.allclose(same[0], same[1], atol=1e-3)  # each picture has its own noise
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.zero_()
    assert torch.equal(network.synthesis(w, "const"), network.synthesis(w, "none"))


def test_noise_that_is_held_is_the_one_that_is_added():
    layer = SynthesisLayer(3, 4, 5, 6)
    with torch.no_grad():
        layer.noise_strength.fill_(0.7)
        layer.bias.normal_()
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, 5)
    before = modulated(x, layer.weight, layer.affine(w)) + layer.noise_const * 0.7 + layer.bias.view(-1, 1, 1)
    assert torch.allclose(layer(x, w), F.leaky_relu(before, 0.2) * 2**0.5, atol=1e-5)


def test_pictures_do_not_depend_on_their_neighbours_and_are_the_same_again():
    network = tiny(clamp=4.0)
    z = torch.randn(4, 8)
    together = network(z, truncation=0.8)
    assert torch.equal(together, network(z, truncation=0.8))
    for i in range(4):
        assert torch.allclose(network(z[i : i + 1], truncation=0.8)[0], together[i], atol=1e-5)
    with torch.no_grad():
        assert torch.allclose(network(z, truncation=0.8), together, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("clamp", [None, 3.0])
def test_gradients_are_those_of_finite_differences(count, clamp):
    network = tiny(clamp=clamp).double()
    w = network.mapping(torch.randn(count, 8).double()).detach()
    target = torch.randn(count, 3, 16, 16).double()
    check_gradients(network.synthesis, lambda w: (network.synthesis(w) - target).square().mean(), w)


def test_weights_are_drawn_so_that_maps_keep_their_size():
    torch.manual_seed(0)
    network = Generator(64, z_dim=32, w_dim=32, layers=4, channel_base=2048, channel_max=64)
    sizes = []
    for size in network.synthesis.resolutions:
        block = network.synthesis.get_submodule(f"b{size}")
        block.register_forward_hook(lambda m, i, o: sizes.append(float(o[0].detach().square().mean().sqrt())))
    w = network.mapping(torch.randn(8, 32))
    network.synthesis(w)
    assert 0.2 < float(w.detach().square().mean().sqrt()) < 2
    assert all(0.3 < s < 3 for s in sizes)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda g: g.mapping(torch.zeros(2, 9)), "found z of shape [2, 9], expected [n, 8] of this network"),
        (lambda g: g.synthesis(torch.zeros(2, 12)), "found w of shape [2, 12], expected [n, 6, 12] of this network"),
        (lambda g: g.synthesis(torch.zeros(2, 5, 12)), "found w of shape [2, 5, 12], expected [n, 6, 12]"),
        (lambda g: g.synthesis(torch.zeros(2, 6, 12), "random"), "found random noise without a generator"),
        (lambda g: tiny(c_dim=3)(torch.zeros(2, 8)), "found no c, expected [2, 3]"),
        (lambda g: tiny(c_dim=3)(torch.zeros(2, 8), torch.zeros(1, 3)), "found c of shape [1, 3], expected [2, 3]"),
        (lambda g: Generator(48), "found the resolution 48, expected a power of two"),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(EffaceError) as raised:
        call(tiny())
    assert line in str(raised.value) and "\n" not in str(raised.value)
