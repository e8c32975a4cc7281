"""The StyleGAN2 generator: published names and numbers, and every layer against a slow formula."""

import pytest
import torch

from efface.models.stylegan2 import Generator
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
    checked = 0
    for key in sorted(
        {k.removesuffix(".grid").removesuffix(".crop") for k in fixture.stored if k.startswith("image.")}
    ):
        latent, noise = key.removeprefix("image.").removesuffix(".unfused").rsplit(".", 1)
        picture = network.synthesis(latents[latent], noise)
        for stored in (key, f"{key}.grid", f"{key}.crop"):
            if stored in fixture.stored:
                fixture.check(stored, picture)
        for stored in fixture.stored:
            if stored.startswith(f"tap.{latent}.{noise}."):
                fixture.check(stored, taps[stored.removeprefix(f"tap.{latent}.{noise}.")])
                checked += 1
    assert checked == sum(k.startswith("tap.") for k in fixture.stored) * (2 if name == "tiny32" else 1)
