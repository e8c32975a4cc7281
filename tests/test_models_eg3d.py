"""The EG3D generator and its parts: published names and numbers, and every part against a slow formula."""

import itertools

import numpy as np
import pytest
import torch

from efface.errors import EffaceError
from efface.models import rays, volume
from efface.models.eg3d import Generator
from efface.models.rendering import Rendering
from efface.models.superresolution import PUBLISHED as SUPER
from gradients import check_gradients
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
    fixture.check("none.imp0.depths_coarse", sampled(network, planes, origins, directions)[0].unsqueeze(-1))


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
def test_points_are_projected_as_published(parts):
    """Planes whose value grows with the column, and with the row, say where a point meets them."""
    (points,) = tensors(parts, "plane.coordinates")
    ramp = ((torch.arange(64) + 0.5) / 64 * 2 - 1).expand(64, 64)
    for k in range(3):
        planes = torch.zeros(len(points), 3, 2, 64, 64)
        planes[:, k, 0], planes[:, k, 1] = ramp, ramp.T
        found = volume.look_up(volume.folded(planes), points, 2.0).transpose(1, 2) * 3
        stored = torch.from_numpy(parts["plane.projections"]).unflatten(0, (len(points), 3))[:, k]
        assert stored.abs().max() < 1 - 1 / 64  # beyond the last pixel's centre nothing grows
        near(found, stored.numpy())


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


OPTIONS = Rendering(neural_resolution=8, samples=6, importance_samples=5)


def tiny(rendering: Rendering = OPTIONS, **changed) -> Generator:
    """A generator that draws 16 pixels from planes of 8, every number of which was drawn."""
    torch.manual_seed(0)
    options = {
        "z_dim": 8,
        "w_dim": 12,
        "channel_base": 64,
        "channel_max": 8,
        "plane_resolution": 8,
        "plane_channels": 4,
    }
    options |= {"start": 8, "super_channels": (6, 5), "super_clamp": None} | changed
    network = Generator(16, rendering=rendering, **options).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.rpartition(".")[2] in ("noise_strength", "bias", "w_avg"):
                tensor.add_(torch.randn_like(tensor) * 0.3)
    return network


def drawn(network: Generator, count: int = 3):
    """(w, cameras) of latents."""
    cameras = network.camera(torch.linspace(-0.4, 0.4, count), torch.linspace(0.2, -0.1, count))
    return network.mapping(torch.randn(count, 8), cameras).detach(), cameras


def test_names_of_a_tiny_generator():
    names = list(tiny().state_dict())
    tops = list(dict.fromkeys(".".join(n.split(".")[:2]) for n in names))
    assert tops == [
        "backbone.synthesis",
        "backbone.mapping",
        "superresolution.resample_filter",
        "superresolution.block0",
        "superresolution.block1",
        "decoder.net",
    ]
    assert tiny().backbone.synthesis.b8.torgb.weight.shape == (12, 8, 1, 1)
    assert "superresolution.resample_filter" not in tiny(start=4).state_dict()
    assert tiny(start=4).superresolution.block0.conv0.up and not tiny().superresolution.block0.conv0.up


def test_a_camera_stands_on_its_sphere_and_looks_at_the_pivot():
    yaw, pitch = torch.tensor([0.0, 0.5, -0.7, 0.0]), torch.tensor([0.0, 0.0, 0.3, -0.4])
    pose = rays.look_at(yaw, pitch, (0.1, 0.0, 0.2), 2.0).double()
    place, axes = pose[:, :3, 3], pose[:, :3, :3]
    assert torch.allclose(place.norm(dim=1), torch.tensor(2.0).double(), atol=1e-5)
    assert torch.allclose(axes.transpose(1, 2) @ axes, torch.eye(3).double().expand(4, -1, -1), atol=1e-6)
    assert torch.allclose(torch.linalg.det(axes), torch.ones(4).double(), atol=1e-6)
    towards = torch.tensor([0.1, 0.0, 0.2]).double() - place
    assert torch.allclose(axes[:, :, 2], towards / towards.norm(dim=1, keepdim=True), atol=1e-6)
    assert (axes[:, 1, 1] < 0).all()  # the picture's down is the world's
    assert torch.allclose(place[0], torch.tensor([0.0, 0.0, 2.0]).double(), atol=1e-5)
    assert place[1, 0] > 0 > place[2, 0] and place[3, 1] > 0  # yaw to +x, negative pitch above
    phi = np.arccos(1 - 2 * (np.pi / 2 + 0.3) / np.pi)
    assert np.isclose(place[2, 1], 2 * np.cos(phi), atol=1e-5)
    assert torch.equal(rays.camera(), rays.camera(torch.zeros(1), 0.0)) and rays.camera(0.1).shape == (1, 25)


