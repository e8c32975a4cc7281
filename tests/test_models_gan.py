"""Generators of faces on disk: those that efface trains, and official ones as `efface convert` wrote them."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from efface.errors import EffaceError
from efface.faces.detection import Detector
from efface.models import eg3d, official, snapshots, stylegan2, weights
from efface.models.encoder import Encoder
from efface.models.gan.eg3d import Eg3d
from efface.models.gan.stylegan2 import StyleGan2
from efface.models.gan_model import read_parts, write
from efface.models.rendering import Rendering
from efface.targets.gan import GanTarget
from efface.testing.tiny_gan import tiny_parts, tiny_target
from parity import Fixture, filled
from snapshot_pickles import RENDERING, EasyDict, ImportanceRenderer, dumped, network, snapshot


def converted(path, generator, header):
    """A file as `efface convert` writes it, out of a pickle in the published layout."""
    state = generator.state_dict()
    kinds = {name for name, _ in generator.named_buffers()}
    part = network("Generator", {n: t.clone() for n, t in state.items()}, kinds)
    for name, value in header.items():
        setattr(part, name, value)
    if isinstance(generator, eg3d.Generator):
        renderer = ImportanceRenderer()
        renderer.plane_axes = torch.tensor(official.AXES, dtype=torch.float32)
        part.add_module("renderer", renderer)
    pickle = path.with_suffix(".pkl")
    pickle.write_bytes(dumped(snapshot(part)))
    found = snapshots.read(pickle)
    weights.save(path, found.tensors, found.header)
    return path


def flat(generator):
    """A tiny StyleGAN2 and how the official code would have made it."""
    sizes = generator.sizes
    return {
        "_init_kwargs": EasyDict(
            z_dim=sizes["z_dim"],
            c_dim=0,
            w_dim=sizes["w_dim"],
            img_resolution=sizes["resolution"],
            img_channels=3,
            mapping_kwargs=EasyDict(num_layers=sizes["layers"]),
            synthesis_kwargs=EasyDict(
                channel_base=sizes["channel_base"], channel_max=sizes["channel_max"], num_fp16_res=4, conv_clamp=256
            ),
        ),
        "img_resolution": sizes["resolution"],
    }


def turned(generator, **changed):
    sizes = generator.sizes
    rendering = EasyDict(RENDERING | {"superresolution_module": "training.superresolution.SuperresolutionHybrid2X"})
    rendering |= {"depth_resolution": 4, "depth_resolution_importance": 4, "avg_camera_pivot": [0, 0.05, 0.2]} | changed
    return {
        "_init_args": (sizes["z_dim"], 25, sizes["w_dim"]),
        "_init_kwargs": EasyDict(
            img_resolution=sizes["resolution"],
            img_channels=3,
            mapping_kwargs=EasyDict(num_layers=2),
            channel_base=sizes["channel_base"],
            channel_max=sizes["channel_max"],
            conv_clamp=None,
            sr_num_fp16_res=4,
            rendering_kwargs=EasyDict(rendering | {"avg_camera_pivot": [9, 9, 9]}),
        ),
        "rendering_kwargs": rendering,
        "neural_rendering_resolution": 8,
        "img_resolution": sizes["resolution"],
    }


def tiny_stylegan2():
    return filled(stylegan2.Generator(16, z_dim=8, w_dim=8, layers=3, channel_base=64, channel_max=8))


def tiny_eg3d():
    rendering = Rendering(neural_resolution=8, samples=4, importance_samples=4, pivot=(0, 0.05, 0.2))
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 1024, "channel_max": 8, "super_channels": (128, 64), "start": 64}
    return filled(eg3d.Generator(128, **sizes, rendering=rendering))


CASES = {"stylegan2": (tiny_stylegan2, flat, StyleGan2), "eg3d": (tiny_eg3d, turned, Eg3d)}


@pytest.fixture(params=CASES)
def file(request, tmp_path):
    """(the network, its file, its kind)."""
    make, header, spec = CASES[request.param]
    generator = make()
    return generator, converted(tmp_path / "a.safetensors", generator, header(generator)), spec()


def drawn(generator):
    """Pictures of two latents."""
    draw = torch.Generator().manual_seed(0)
    if isinstance(generator, eg3d.Generator):
        w = generator.mapping(torch.randn(2, 8, generator=draw), generator.camera().expand(2, -1))
        return generator.synthesis(w, generator.camera(torch.tensor([0.3, 0.0]))).picture
    return generator(torch.randn(2, 8, generator=draw))


def test_a_converted_file_is_the_network_that_it_says(file):
    generator, path, spec = file
    parts = spec.load(path)
    assert parts.generator.sizes == generator.sizes and parts.encoder is None
    assert torch.equal(drawn(parts.generator), drawn(generator))
    if isinstance(generator, eg3d.Generator):
        # the attribute counts, not the argument; and neither is (0, 0, 0)
        assert parts.generator.rendering.pivot == (0, 0.05, 0.2)
        assert parts.generator.rendering == generator.rendering


def test_an_unlearned_official_network_keeps_names_and_header(file, tmp_path):
    _, path, spec = file
    target = GanTarget(spec, spec.load(path), tiny_target().recogniser, weights=path)
    twin = target.clone()
    with torch.no_grad():
        twin.backbone.synthesis.b8.conv0.weight.add_(0.1)
    changed = twin.changes(target)
    assert len(changed) == 1
    files = twin.save(tmp_path / "out", changed, method="guide")
    assert [f.name for f in files] == ["changed.safetensors", "generator.safetensors"]
    before, after = (weights.read_header(p) for p in (path, tmp_path / "out" / "generator.safetensors"))
    assert after == before | {"method": "guide"}
    old, new = weights.read(path), weights.read(tmp_path / "out" / "generator.safetensors")
    assert set(old) == set(new)
    assert [n for n in old if not torch.equal(old[n], new[n])] == list(changed)
    again = spec.load(tmp_path / "out")
    assert torch.equal(drawn(again.generator), drawn(twin.parts.generator))
    assert again.header == after and again.encoder is None


def test_where_faces_lie_in_official_pictures():
    cosine = GanTarget(StyleGan2(), replace(tiny_parts("stylegan2"), face=official.face("stylegan2")),
                       tiny_target("stylegan2").recogniser)  # fmt: skip
    # at 512 pixels the template's own numbers come out; at 32 they are a sixteenth
    five = cosine.five(cosine.camera())[0]
    assert (five + 0.5) * 16 - 0.5 == pytest.approx(torch.tensor(official.FFHQ).numpy(), abs=1e-4)
    # of EG3D: upright, the eyes above the nose, the nose above the mouth, and the whole face in the picture
    near = replace(tiny_parts("eg3d"), face=official.face("eg3d"))
    assert isinstance(near.generator, eg3d.Generator)
    near.generator.rendering = Rendering()
    turned = GanTarget(Eg3d(), near, cosine.recogniser)
    left, right, nose, *mouth = turned.five(turned.camera())[0] / 32
    assert left[0] < nose[0] < right[0] and left[1] < nose[1] < mouth[0][1] and 0.2 < right[0] - left[0] < 0.35
    assert all(0.2 < v < 0.8 for point in (left, right, *mouth) for v in point)


def test_official_faces_with_cameras_are_judged_by_a_detector_alone(tmp_path):
    generator = tiny_eg3d()
    path = converted(tmp_path / "a.safetensors", generator, turned(generator))
    target = GanTarget(Eg3d(), Eg3d().load(path), tiny_target().recogniser, weights=path)
    w = target.w_average[None]
    pictures = target.draw(w, target.camera())
    with pytest.raises(EffaceError, match=r"a\.safetensors: found no detector.*give --detector"):
        target.recognise(pictures, target.camera())
    assert target.faces(pictures.float() / 127.5 - 1, target.camera()).shape == (1, 3, 112, 112)  # a loss may
    target.detector = Nobody()
    assert not target.recognise(pictures, target.camera())[1].any()


class Nobody(Detector):
    """Finds no face."""

    def __init__(self):
        pass

    def find(self, pixels):
        return []


def test_without_an_encoder_no_photo_is_inverted_at_once(file):
    _, path, spec = file
    target = GanTarget(spec, spec.load(path), tiny_target().recogniser)
    with pytest.raises(EffaceError, match="found no encoder with these weights, expected one"):
        target.invert(torch.zeros(1, 3, 128, 128, dtype=torch.uint8))


def rewritten(path, tensors=None, **header):
    """The file with other tensors or another header; None takes a key away."""
    told = {k: v for k, v in (weights.read_header(path) | header).items() if v is not None}
    weights.save(path, weights.read(path) if tensors is None else tensors, told)
    return path


def refused(spec, path, match):
    with pytest.raises(EffaceError, match=match) as caught:
        spec.load(path)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(path)) and len(text) < 500
    return text


def test_tensors_that_do_not_fit_are_one_line(file):
    _, path, spec = file
    tensors = weights.read(path)
    some = next(n for n in tensors if n.endswith("b8.conv0.weight"))
    refused(spec, rewritten(path, {n: t for n, t in tensors.items() if n != some}), f"1 of .* missing \\({some}\\)")
    refused(spec, rewritten(path, tensors | {"more": torch.zeros(1)}), r"1 unknown \(more\)")
    refused(spec, rewritten(path, tensors | {some: torch.zeros(1)}), "1 of a wrong shape")
    refused(spec, rewritten(path, tensors | {some: tensors[some] * torch.nan}), "NaN or infinite")


def test_another_network_or_another_file_is_one_line(file, tmp_path):
    _, path, spec = file
    other = Eg3d() if isinstance(spec, StyleGan2) else StyleGan2()
    refused(other, path, f"found {spec.name} in its header, expected {other.name}")
    refused(spec, rewritten(path, network=None), "found no network in its header")
    refused(spec, path.with_suffix(".pkl"), r"a\.pkl: found no network in its header.*efface convert")
    with pytest.raises(EffaceError, match=r"found no none\.safetensors there"):
        spec.load(tmp_path / "none.safetensors")
    (tmp_path / "empty").mkdir()
    refused(spec, tmp_path / "empty", r"empty: found no generator\.safetensors there")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    refused(spec, cut, "not readable as safetensors")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"arguments": "{"}, "its header describes no network of efface"),
        ({"arguments": "{}"}, "its header describes no network of efface"),
        ({"attributes": "[]"}, "its header describes no network of efface"),
        ({"attributes": '{"img_channels": 6}'}, "found a network with img_channels 6, expected 3"),
        ({"attributes": '{"architecture": "resnet"}'}, "found a network with architecture 'resnet', expected 'skip'"),
        ({"attributes": '{"mapping_kwargs": {"num_layers": 3, "lr_multiplier": 0.1}}'}, "lr_multiplier 0.1, expected"),
        ({"attributes": '{"img_resolution": 17}'}, "found the resolution 17, expected a power of two"),
    ],
)
def test_a_header_of_an_unknown_network_is_one_line(tmp_path, change, line):
    path = converted(tmp_path / "a.safetensors", tiny_stylegan2(), flat(tiny_stylegan2()))
    refused(StyleGan2(), rewritten(path, **change), line)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"avg_camera_pivot": None}, "found no avg_camera_pivot in its rendering_kwargs"),
        ({"avg_camera_radius": -1}, "found radius -1, expected a number above 0"),
        ({"superresolution_module": "training.Other"}, "found the super-resolution Other, expected one of: Super"),
        ({"clamp_mode": "relu"}, "found clamp_mode 'relu', expected 'softplus'"),
        ({"ray_start": 5}, "found near 5 and far 3.3"),
        ({"avg_camera_pivot": "here"}, "its header describes no network of efface"),
    ],
)
def test_a_header_that_cannot_be_rendered_is_one_line(tmp_path, change, line):
    generator = tiny_eg3d()
    path = converted(tmp_path / "a.safetensors", generator, turned(generator))
    attributes = json.loads(weights.read_header(path)["attributes"])
    rendering = {k: v for k, v in (attributes["rendering_kwargs"] | change).items() if v is not None}
    refused(Eg3d(), rewritten(path, attributes=json.dumps(attributes | {"rendering_kwargs": rendering})), line)


def test_planes_of_other_axes_are_one_line(tmp_path):
    generator = tiny_eg3d()
    path = converted(tmp_path / "a.safetensors", generator, turned(generator))
    fixed = [*official.AXES[:2], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]]
    refused(Eg3d(), rewritten(path, plane_axes=json.dumps(fixed)), "found planes with the axes .*expected \\(x, y\\)")
    assert Eg3d().load(rewritten(path, plane_axes=None)).generator.rendering == generator.rendering


def test_defaults_of_the_official_constructors(tmp_path):
    """What a file does not say: StyleGAN2-ADA's layers are unclamped where their arguments stand apart."""
    header = flat(tiny_stylegan2())
    del header["_init_kwargs"]["synthesis_kwargs"]["conv_clamp"]
    path = converted(tmp_path / "a.safetensors", tiny_stylegan2(), header)
    assert StyleGan2().load(path).generator.sizes["clamp"] is None
    plain = dict(header["_init_kwargs"], **header["_init_kwargs"]["synthesis_kwargs"])
    del plain["synthesis_kwargs"]
    path = converted(tmp_path / "b.safetensors", tiny_stylegan2(), header | {"_init_kwargs": EasyDict(plain)})
    assert StyleGan2().load(path).generator.sizes["clamp"] == 256


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["eg3d/tiny128", "eg3d/ffhq512-128", "stylegan2/ffhq256", "stylegan2/ffhq1024-config-f"]
)
def test_published_networks_load_by_their_published_arguments(data, tmp_path, name):
    manifest = Fixture(data, name).manifest
    kind = name.partition("/")[0]
    arguments = dict(manifest["constructor"])
    attributes = {"img_resolution": arguments["img_resolution"]}
    told = {"network": kind, "arguments": json.dumps(arguments)}
    if kind == "eg3d":
        attributes |= {"rendering_kwargs": arguments["rendering_kwargs"], "neural_rendering_resolution": 128}
        told["plane_axes"] = json.dumps(manifest["plane_axes"])
    tensors = {n: torch.zeros(t["shape"]) for n, t in manifest["tensors"].items()}
    weights.save(tmp_path / "a.safetensors", tensors, told | {"attributes": json.dumps(attributes)})
    parts = read_parts(tmp_path / "a.safetensors", kind)
    assert list(parts.generator.state_dict()) == list(manifest["tensors"])
    assert sum(p.numel() for p in parts.generator.parameters()) == manifest["parameters"]


