"""The EG3D generator and its parts: published names and numbers, and every part against a slow formula."""

import numpy as np
import pytest
import torch

from efface.models import rays, volume
from efface.models.eg3d import Generator
from efface.models.rendering import Rendering
from efface.models.superresolution import PUBLISHED as SUPER
from parity import Fixture, check_names, filled, named, near


def published(manifest, **changed) -> Generator:
    """The generator that the official constructor's arguments describe."""
    given = manifest["constructor"]
    options = given["rendering_kwargs"] | changed
    start, channels = SUPER[options["superresolution_module"].rpartition(".")[2]]
    return Generator(
        given["img_resolution"],
        z_dim=given["z_dim"],
        w_dim=given["w_dim"],
        layers=given["mapping_kwargs"]["num_layers"],
        channel_base=given["channel_base"],
        channel_max=given["channel_max"],
        start=start,
        super_channels=channels,
        clamp=given["conv_clamp"],
        super_clamp=256.0 if given["sr_num_fp16_res"] else None,
        rendering=Rendering.published(options, 128),
    )


@pytest.mark.real
@pytest.mark.parametrize("name", ["tiny128", "ffhq512-128"])
def test_names_and_shapes_are_the_published_ones(data, name):
    fixture = Fixture(data, f"eg3d/{name}")
    with torch.device("meta"):
        network = published(fixture.manifest)
    check_names(network, fixture.manifest)
    assert network.backbone.mapping.count == fixture.manifest["num_ws"]


@pytest.mark.real
def test_the_defaults_are_those_of_the_published_faces(data):
    manifest = Fixture(data, "eg3d/ffhq512-128").manifest
    with torch.device("meta"):
        default = Generator()
    check_names(default, manifest)
    assert default.rendering == Rendering.published(manifest["constructor"]["rendering_kwargs"], 128)


def check_latents(fixture: Fixture, network: Generator) -> torch.Tensor:
    z, c = fixture.input("z"), torch.from_numpy(fixture.arrays["c"])
    fixture.check("ws.psi1", network.mapping(z, c)[:, 0])
    fixture.check("ws.psi0.7.cutoff7", network.mapping(z, c, 0.7, 7)[:, 6:8])
    w = network.mapping(z, c, 0.7)
    fixture.check("ws.psi0.7", w[:, 0])
    with torch.device("meta"):
        options = published(fixture.manifest, c_gen_conditioning_zero=True).rendering
    conditioned, network.rendering = network.rendering, options
    fixture.check("ws.psi1.zerocond", network.mapping(z, c)[:, 0])
    network.rendering = conditioned
    return w


def check_planes(fixture: Fixture, planes: torch.Tensor, key: str) -> None:
    maps = planes.flatten(1, 2)
    fixture.check(f"{key}.coarse", maps)
    fixture.check(f"{key}.crop", maps)
    fixture.check(f"{key}.channel_mean", maps.mean((2, 3)))
    fixture.check(f"{key}.channel_std", maps.std((2, 3), correction=0))


def check_view(fixture: Fixture, network: Generator, planes, w, c, key: str, resolution: int) -> None:
    """Everything that is stored below the key."""
    inner = {}
    hooks = [
        network.superresolution.get_submodule(name).register_forward_hook(
            lambda m, i, o, name=name: inner.update({f"sr.{name}.x": o[0], f"sr.{name}.img": o[1]})
        )
        for name in ("block0", "block1")
    ]
    features, depth, stopped = network.features(planes, c, resolution)
    view = network.render(planes, w, c, resolution)
    for hook in hooks:
        hook.remove()
    assert torch.equal(view.raw, features[:, :3]) and torch.equal(view.depth, depth)
    found = {"features": features, "weight_total": stopped, "image_raw": view.raw, "image_depth": depth, **inner}
    found |= {"image": view.picture, "image.grid": view.picture, "image.crop": view.picture}
    for stored in fixture.stored:
        name = stored.removeprefix(f"{key}.")
        if stored.startswith(f"{key}.") and name in found:
            if found[name].shape[1:] != torch.Size(shape := fixture.shape(stored)[1:]):  # the first channels only
                found[name] = found[name][:, : shape[0]]
            fixture.check(stored, found[name])