def test_rays_go_through_the_centres_of_their_pixels():
    camera = rays.camera(torch.tensor([0.3, -0.2]), 0.1, field=30.0)
    camera[:, 16:] = torch.tensor([2.0, 0.1, 0.45, 0.0, 2.2, 0.52, 0.0, 0.0, 1.0])
    origins, directions = rays.rays(camera, 4)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(2, 16))
    points = origins + directions * 2.5
    pose = camera[:, :16].view(-1, 4, 4)
    seen = (points - pose[:, None, :3, 3]) @ pose[:, :3, :3]  # into the camera's axes
    seen = seen @ camera[:, 16:].view(-1, 3, 3).transpose(1, 2)
    assert (seen[..., 2] > 0).all()
    pixels = seen[..., :2] / seen[..., 2:] * 4 - 0.5
    expected = torch.tensor([[x, y] for y in range(4) for x in range(4)]).float()
    assert torch.allclose(pixels, expected.expand(2, -1, -1), atol=1e-4)


def test_limits_of_the_box():
    origins = torch.tensor([[[0.0, 0.0, 2.0]]])
    directions = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [0.1, 0.05, -1.0]]]) + 1e-9
    first, last = rays.box_limits(origins, directions, 1.0)
    assert torch.allclose(first[0, [0, 2], 0], torch.tensor([1.5, 1.5])) and torch.allclose(
        last[0, 0, 0], torch.tensor(2.5)
    )
    assert last[0, 1, 0] < first[0, 1, 0]
    for t in (first[0, 2], last[0, 2]):
        assert torch.isclose((origins[0, 0] + t * directions[0, 2]).abs().max(), torch.tensor(0.5), atol=1e-6)


def test_points_meet_the_planes_xy_xz_and_zx():
    """Planes whose value grows along one side say which coordinate is read along it."""
    ramp = ((torch.arange(8) + 0.5) / 8 * 2 - 1).expand(8, 8)  # grows with the column, from −1 to 1
    point = torch.tensor([[[0.1, 0.2, 0.3]]])
    for k, (across, down) in enumerate([("x", "y"), ("x", "z"), ("z", "x")]):
        planes = torch.zeros(1, 3, 2, 8, 8)
        planes[0, k, 0], planes[0, k, 1] = ramp, ramp.T
        found = volume.look_up(volume.folded(planes), point, 1.0)[0, :, 0] * 3
        expected = [{"x": 0.1, "y": 0.2, "z": 0.3}[axis] * 2 for axis in (across, down)]
        assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


def test_looking_up_is_the_slow_formula():
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(2, 3, 3, 5, 5, generator=generator)
    points = (torch.rand(2, 30, 3, generator=generator) - 0.5) * 1.6
    found = volume.look_up(volume.folded(planes), points, 1.2)
    for n in range(2):
        for m in range(30):
            x, y, z = (points[n, m] * 2 / 1.2).tolist()
            slow = sum(bilinear(planes[n, k], *at) for k, at in enumerate([(x, y), (x, z), (z, x)])) / 3
            assert torch.allclose(found[n, :, m], slow, atol=1e-5)


def bilinear(plane, across, down):
    """Value at a place in −1 … 1, whose ends are the outer edges of the first and last pixel; zeros outside."""
    side = plane.shape[-1]
    u, v = ((a + 1) * side / 2 - 0.5 for a in (across, down))
    total = torch.zeros(plane.shape[0])
    for row in range(side):
        for column in range(side):
            total += plane[:, row, column] * max(0, 1 - abs(u - column)) * max(0, 1 - abs(v - row))
    return total