@pytest.mark.real
def test_a_converted_file_renders_the_published_numbers(data, tmp_path):
    fixture = Fixture(data, "eg3d/tiny128")
    given = fixture.manifest["constructor"]
    told = {
        "network": "eg3d",
        "arguments": json.dumps(given),
        "attributes": json.dumps({"rendering_kwargs": given["rendering_kwargs"], "neural_rendering_resolution": 16}),
        "plane_axes": json.dumps(fixture.manifest["plane_axes"]),
    }
    weights.save(tmp_path / "a.safetensors", filled(official.generator(told)).state_dict(), told)
    found = read_parts(tmp_path / "a.safetensors", "eg3d").generator
    c = torch.from_numpy(fixture.arrays["c"])
    w = found.mapping(fixture.input("z"), c, 0.7)
    fixture.check("none.imp8.image", found.synthesis(w, c, "none").picture)


@pytest.mark.parametrize("kind", ["eg3d", "stylegan2"])
def test_what_efface_wrote_is_read_back(tmp_path, kind):
    parts = tiny_parts(kind)
    folder = tmp_path / kind
    folder.mkdir()
    write(parts, folder, method="guide")
    found = read_parts(folder, kind)
    for one, other in zip(parts.modules(), found.modules(), strict=True):
        assert isinstance(one, nn.Module)
        before, after = one.state_dict(), other.state_dict()
        assert list(before) == list(after) and all(torch.equal(t, after[n]) for n, t in before.items())
    assert found.header is None and found.placed and torch.equal(found.face, parts.face)
    assert found.generator.sizes == {
        n: v if n != "super_channels" else list(v) for n, v in parts.generator.sizes.items()
    }
    assert weights.read_header(folder / "generator.safetensors")["method"] == "guide"
    write(found, folder)
    assert read_parts(folder, kind).encoder is not None