@pytest.mark.real
@pytest.mark.parametrize("noise", ["none", "const"])
def test_a_small_generator_has_the_published_numbers(data, noise):
    fixture = Fixture(data, "eg3d/tiny128")
    network = filled(published(fixture.manifest))
    c = torch.from_numpy(fixture.arrays["c"])
    w = check_latents(fixture, network)
    planes = network.planes(w, noise)
    check_planes(fixture, planes, f"planes.{noise}")
    check_view(fixture, network, planes, w, c, f"{noise}.imp8", 16)
    origins, directions = rays.rays(c, 16)
    depths, weights, more = sampled(network, planes, origins, directions)
    fixture.check(f"{noise}.imp8.depths_coarse", depths.unsqueeze(-1))
    fixture.check(f"{noise}.imp8.coarse_weights", weights.unsqueeze(-1))
    fixture.check(f"{noise}.imp8.depths_fine", more.unsqueeze(-1))
    if noise == "const":
        return
    fixture.check("ray_origins.16", origins[:, 0])
    fixture.check("ray_directions.16", directions)
    density, colours = network.densities(planes, fixture.input("coordinates"))
    fixture.check("points.sigma", density.unsqueeze(-1))
    fixture.check("points.rgb", colours.transpose(1, 2))
    check_view(fixture, network, planes, w, c, "res64", 64)
    altered = {}  # the official raw picture is altered by the super-resolution, ours is not
    network.superresolution.block0.register_forward_hook(lambda m, i, o: altered.update(raw=o[1]))
    network.render(planes, w, c, 64)
    fixture.check("res64.image_raw_as_returned", altered["raw"])
    network = filled(published(fixture.manifest, depth_resolution_importance=0))
    check_view(fixture, network, planes, w, c, "none.imp0", 16)


def sampled(network: Generator, planes, origins, directions):
    """(even depths, weights between them, further depths) of all rays."""
    options = network.rendering
    depths = volume.stratified(options.near, options.far, directions, options.samples)
    points = origins.unsqueeze(2) + directions.unsqueeze(2) * depths.unsqueeze(-1)
    density = network.densities(planes, points.flatten(1, 2))[0].view_as(depths)
    weights = volume.stops(depths, density)
    return depths, weights, volume.importance(depths, weights, options.importance_samples)


@pytest.mark.real
def test_the_full_size_generator_has_the_published_numbers(data):
    fixture = Fixture(data, "eg3d/ffhq512-128")
    network = filled(published(fixture.manifest))
    c = torch.from_numpy(fixture.arrays["c"])
    w = check_latents(fixture, network)
    planes = network.planes(w)
    check_planes(fixture, planes, "planes")
    for resolution in (64, 128):
        check_view(fixture, network, planes, w, c, f"res{resolution}", resolution)


@pytest.fixture
def parts(data):
    return dict(np.load(data.parent / "parity" / "eg3d" / "parts.npz"))


def tensors(parts, *names):
    return tuple(torch.from_numpy(parts[f"in.{name}"]) for name in names)


@pytest.mark.real
def test_cameras_rays_and_limits_have_the_published_numbers(parts):
    (angles,) = tensors(parts, "camera.yaw_pitch")
    near(rays.look_at(angles[:, 0], angles[:, 1], (0, 0, 0.2), 2.7), parts["camera.lookat_pivot_r2.7"])
    near(rays.look_at(angles[:, 0], angles[:, 1], (0, 0, 0), 1), parts["camera.lookat_origin_r1"])
    near(torch.stack([rays.intrinsics(float(f)) for f in parts["in.fov"]]), parts["fov.intrinsics"])
    pose, inner = tensors(parts, "rays.cam2world", "rays.intrinsics")
    origins, directions = rays.rays(torch.cat([pose.flatten(1), inner.flatten(1)], 1), 8)
    near(origins.expand_as(directions), parts["rays.origins"])
    near(directions, parts["rays.directions"])
    for box in (1.0, 0.4):
        first, last = rays.box_limits(origins, directions, box)
        met = parts[f"rays.box{box}.near"] != -1
        assert np.array_equal((last >= first).numpy(), met)
        near(first.where(torch.from_numpy(met), -1), parts[f"rays.box{box}.near"])
        near(last.where(torch.from_numpy(met), -2), parts[f"rays.box{box}.far"])