def test_compositing_is_the_slow_formula_in_any_order():
    generator = torch.Generator().manual_seed(0)
    depths = torch.rand(2, 3, 7, generator=generator).double() + 1
    densities, colours = torch.randn(2, 3, 7, generator=generator).double() * 4, torch.rand(2, 4, 3, 7).double()
    for white in (False, True):
        seen, depth, stopped = volume.composite(depths, densities, [colours[..., :2], colours[..., 2:]], white)
        for n in range(2):
            for m in range(3):
                order = depths[n, m].argsort()
                t, sigma, colour = depths[n, m, order], densities[n, m, order], colours[n, :, m, order]
                left, total, where = 1.0, 0.0, 0.0
                for i in range(6):
                    density = np.log1p(np.exp(float(sigma[i] + sigma[i + 1]) / 2 - 1))
                    share = left * (1 - np.exp(-density * float(t[i + 1] - t[i])))
                    left -= share
                    total = total + share * (colour[:, i] + colour[:, i + 1]) / 2
                    where += share * float(t[i] + t[i + 1]) / 2
                total = total + (left if white else 0)
                assert torch.allclose(seen[n, :, m], total * 2 - 1)
                assert np.isclose(float(depth[n, m]), where / (1 - left))
                assert np.isclose(float(stopped[n, m]), 1 - left)


def test_a_ray_that_meets_nothing_is_black_or_white_infinitely_far_and_has_gradients():
    depths = torch.linspace(1, 2, 5).expand(1, 1, 5)
    densities, colours = torch.full((1, 1, 5), -200.0, requires_grad=True), torch.ones(1, 2, 1, 5)
    for white, value in ((False, -1.0), (True, 1.0)):
        seen, depth, stopped = volume.composite(depths, densities, [colours], white)
        assert seen.unique().tolist() == [value] and depth.isposinf().all() and float(stopped.detach().sum()) == 0
        (gradient,) = torch.autograd.grad(seen.sum() + depth.where(depth.isfinite(), 0).sum(), densities)
        assert gradient.isfinite().all()


def test_quantiles_are_those_of_the_cumulative_distribution():
    generator = torch.Generator().manual_seed(0)
    edges = torch.rand(4, 6, generator=generator).double().sort(-1).values
    weights = torch.rand(4, 5, generator=generator).double()
    weights[2, 1:4] = 0
    u = torch.rand(4, 20, generator=generator).double()
    found = volume.quantiles(edges, weights, u)
    for r in range(4):
        shares = (weights[r] + 1e-5) / (weights[r] + 1e-5).sum()
        for j in range(20):
            reached = 0.0
            for i in range(5):
                if u[r, j] <= reached + shares[i]:
                    slow = edges[r, i] + (u[r, j] - reached) / shares[i] * (edges[r, i + 1] - edges[r, i])
                    break
                reached += float(shares[i])
            assert torch.isclose(found[r, j], slow, atol=1e-8)


def test_further_samples_lie_where_the_rays_stop():
    depths = volume.stratified(1.0, 2.0, torch.zeros(1, 1, 3), 21)
    weights = torch.zeros(1, 1, 20)
    weights[..., 12] = 1.0
    more = volume.importance(depths, weights, 50)
    near_it = (more > depths[0, 0, 10]) & (more < depths[0, 0, 14])
    assert near_it.float().mean() > 0.85
    assert torch.equal(more, more.sort(-1).values) and not torch.equal(more[..., :1].expand_as(more), more)


def test_further_samples_are_at_even_quantiles_of_smoothed_weights():
    generator = torch.Generator().manual_seed(0)
    depths = torch.rand(1, 3, 9, generator=generator).sort(-1).values + 1
    weights = torch.rand(1, 3, 8, generator=generator)
    found = volume.importance(depths, weights, 4)
    for m in range(3):
        raw = [0.0, *weights[0, m].tolist(), 0.0]
        larger = [max(a, b) for a, b in itertools.pairwise(raw)]
        smooth = torch.tensor([(a + b) / 2 + 0.01 for a, b in itertools.pairwise(larger)])
        middles = (depths[0, m, 1:] + depths[0, m, :-1]) / 2
        slow = volume.quantiles(middles[:7], smooth[1:-1], torch.tensor([0.125, 0.375, 0.625, 0.875]))
        assert torch.allclose(found[0, m], slow, atol=1e-6)


def test_rays_are_rendered_from_even_and_further_samples_together():
    network = tiny()
    w, cameras = drawn(network)
    planes = network.planes(w)
    origins, directions = rays.rays(cameras, 8)
    depths, _, more = sampled(network, planes, origins, directions)
    depths = torch.cat([depths, more], -1)
    assert depths.shape == (3, 64, 11)
    points = origins.unsqueeze(2) + directions.unsqueeze(2) * depths.unsqueeze(-1)
    density, colours = network.densities(planes, points.flatten(1, 2))
    seen, depth, stopped = volume.composite(depths, density.view_as(depths), [colours.unflatten(-1, (64, 11))])
    found = network.features(planes, cameras)
    for slow, fast in zip((seen, depth, stopped), found, strict=True):
        assert torch.allclose(slow.flatten(), fast.flatten(), atol=1e-5)


