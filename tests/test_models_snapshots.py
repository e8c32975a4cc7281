"""`efface convert`: NVIDIA's network snapshots become safetensors; nothing of them is executed, whatever they hold."""

import io
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import EffaceError
from efface.models import snapshots, weights
from snapshot_pickles import REPEATED, Part, dumped, eg3d, network, of_manifest, snapshot, stylegan2


def refused(path: Path, match: str) -> str:
    with pytest.raises(EffaceError, match=match) as caught:
        snapshots.read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 500
    return text


def written(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else dumped(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("make", [stylegan2, eg3d])
def test_names_values_and_arguments_come_through_and_nothing_is_executed(tmp_path, make, protocol):
    canary = tmp_path / "canary"
    generator, tensors = make(f"open({str(canary)!r}, 'w')\nclass Generator: pass\n")
    path = written(tmp_path / "network-snapshot.pkl", snapshot(generator), protocol)
    assert str(canary).encode() in path.read_bytes()
    out = tmp_path / "out.safetensors"
    done = CliRunner().invoke(app, ["convert", str(path), str(out)])
    assert done.exit_code == 0, done.output
    assert not canary.exists() and not {"torch_utils", "dnnlib", "training"} & set(sys.modules)
    found, header = load_file(out), weights.read_header(out)
    assert set(found) == set(generator.state_dict()) == set(tensors)
    assert list(snapshots.read(path).tensors) == list(generator.state_dict())
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in tensors.items())
    size = sum(p.numel() for p in generator.parameters())
    assert f"{make.__name__} ({header['class']}, {generator.img_resolution} px)" in done.output
    assert f"{len(tensors)} tensors, {size:,} parameters" in done.output
    assert header["source"] in done.output and str(out) in done.output


def test_the_header_holds_what_loading_needs(tmp_path):
    header = snapshots.read(written(tmp_path / "a.pkl", snapshot(stylegan2()[0]))).header
    assert (header["network"], header["class"], header["origin"]) == ("stylegan2", "Generator", "converted from a.pkl")
    assert json.loads(header["arguments"]) == {
        **{"z_dim": 8, "c_dim": 0, "w_dim": 8, "img_resolution": 16, "img_channels": 3},
        "mapping_kwargs": {"num_layers": 1},
        "synthesis_kwargs": {"channel_base": 64, "channel_max": 6, "num_fp16_res": 4, "conv_clamp": 256},
    }
    assert json.loads(header["attributes"]) == {"img_resolution": 16, "num_ws": 6}
    assert "plane_axes" not in header

    header = snapshots.read(written(tmp_path / "b.pkl", snapshot(eg3d()[0]))).header
    assert (header["network"], header["class"]) == ("eg3d", "TriPlaneGenerator")
    assert json.loads(header["arguments"]) == {
        **{"z_dim": 8, "c_dim": 25, "w_dim": 8, "img_resolution": 64, "img_channels": 3, "sr_num_fp16_res": 4}
    }
    attributes = json.loads(header["attributes"])
    assert attributes["neural_rendering_resolution"] == 128 and attributes["img_resolution"] == 64
    assert attributes["rendering_kwargs"] == {
        "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
        **{"c_gen_conditioning_zero": False, "depth_resolution": 48, "ray_start": 2.25, "ray_end": 3.3, "box_warp": 1},
        **{"avg_camera_radius": 2.7, "avg_camera_pivot": [0.0, 0.0, 0.2], "density_reg": 0.25},
    }
    assert torch.equal(torch.tensor(json.loads(header["plane_axes"])), torch.arange(27.0).view(3, 3, 3))


def test_values_that_json_has_not_become_text(tmp_path):
    generator, _ = stylegan2()
    generator._init_kwargs |= {
        "layer": nn.Softplus(),
        "type": torch.float16,
        "far": float("inf"),
        "names": {"b", "a"},
        "bytes": b"\xff",
        "half": torch.tensor([0.5], dtype=torch.bfloat16),
        "true": True,
        3: None,
    }
    found = json.loads(snapshots.read(written(tmp_path / "a.pkl", snapshot(generator))).header["arguments"])
    assert {n: found[n] for n in ("layer", "type", "far", "names", "bytes", "half", "true", "3")} == {
        **{"layer": "torch.nn.modules.activation.Softplus", "type": "torch.float16", "far": "inf"},
        **{"names": ["a", "b"], "bytes": "b'\\xff'", "half": [0.5], "true": True, "3": None},
    }


def test_types_views_and_buffers_that_a_state_dict_leaves_out(tmp_path):
    generator, tensors = stylegan2()
    kinds = [
        torch.float16,
        torch.bfloat16,
        torch.float64,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    ]
    for kind in (*kinds, torch.bool):
        generator.register_buffer(f"kind_{kind}".replace(".", "_"), torch.tensor([1, 0, 1]).to(kind))
    whole = torch.arange(24.0).view(4, 6)
    generator.register_buffer("turned", whole.T)
    generator.register_buffer("part", whole[1:3, 2:])
    generator.register_buffer("empty", torch.empty(0, 3))
    generator.register_buffer("left_out", torch.zeros(3), persistent=False)
    generator.register_buffer("nothing", None)
    generator.register_parameter("bias", None)
    found = snapshots.read(written(tmp_path / "a.pkl", snapshot(generator))).tensors
    expected = generator.state_dict()
    assert list(found) == list(expected) and len(found) == len(tensors) + 12
    assert all(torch.equal(found[n], t) and found[n].dtype == t.dtype for n, t in expected.items())


def test_the_same_file_gives_the_same_bytes(tmp_path):
    path = written(tmp_path / "a.pkl", snapshot(eg3d()[0]))
    for name in ("1", "2"):
        assert CliRunner().invoke(app, ["convert", str(path), str(tmp_path / f"{name}.safetensors")]).exit_code == 0
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "2.safetensors").read_bytes()