@pytest.mark.real
@pytest.mark.parametrize(("name", "box"), [("warp1", 1.0), ("warp1.6", 1.6)])
def test_every_plane_is_looked_up_as_published(parts, name, box):
    planes, points = tensors(parts, "planes", "plane.coordinates")
    for k in range(3):
        alone = torch.zeros_like(planes)
        alone[:, k] = planes[:, k] * 3  # what is found is the mean
        found = volume.look_up(volume.folded(alone), points, box)
        near(found.transpose(1, 2), parts[f"plane.samples.{name}"][:, k])


@pytest.mark.real
def test_the_decoder_has_the_published_numbers(parts):
    decoder = volume.Decoder(32, 32)
    for name, tensor in decoder.state_dict().items():
        tensor.copy_(
            named(f"decoder.{name}", tensor.shape, 4.0 if name == "net.2.weight" else 0.1 if "bias" in name else 1.0)
        )
    (features,) = tensors(parts, "decoder.features")
    density, colours = decoder(features.mean(1).transpose(1, 2))
    near(density.unsqueeze(-1), parts["decoder.sigma"])
    near(colours.transpose(1, 2), parts["decoder.rgb"])


@pytest.mark.real
def test_compositing_has_the_published_numbers(parts):
    depths, colours, densities = (
        t.squeeze(-1) for t in tensors(parts, "march.depths", "march.colors", "march.densities")
    )
    colours = colours.permute(0, 3, 1, 2)
    near(volume.stops(depths, densities).unsqueeze(-1), parts["march.weights"])
    emptied = densities.clone()
    emptied[:, :2] = -100
    for key, density in (("march", densities), ("march.empty", emptied)):
        seen, depth, _ = volume.composite(depths, density, [colours])
        near(seen.transpose(1, 2), parts[f"{key}.rgb"])
        near(depth.clamp(depths.min(), depths.max()).unsqueeze(-1), parts[f"{key}.depth"])
    near(volume.composite(depths, densities, [colours], white=True)[0].transpose(1, 2), parts["march.rgb.white_back"])
    near(volume.stops(depths, emptied).unsqueeze(-1), parts["march.empty.weights"])


@pytest.mark.real
def test_depths_have_the_published_numbers(parts):
    like = torch.zeros(2, 6, 3)
    first, last = tensors(parts, "depths.near", "depths.far")
    for name, found in (
        ("uniform", volume.stratified(2.25, 3.3, like, 9)),
        ("disparity", volume.stratified(2.25, 3.3, like, 9, disparity=True)),
        ("per_ray", volume.stratified(first, last, like, 9)),
    ):
        near(found.unsqueeze(-1), parts[f"depths.{name}"], name)
    (depths,) = tensors(parts, "march.depths")
    weights = torch.from_numpy(parts["march.weights"]).squeeze(-1)
    near(volume.importance(depths.squeeze(-1), weights, 12).unsqueeze(-1), parts["depths.importance"])
    edges, weights = tensors(parts, "pdf.bins", "pdf.weights")
    u = (torch.arange(10) + 0.5) / 10
    near(volume.quantiles(edges, weights, u.expand(6, -1)), parts["pdf.samples"])
    near(volume.quantiles(edges, weights, torch.linspace(0, 1, 10).expand(6, -1)), parts["pdf.samples_det"])