def test_samples_are_the_middles_of_their_strata_or_drawn_from_them():
    like = torch.zeros(2, 30, 3)
    middles = volume.stratified(1.0, 3.0, like, 5)
    assert torch.allclose(middles, torch.tensor([1.25, 1.75, 2.25, 2.75, 3.25]).expand(2, 30, -1))
    moved = [volume.stratified(1.0, 3.0, like, 5, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(moved[0], moved[1]) and not torch.equal(moved[0], moved[2])
    assert ((moved[0] - middles).abs() <= 0.25).all() and (moved[0] - middles).abs().max() > 0.2
    even = 1 / volume.stratified(1.0, 3.0, like, 5, disparity=True)
    assert torch.allclose(even.diff(dim=-1), even.diff(dim=-1)[..., :1].expand(2, 30, 4), atol=1e-6)


def test_rendering_is_the_same_again_and_moves_only_with_a_generator():
    network = tiny()
    w, cameras = drawn(network)
    with torch.no_grad():
        first, again = network.synthesis(w, cameras), network.synthesis(w, cameras)
        moved = [network.synthesis(w, cameras, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(moved[0].picture, moved[1].picture)
    assert not torch.allclose(moved[0].raw, moved[2].raw, atol=1e-4)
    assert not torch.allclose(moved[0].raw, first.raw, atol=1e-4)


def test_views_do_not_depend_on_their_neighbours_nor_on_parts_nor_on_gradients(monkeypatch):
    network = tiny()
    w, cameras = drawn(network)
    together = network.synthesis(w, cameras)
    assert together.picture.shape == (3, 3, 16, 16) and together.raw.shape == (3, 3, 8, 8)
    assert together.depth.shape == (3, 1, 8, 8) and together.picture.requires_grad
    low, high = network.rendering.near, network.rendering.far
    assert (together.depth > low).all() and (together.depth < high + 0.2).all()
    for i in range(3):
        alone = network.synthesis(w[i : i + 1], cameras[i : i + 1])
        for a, b in zip(alone, together, strict=True):
            assert torch.allclose(a[0], b[i], atol=1e-4)
    monkeypatch.setattr(volume, "POINTS", 100)
    for gradient in (False, True):
        with torch.set_grad_enabled(gradient):
            for a, b in zip(network.synthesis(w, cameras), together, strict=True):
                assert torch.allclose(a, b, atol=1e-4)


def test_planes_are_made_once_for_any_number_of_views():
    network = tiny()
    w, cameras = drawn(network, 1)
    planes = network.planes(w)
    assert planes.shape == (1, 3, 4, 8, 8)
    other = network.camera(-0.3)
    assert torch.equal(network.render(planes, w, other).picture, network.synthesis(w, other).picture)
    assert not torch.allclose(
        network.render(planes, w, other).raw, network.render(planes, w, cameras + 0).raw, atol=1e-3
    )
    assert network.render(planes, w, other, resolution=5).raw.shape == (1, 3, 5, 5)


def test_a_ray_that_misses_the_box_sees_what_is_outside_it():
    options = Rendering(neural_resolution=8, samples=6, importance_samples=5, near=None, far=None, box=0.3)
    network = tiny(options)
    w, cameras = drawn(network, 1)[0], network.camera()
    seen = network.features(network.planes(w), cameras)[0]
    corners = seen[0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    empty = network.features(torch.zeros(1, 3, 4, 8, 8), cameras)[0][0, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert torch.allclose(corners, empty, atol=1e-6) and seen.isfinite().all()
    assert not torch.allclose(seen[0, :, 4, 4], empty[:, 0], atol=1e-3)


def test_pivot_and_radius_of_the_network_are_those_of_its_cameras():
    moved = Rendering(pivot=(0.0, 0.1, 0.05), radius=2.4)
    camera = tiny(moved).camera(0.2, -0.1)
    assert torch.equal(camera, rays.camera(0.2, -0.1, pivot=(0.0, 0.1, 0.05), radius=2.4))
    assert not torch.allclose(camera, rays.camera(0.2, -0.1))
    assert torch.equal(tiny().camera(0.2), rays.camera(0.2, pivot=(0.0, 0.0, 0.2), radius=2.7))


def test_the_camera_conditions_the_latent_as_far_as_the_rendering_says():
    network = tiny()
    z = torch.randn(1, 8)
    assert not torch.allclose(network.mapping(z, network.camera(0.4)), network.mapping(z, network.camera()), atol=1e-4)
    off = tiny(Rendering(conditioning=0.0))
    assert torch.equal(off.mapping(z, off.camera(0.4)), off.mapping(z, off.camera()))


@pytest.mark.parametrize("start", [8, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_those_of_finite_differences(count, start):
    network = tiny(Rendering(neural_resolution=4, samples=5, importance_samples=0, noise="const"), start=start).double()
    w, cameras = drawn(network, count)
    target = torch.randn(count, 3, 16, 16).double()

    def loss(w):
        view = network.synthesis(w, cameras)
        return (view.picture - target).square().mean() + view.raw.square().mean() + view.depth.mean()

    parts = torch.nn.ModuleList([network.backbone.synthesis, network.superresolution, network.decoder])
    check_gradients(parts, loss, w)


def test_options_that_efface_cannot_render_are_one_line():
    for options, line in (
        ({"clamp_mode": "relu"}, "rendering: found clamp_mode 'relu', expected 'softplus'"),
        ({"ray_start": 3.0, "ray_end": 2.0}, "rendering: found near 3.0 and far 2.0, expected 0 < near < far"),
        ({"ray_start": "auto"}, "rendering: found near None and far 3.3"),
        ({"depth_resolution": 3}, "rendering: found samples 3, expected at least 4"),
        ({"box_warp": 0}, "rendering: found box 0, expected a number above 0"),
        ({"avg_camera_radius": float("nan")}, "expected finite numbers"),
    ):
        with pytest.raises(EffaceError) as raised:
            Rendering.published(options, 128)
        assert line in str(raised.value) and "\n" not in str(raised.value)
    assert Rendering.published({"ray_start": "auto", "ray_end": "auto", "white_back": True}, 64).near is None


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: rays.camera(float("nan")), "found the yaw nan"),
        (lambda: rays.camera(2.0), "found the yaw 2, expected radians between"),
        (lambda: rays.camera(0.0, -1.6), "found the pitch -1.6"),
        (lambda: rays.camera(radius=0.0), "found the camera radius 0, expected a number above 0"),
        (lambda: rays.camera(pivot=(0.0, float("inf"), 0.0)), "found the camera pivot"),
        (lambda: rays.camera(field=180.0), "found the field of view 180"),
        (lambda: rays.check(torch.zeros(2, 16)), "found cameras of shape [2, 16], expected [n, 25]"),
        (lambda: rays.check(torch.zeros(1, 25)), "camera 0: found matrices with another last row"),
        (lambda: rays.check(broken(0, float("nan"))), "camera 1: found numbers that are not finite"),
        (lambda: rays.check(broken(0, 3.0)), "camera 1: found axes that are no rotation"),
        (lambda: rays.check(broken(16, -1.0)), "camera 1: found a focal length that is not above 0"),
        (lambda: rays.check(broken(18, 1.5)), "camera 1: found a principal point outside the picture"),
        (lambda: rays.check(broken(11, -2.7)), "camera 1: found the head behind it"),
        (lambda: tiny().synthesis(torch.zeros(2, 5, 12), rays.camera([0.0, 0.1])), "found w of shape [2, 5, 12]"),
        (lambda: tiny().render(torch.zeros(1, 3, 4, 8, 8), torch.zeros(1, 4, 12), broken(0, 3.0)), "no rotation"),
        (lambda: tiny().features(torch.zeros(1, 3, 4, 8, 8), broken(0, 1.0)), "found planes of shape [1, 3, 4, 8, 8]"),
        (lambda: tiny().features(torch.zeros(1, 3, 4, 8, 8), rays.camera(), 0), "found the neural resolution 0"),
        (
            lambda: tiny().render(torch.zeros(2, 3, 4, 8, 8), torch.zeros(1, 4, 12), broken(0, 1.0)),
            "found w of shape [1",
        ),
        (lambda: tiny(start=5), "found super-resolution from 5 to 16 pixels, expected twice or four times"),
    ],
)
def test_bad_input_is_one_line(call, line):
    with pytest.raises(EffaceError) as raised:
        call()
    assert line in str(raised.value) and "\n" not in str(raised.value)


def broken(index, value):
    """Two frontal cameras, a number of the second changed."""
    cameras = rays.camera(torch.zeros(2))
    cameras[1, index] = value
    return cameras