@pytest.mark.real
@pytest.mark.parametrize(
    ("fixture", "kind", "count"),
    [
        ("eg3d/ffhq512-128", "eg3d", 30_662_136),
        ("eg3d/tiny128", "eg3d", None),
        ("stylegan2/ffhq1024-config-f", "stylegan2", 30_370_060),
        ("stylegan2/ffhq256", "stylegan2", None),
    ],
)
def test_every_published_name_and_shape_comes_through(data, tmp_path, fixture, kind, count):
    manifest = data.parent / "parity" / f"{fixture}.manifest.json"
    generator, shapes = of_manifest(manifest)
    found = snapshots.read(written(tmp_path / "a.pkl", {"G_ema": generator}))
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == shapes
    assert list(found.tensors) == list(generator.state_dict())
    assert found.header["network"] == kind
    assert found.parameters == json.loads(manifest.read_text())["parameters"] == (count or found.parameters)


class Other(nn.Module):
    """A network of another kind that is pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


def other(class_name: str, *names: str) -> Part:
    return network(class_name, {name: torch.zeros(2) for name in names}, set())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (other("Discriminator", "b4.conv.weight"), "an object of class Discriminator"),
        (snapshot(other("Discriminator", "b16.conv0.weight")), r"G_ema of class Discriminator with tensors b16\.conv0"),
        (
            snapshot(other("Generator", "mapping.fc0.weight", "synthesis.input.weight")),
            "G_ema of class Generator with tensors mapping.fc0.weight, synthesis.input.weight",
        ),
        (snapshot(Other()), r"G_ema of class test_models_snapshots\.Other with tensors layer\.weight, layer\.bias"),
        (Other(), r"an object of class test_models_snapshots\.Other"),
        ({"G": stylegan2()[0], "D": None}, "a dict with G, D in it, expected a snapshot"),
        ({"G_ema": None}, "a dict with G_ema in it, G_ema being no network"),
        ({"a\nb": torch.zeros(2)}, r"a dict with a\\nb in it"),
        ({"a" * 5000: 1, 10**5000: 2}, r"a dict with a+\.\.\., \? in it"),
        ({}, "a dict with nothing in it"),
        ([1, 2], "a value of type list"),
        (b"", "an empty file"),
    ],
)
def test_other_pickles_are_one_line(tmp_path, content, found):
    assert "expected" in refused(written(tmp_path / "a.pkl", content), f"found {found}")


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_checkpoints_are_one_line(tmp_path, zipped):
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "a.pt", "found a torch checkpoint" if zipped else "found a value of type int, expected a snapsh")


@pytest.mark.parametrize("content", [b"no pickle at all", b"<html>", b"\x80\x04", bytes(1000), b"\x89PNG\r\n\x1a\n"])
def test_garbage_is_one_line(tmp_path, content):
    refused(written(tmp_path / "a.pkl", content), "not a readable network pickle|refused, nothing was executed")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99, 0.9999])
def test_a_truncated_file_is_one_line(tmp_path, share):
    whole = dumped(snapshot(eg3d()[0]))
    refused(written(tmp_path / "a.pkl", whole[: int(share * len(whole))]), "may be truncated")


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    refused(tmp_path / "missing.pkl", "No such file")
    refused(tmp_path, "Is a directory")


class Evil:
    """Asks for `call(*arguments)` when it is unpickled."""

    def __init__(self, call, *arguments) -> None:
        self.asked = call, arguments

    def __reduce__(self):
        return self.asked


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("where", ["beside", "argument", "buffer", "nested"])
def test_what_a_snapshot_wants_executed_is_refused_by_name(tmp_path, protocol, where, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator, _ = stylegan2()
    evil = Evil(os.system, "touch canary")
    content = snapshot(generator)
    if where == "beside":
        content["augment_pipe"] = evil
    elif where == "argument":
        generator._init_kwargs["hook"] = evil
    elif where == "buffer":
        generator._buffers["w_avg"] = evil
    else:
        generator._init_kwargs["hook"] = Evil(torch.nn.Parameter, Evil(dict, [[1, evil]]))
    wanted = r"(posix|nt)\.system" if where != "nested" else r"(builtins|__builtin__)\.dict"
    refused(written(tmp_path / "a.pkl", content, protocol), f"wants to call {wanted}, expected .* nothing was executed")
    assert not (tmp_path / "canary").exists()


class Stored:
    """A tensor as a snapshot has it, each part of which may be given: the torch file of its storage, and its view."""

    def __init__(self, file: bytes, *view) -> None:
        self.file, self.view = file, view

    def __reduce__(self):
        storage = Evil(torch.storage._load_from_bytes, self.file)
        return torch._utils._rebuild_tensor_v2, (storage, *self.view, False, {})


def storage_file(values: torch.Tensor, **claimed: int) -> bytes:
    """The torch file of a float32 storage, with what it claims to hold: `elements` in the identifier, `count` before
    the values, `keys` that follow."""
    count = values.numel()
    identifier = b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpu"
    identifier += b"\x8a\x08" + struct.pack("<q", claimed.get("elements", count)) + b"NtQ."
    parts = [pickle.dumps(p, 2) for p in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    parts += [identifier, pickle.dumps(["0"] * claimed.get("keys", 1), 2)]
    return b"".join(parts) + struct.pack("<q", claimed.get("count", count)) + values.numpy().tobytes()


FOUR = torch.arange(4.0)


def with_const(stored: Stored) -> dict[str, object]:
    generator, _ = stylegan2()
    generator.synthesis.b4._parameters["const"] = stored
    return snapshot(generator)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_tensor_made_by_hand_is_read(tmp_path):
    found = snapshots.read(written(tmp_path / "a.pkl", with_const(Stored(storage_file(FOUR), 0, (2, 2), (1, 2)))))
    assert torch.equal(found.tensors["synthesis.b4.const"], FOUR.view(2, 2).T)
    torch.save(FOUR.storage(), file := io.BytesIO(), _use_new_zipfile_serialization=False)
    found = snapshots.read(written(tmp_path / "a.pkl", with_const(Stored(file.getvalue(), 1, (3,), (1,)))))
    assert torch.equal(found.tensors["synthesis.b4.const"], FOUR[1:])


HUGE = 10**12
WRONG_TENSORS = {
    "elements": Stored(storage_file(FOUR, elements=HUGE), 0, (4,), (1,)),
    "elements and count": Stored(storage_file(FOUR, elements=HUGE, count=HUGE), 0, (4,), (1,)),
    "negative": Stored(storage_file(FOUR, elements=-4, count=-4), 0, (4,), (1,)),
    "unlisted": Stored(storage_file(FOUR, keys=0), 0, (4,), (1,)),
    "listed twice": Stored(storage_file(FOUR, keys=2), 0, (4,), (1,)),
    "short": Stored(storage_file(FOUR)[:-1], 0, (4,), (1,)),
    "size": Stored(storage_file(FOUR), 0, (HUGE,), (1,)),
    "stride": Stored(storage_file(FOUR), 0, (2,), (HUGE,)),
    "stride 0": Stored(storage_file(FOUR), 0, (HUGE,), (0,)),
    "offset": Stored(storage_file(FOUR), 4, (1,), (1,)),
    "negative offset": Stored(storage_file(FOUR), -1, (1,), (1,)),
    "negative stride": Stored(storage_file(FOUR), 3, (2,), (-1,)),
    "axes": Stored(storage_file(FOUR), 0, (1,) * 100_000, (1,) * 100_000),
    "one axis more": Stored(storage_file(FOUR), 0, (2, 2), (1,)),
    "bits": Stored(storage_file(FOUR), 2**2000, (1,), (1,)),
    "float": Stored(storage_file(FOUR), 0, (1.0,), (1,)),
    "garbage": Stored(b"garbage", 0, (1,), (1,)),
    "nothing": Stored(b"", 0, (1,), (1,)),
}


@pytest.mark.parametrize("wrong", WRONG_TENSORS)
def test_tensors_beyond_their_storage_are_one_line(tmp_path, wrong):
    refused(written(tmp_path / "a.pkl", with_const(WRONG_TENSORS[wrong])), "not a readable network pickle")


def test_a_hostile_torch_file_within_the_pickle_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = [pickle.dumps(p, 2) for p in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    for before in ([], parts):
        file = b"".join(before) + pickle.dumps(Evil(os.system, "touch canary"))
        refused(
            written(tmp_path / "a.pkl", with_const(Stored(file, 0, (4,), (1,)))), r"wants to call (posix|nt)\.system"
        )
    assert not (tmp_path / "canary").exists()
    file = b"".join(parts) + b"ctorch.nn\nLinear\n)R."
    refused(written(tmp_path / "a.pkl", with_const(Stored(file, 0, (4,), (1,)))), r"wants to call torch\.nn\.Linear")


def laughs() -> list[object]:
    """A list of 2 ** 60 values."""
    value: list[object] = ["ha"]
    for _ in range(60):
        value = [value, value]
    return value


def deep(count: int) -> Part:
    part = other("Generator", "weight")
    for _ in range(count):
        outer = Part("Generator", "")
        outer.add_module("a", part)
        part = outer
    return part


def many() -> Part:
    part = other("Generator", "weight")
    for _ in range(30):
        outer = Part("Generator", "")
        outer.add_module("a", part)
        outer.add_module("b", part)
        part = outer
    return part


def circular() -> Part:
    part = other("Generator", "a.weight")
    part._modules["a"]._modules["b"] = part
    return part


def argument(value: object) -> Part:
    generator, _ = stylegan2()
    generator._init_kwargs["value"] = value
    return generator


def shared(value: torch.Tensor) -> Part:
    part = Part("Generator", "")
    for index in range(1000):
        part._buffers[f"b{index}"] = value
    return part


def wide(count: int) -> Part:
    """A module that is in itself under so many names."""
    part = other("Generator", "weight")
    for index in range(count):
        part._modules[f"a{index}"] = part
    return part


def empty(modules: int, buffers: int) -> Part:
    """So many modules that are one, with so many buffers that are one without elements."""
    leaf, part, nothing = Part("SynthesisLayer", ""), Part("Generator", ""), torch.empty(0)
    for index in range(buffers):
        leaf._buffers[f"b{index}"] = nothing
    for index in range(modules):
        part._modules[f"a{index}"] = leaf
    return part


def named(name: str) -> Part:
    part = Part("Generator", "")
    part._buffers[name] = torch.zeros(1)
    return part


@pytest.mark.parametrize(
    ("generator", "line"),
    [
        (lambda: argument(laughs()), "more than 10000 values"),
        (lambda: argument("ha" * 1000), "an argument of 2000 characters"),
        (lambda: argument(["ha" * 1000] * 5000), "an argument of 2000 characters"),
        (lambda: argument(torch.zeros(20_000)), "more than 10000 values"),
        (lambda: argument(10**4000), "an argument of 4001 characters"),
        (lambda: argument([[[]], 10**30]), None),
        (lambda: argument("\ud800 \n"), None),
        (lambda: deep(40), "more than 32 deep"),
        (circular, "more than 32 deep"),
        (many, "more than 10000 modules"),
        (lambda: shared(torch.zeros(1000)), "tensors of more bytes than the file has"),
        (lambda: argument(torch.empty(10_001, 0)), "more than 10000 values"),
        (lambda: argument(np.empty((100, 101, 0))), "more than 10000 values"),
        (lambda: argument([torch.empty(2, 0), np.empty((0, 3))]), None),
        (lambda: wide(6000), "more than 10000 modules"),
        (lambda: empty(1000, 300), "tensors of more bytes than the file has"),
        (lambda: named("../../a"), "a name that is no word"),
        (lambda: named("a\nb"), "a name that is no word"),
        (lambda: named("__metadata__"), "the name __metadata__, under which safetensors files keep their header"),
        (lambda: named("\ud800"), "a name that is no word"),
    ],
)
def test_what_is_small_in_the_file_and_endless_outside_is_one_line(tmp_path, generator, line):
    path = written(tmp_path / "a.pkl", snapshot(generator()))
    if line:
        refused(path, line)
    else:
        done = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "a.safetensors")])
        assert done.exit_code == 0, done.exception


MEASURE = """
import resource, sys, time
from pathlib import Path
from efface.errors import EffaceError
from efface.models import snapshots
try:
    snapshots.read(Path(sys.argv[1]))