@pytest.fixture
def folder(tmp_path):
    """A tri-plane generator with its encoder, as efface writes them."""
    write(tiny_parts("eg3d"), tmp_path)
    return tmp_path


def encoder_of(count=5, w_dim=16, embedding_size=128):
    """Of latents of these sizes."""
    return Encoder(32, embedding_size, count, w_dim, width=4, hidden=16)


def test_an_encoder_of_another_generator_is_one_line(folder):
    path, own = folder / "encoder.safetensors", tiny_parts("eg3d").encoder
    for sizes in ({"count": 1}, {"count": own.count + 1}, {"w_dim": 8}):
        told = {"count": own.count, "w_dim": 16} | sizes
        write(replace(tiny_parts("eg3d"), encoder=encoder_of(**told)), folder)
        text = refused_encoder(path, f"found an encoder to latents of {told['count']} × {told['w_dim']}, expected ")
        assert f"expected {own.count} × 16 as the generator.safetensors beside it has; give the encoder" in text


def test_an_encoder_of_another_recogniser_is_one_line(folder):
    count = tiny_parts("eg3d").encoder.count
    write(replace(tiny_parts("eg3d"), encoder=encoder_of(count, embedding_size=512)), folder)
    with pytest.raises(EffaceError) as caught:
        GanTarget.load("eg3d", folder)
    assert str(caught.value) == (
        f"{folder / 'encoder.safetensors'}: found an encoder for embeddings of 512 dimensions, expected 128 as shipped "
        "has; give the encoder that was trained with that recogniser"
    )