except EffaceError:
    pass
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
for path in sorted(Path(sys.argv[2]).iterdir()):
    try:
        snapshots.read(path)
        print("read", path.name)
    except EffaceError as error:
        assert "\\n" not in str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.monotonic() - start)
"""


def test_what_claims_to_be_huge_takes_neither_memory_nor_time(tmp_path):
    folder = tmp_path / "huge"
    folder.mkdir()
    for name, stored in WRONG_TENSORS.items():
        written(folder / name, with_const(stored))
    for name, start in {"bytes": b"\x8e", "bytearray": b"\x96", "text": b"\x8d", "frame": b"\x95"}.items():
        for exponent in (33, 40, 62):
            written(folder / f"{name} {exponent}", start + struct.pack("<q", 2**exponent) + b"abc.")
    written(folder / "memo", b"Nr\xff\xff\xff\xff.")
    written(folder / "laughs", snapshot(argument(laughs())))
    written(folder / "many", snapshot(many()))
    written(folder / "empty lists", snapshot(argument(torch.empty(10**7, 0))))
    written(folder / "empty lists of numpy", snapshot(argument(np.empty((10**7, 0)))))
    written(folder / "empty buffers", snapshot(empty(1000, 3000)))
    written(folder / "wide", snapshot(wide(50_000)))
    for name, content in REPEATED.items():
        written(folder / f"repeated {name}", content)
    first = written(tmp_path / "first", snapshot(stylegan2()[0]))
    command = [sys.executable, "-c", MEASURE, first, folder]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    megabytes, seconds = ran.stdout.splitlines()[-1].split()
    assert "read" not in ran.stdout and int(megabytes) < 50 and float(seconds) < 60, ran.stdout


PICKLES = [dumped(snapshot(make()[0]), protocol) for make in (stylegan2, eg3d) for protocol in (2, 4)]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_read_or_one_line(tmp_path_factory, data):
    content = bytearray(data.draw(st.sampled_from(PICKLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b"cos\nsystem\n", b"R", b"\x81", b"b", b"\x93", b"Q", b"0"])
        )
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    try:
        found = snapshots.read(path)
        weights.save(path.with_suffix(".safetensors"), found.tensors, found.header)
    except EffaceError as error:
        assert "\n" not in str(error) and len(str(error)) < 700


def test_a_wrong_name_to_write_to_is_one_line(tmp_path):
    path = written(tmp_path / "a.safetensors", snapshot(stylegan2()[0]))
    before = path.read_bytes()
    for out in ("out.pt", "a.safetensors", "."):
        done = CliRunner().invoke(app, ["convert", str(path), str(tmp_path / out)])
        assert isinstance(done.exception, EffaceError) and "expected another file" in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"] and path.read_bytes() == before


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path):
    path, out = written(tmp_path / "a.pkl", snapshot(eg3d()[0])), tmp_path / "a.safetensors"
    out.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        done = CliRunner().invoke(app, ["convert", str(path), str(out)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(done.exception, EffaceError) and "cannot be written (File too large)" in str(done.exception)
    assert out.read_bytes() == b"old" and sorted(p.name for p in tmp_path.iterdir()) == ["a.pkl", "a.safetensors"]


def test_a_refused_file_leaves_nothing_and_exits_with_2(tmp_path):
    path = written(tmp_path / "a.pkl", {"G_ema": Evil(os.system, "touch canary")})
    command = [sys.executable, "-c", "from efface.cli import main; main()", "convert", path, tmp_path / "a.safetensors"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.returncode == 2 and ran.stdout == "" and len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith("efface: ") and "the pickle wants to call posix.system, expected" in ran.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a.pkl"]