def test_tensors_of_an_encoder_that_do_not_fit_are_one_line(folder):
    path = folder / "encoder.safetensors"
    tensors, told = weights.read(path), weights.read_header(path)
    for changed, line in (
        ({n: t for n, t in tensors.items() if n != "common.bias"}, r"1 of \d+ tensors missing \(common\.bias\)"),
        (tensors | {"more": torch.zeros(1)}, r"1 unknown \(more\)"),
        (tensors | {"common.bias": torch.zeros(3)}, r"1 of a wrong shape \(common\.bias is \[3\], not \[16\]\)"),
        (tensors | {"common.bias": tensors["common.bias"] / 0}, "16 of 16 values of common.bias are NaN or infinite"),
    ):
        weights.save(path, changed, told)
        refused_encoder(path, line)
    weights.save(path, tensors, {"sizes": "{}"})
    refused_encoder(path, "its header describes no network of efface")


def refused_encoder(path, match):
    with pytest.raises(EffaceError, match=match) as caught:
        read_parts(path.parent, "eg3d")
    text = str(caught.value)
    assert "\n" not in text and text.startswith(f"{path}: ") and len(text) < 500
    return text


@pytest.mark.parametrize(
    ("face", "line"),
    [
        (None, r"found no face in its header, expected five landmarks \[5, 3\]; fetch it again"),
        (
            "[[0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]",
            r"found a face of \[5, 2\] in its header, expected five landmarks",
        ),
        ("[[0, 0, NaN], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]", "expected five landmarks .*, finite numbers"),
        ("[", "its header describes no network of efface"),
    ],
)
def test_where_the_face_lies_is_checked_and_the_generator_named(folder, face, line):
    refused(Eg3d(), rewritten(folder / "generator.safetensors", face=face), line)  # as a file, without its encoder
    with pytest.raises(EffaceError, match=line) as caught:
        read_parts(folder, "eg3d")
    assert str(caught.value).startswith(f"{folder / 'generator.safetensors'}: ")


def test_a_file_that_was_converted_is_to_be_converted_again(file):
    _, path, spec = file
    tensors = weights.read(path)
    assert refused(spec, rewritten(path, {**tensors, "more": torch.zeros(1)}), "unknown").endswith("convert it again")
    assert refused(spec, rewritten(path, arguments="{"), "its header describes no").endswith("convert it again")


def test_a_folder_without_an_encoder_has_none(tmp_path):
    write(replace(tiny_parts("stylegan2"), encoder=None), tmp_path)
    assert read_parts(tmp_path, "stylegan2").encoder is None
