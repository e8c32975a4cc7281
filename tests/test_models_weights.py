"""Weights on disk: what fits is loaded, what does not is one clear line, and nothing is half written."""

import json
import pickle
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

import efface
from efface.errors import EffaceError
from efface.models import mxnet, weights
from efface.models.recogniser import InputConvention, Recogniser, initialise
from efface.models.recognition.iresnet import IResNetRecogniser
from efface.models.recognition.mobileface_v2 import MobileFaceV2Recogniser
from efface.models.recognition.mobilefacenet import MobileFaceNetRecogniser
from efface.models.recognition.tiny import TinyRecogniser
from efface.testing import TINY

SPEC = TinyRecogniser()


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {n: t.clone() for n, t in SPEC.build().state_dict().items()}


def one_line(path: Path, spec: Recogniser = SPEC) -> str:
    with pytest.raises(EffaceError) as caught:
        weights.load(spec, path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text and len(text) < 500
    return text


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


# Reading


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".pth.tar", ".params"])
def test_every_format_gives_the_same_network(tmp_path, tensors, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(tensors, path)
    elif suffix == ".params":
        path.write_bytes(mxnet.params_bytes({n: t for n, t in tensors.items() if t.is_floating_point()}))
    else:
        torch.save(tensors, path)
    network = weights.load(SPEC, path)
    assert not network.training
    assert same(network.state_dict(), tensors)


def test_the_format_is_that_of_the_content_not_of_the_name(tmp_path, tensors):
    path = tmp_path / "weights.bin"
    torch.save(tensors, path)
    assert same(weights.read(path), tensors)


def test_data_parallel_prefix_wrapper_counters_and_half_precision(tmp_path, tensors):
    path = tmp_path / "weights.pth"
    half = {f"module.{n}": t.half() for n, t in tensors.items() if "num_batches" not in n}
    torch.save({"state_dict": half, "epoch": 3}, path)
    state = weights.load(SPEC, path).state_dict()
    assert state["linear.weight"].dtype == torch.float32
    assert torch.equal(state["linear.weight"], tensors["linear.weight"].half().float())
    torch.save({**tensors, "extra.num_batches_tracked": torch.tensor(1)}, path)
    weights.load(SPEC, path)


def test_missing_extra_and_wrong_tensors_are_named(tmp_path, tensors):
    path = tmp_path / "weights.pt"
    weight = tensors.pop("linear.weight")
    torch.save(tensors, path)
    text = one_line(path)
    assert "1 of 29 tensors missing (linear.weight)" in text and "expected the weights of tiny" in text
    torch.save({**tensors, "linear.weight": weight, "head.weight": weight}, path)
    assert "1 unknown (head.weight)" in one_line(path)
    torch.save({**tensors, "linear.weight": weight[:, :-1]}, path)
    assert "1 of a wrong shape (linear.weight is [64, 431], not [64, 432])" in one_line(path)


def test_weights_of_another_network_are_recognised(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(IResNetRecogniser(depth=34).build().state_dict(), path)
    assert "found weights of iresnet (depth 34), expected" in one_line(path)
    assert "found weights of iresnet (depth 34), expected" in one_line(path, IResNetRecogniser(depth=50))
    torch.save(MobileFaceNetRecogniser().build().state_dict(), path)
    assert "found weights of mobilefacenet, expected tiny" in one_line(path)
    torch.save({"something": torch.zeros(2)}, path)
    assert "check the model and the file" in one_line(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, tensors, value):
    path = tmp_path / "weights.pt"
    tensors["block2.0.weight"].view(-1)[:3] = value
    torch.save(tensors, path)
    assert "3 of 10368 values of block2.0.weight are NaN or infinite" in one_line(path)


def test_weights_that_are_no_floating_point(tmp_path, tensors):
    path = tmp_path / "weights.pt"
    tensors["block2.0.weight"] = tensors["block2.0.weight"].to(torch.int8)
    torch.save(tensors, path)
    assert "block2.0.weight holds torch.int8, expected floating point" in one_line(path)


def test_no_file_a_folder_and_a_path_below_a_file(tmp_path):
    assert "No such file" in one_line(tmp_path / "weights.pt")
    assert "Is a directory" in one_line(tmp_path)
    (tmp_path / "file").write_text("x")
    assert "Not a directory" in one_line(tmp_path / "file" / "weights.pt")


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.bin"])
@pytest.mark.parametrize(("content", "expected"), [(b"", "an empty file"), (b"<html>404</html>", "found bytes 3c68")])
def test_what_is_no_weights_file(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    assert expected in one_line(path)


@pytest.mark.parametrize("kind", ["safetensors", "params", "pt"])
@pytest.mark.parametrize("share", [0.005, 0.2, 0.9, 0.99995])
def test_truncated_files(tmp_path, tensors, kind, share):
    path = tmp_path / f"weights.{kind}"
    floats = {n: t for n, t in tensors.items() if t.is_floating_point()}
    if kind == "pt":
        torch.save(floats, path)
    else:
        path.write_bytes(mxnet.params_bytes(floats) if kind == "params" else safetensors.torch.save(floats))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "truncated" in one_line(path)


def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "weights.pt"

    class Hostile:
        def __reduce__(self):
            return (exec, (f"open({str(canary)!r}, 'w')",))

    for content in (pickle.dumps(Hostile()), pickle.dumps({"a": Hostile()}, protocol=2)):
        path.write_bytes(content)
        assert "the pickle wants to call" in one_line(path) and "exec" in one_line(path)
    assert not canary.exists()


def test_mxnet_arrays_of_other_versions_and_types(tmp_path):
    path = tmp_path / "a.params"
    values = np.arange(6, dtype="<f4")
    first = struct.pack("<II2qiii", mxnet.V1, 2, 2, 3, 1, 0, 0) + values.tobytes()
    third = struct.pack("<IiI1qiii", mxnet.V3, 0, 1, 2, 1, 0, 6) + np.array([7, 8], "<i8").tobytes()
    names = struct.pack("<QQ", 2, 5) + b"arg:a" + struct.pack("<Q", 5) + b"aux:b"
    path.write_bytes(mxnet.MAGIC + struct.pack("<QQ", 0, 2) + first + third + names)
    found = weights.read(path)
    assert torch.equal(found["arg:a"], torch.arange(6.0).view(2, 3))
    assert torch.equal(found["aux:b"], torch.tensor([7, 8]))
    path.write_bytes(mxnet.MAGIC + struct.pack("<QQIi", 0, 1, mxnet.V2, 1))
    assert "a sparse array" in one_line(path)
    path.write_bytes(mxnet.MAGIC + struct.pack("<QQIiI1q", 0, 1, mxnet.V2, 0, 1, 2**62) + bytes(64))
    assert "truncated" in one_line(path)


# Writing


def test_safetensors_hold_the_tensors_and_say_what_they_are(tmp_path, tensors):
    path = tmp_path / "deep" / "tiny.safetensors"
    weights.save(path, tensors, weights.header(SPEC, request="17", method="dispersion"))
    assert same(dict(sorted(weights.read(path).items())), dict(sorted(tensors.items())))
    header = weights.read_header(path)
    assert header["network"] == "tiny" and header["method"] == "dispersion" and header["request"] == "17"
    assert header["origin"] == SPEC.origin and header["licence"] == SPEC.licence
    assert header["efface"] == efface.__version__
    assert json.loads(header["input"])["size"] == 40
    assert json.loads(weights.header(IResNetRecogniser(depth=18))["fields"]) == {"depth": 18}
    assert [p.name for p in path.parent.iterdir()] == ["tiny.safetensors"]


def test_the_same_tensors_give_the_same_bytes_and_any_reader_reads_them(tmp_path, tensors):
    metadata = {k: "x" for k in "zyxwvutsrq"}
    for name in ("a", "b"):
        weights.save(tmp_path / name, tensors, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert list(json.loads((tmp_path / "a").read_bytes()[8:].split(b"}", 1)[0] + b"}}")["__metadata__"]) == sorted(
        metadata
    )
    plain = safetensors.torch.load_file(tmp_path / "a")
    assert all(torch.equal(plain[n], tensors[n]) for n in tensors)


def test_origin_and_licence_follow_the_weights(tmp_path, tensors):
    path = tmp_path / "own.safetensors"
    weights.save(path, tensors, {"origin": "our own photos", "licence": "MIT"})
    header = weights.header(SPEC, path)
    assert header["origin"] == "our own photos" and header["licence"] == "MIT"


def test_the_published_format_keeps_names_order_types_and_counters(tmp_path, tensors, generator):
    published, out = tmp_path / "published.pth", tmp_path / "out.pth"
    half = {f"module.{n}": t.half() if t.is_floating_point() else t + 7 for n, t in reversed(tensors.items())}
    torch.save({"state_dict": half, "epoch": 3}, published)
    new = initialise(SPEC.build(), generator).state_dict()
    weights.save_as(out, {n: t for n, t in new.items() if "num_batches" not in n}, SPEC, published)
    written = torch.load(out, weights_only=True)
    assert list(written) == list(half)
    assert all(written[n].dtype == half[n].dtype for n in half)
    assert torch.equal(written["module.linear.weight"], new["linear.weight"].half())
    assert int(written["module.bn.num_batches_tracked"]) == 7
    weights.load(SPEC, out)


def test_safetensors_as_published_keep_their_header(tmp_path, tensors):
    published, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    weights.save(published, tensors, {"origin": "somewhere"})
    tensors["bn.bias"] += 1
    weights.save_as(out, tensors, SPEC, published)
    assert weights.read_header(out) == {"origin": "somewhere"}
    assert torch.equal(weights.read(out)["bn.bias"], tensors["bn.bias"])


def test_other_shapes_are_not_written_over_published_ones(tmp_path, tensors):
    published, out = tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(tensors, published)
    with pytest.raises(EffaceError, match=r"bn\.bias has shape \(3,\), expected \(64,\)"):
        weights.save_as(out, {**tensors, "bn.bias": torch.zeros(3)}, SPEC, published)
    assert not out.exists()


@pytest.mark.real
def test_mxnet_weights_come_back_byte_for_byte(data, tmp_path):
    published = data / "recogniser-mobileface-v2" / "MobileFace_Identification_V2-0000.params"
    spec, out = MobileFaceV2Recogniser(), tmp_path / "out.params"
    state = weights.load(spec, published).state_dict()
    weights.save_as(out, state, spec, published)
    assert out.read_bytes() == published.read_bytes()
    state["blocks.2.depthwise_bn.running_var"] *= 2
    weights.save_as(out, state, spec, published)
    before, after = mxnet.read_params(published), mxnet.read_params(out)
    assert list(before) == list(after)
    changed = [n for n in before if not torch.equal(before[n], after[n])]
    assert changed == ["aux:batchnorm7_moving_var"]


def test_a_path_that_cannot_be_written(tmp_path, tensors):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "weights.safetensors", tmp_path):
        with pytest.raises(EffaceError, match="cannot be written") as caught:
            weights.save(path, tensors, {})
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from efface.errors import EffaceError
from efface.models import weights
from efface.models.recognition.tiny import TinyRecogniser
source, folder = Path(sys.argv[1]), Path(sys.argv[2])
tensors = weights.read(source)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
for write in (
    lambda: weights.save(folder / "old.safetensors", tensors, {}),
    lambda: weights.save_as(folder / "old.safetensors", tensors, TinyRecogniser(), source),
):
    try:
        write()
    except EffaceError as error:
        print(error)
"""


def test_a_file_that_outgrows_the_disk_leaves_the_old_one(tmp_path):
    """A real limit of the operating system on the size of a file, in a process of its own."""
    old = tmp_path / "old.safetensors"
    old.write_bytes(b"old")
    ran = subprocess.run([sys.executable, "-c", FULL_DISK, TINY, tmp_path], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert len(lines) == 2
    assert all("cannot be written (File too large); free the disk" in line for line in lines)
    assert [p.name for p in tmp_path.iterdir()] == ["old.safetensors"]
    assert old.read_bytes() == b"old"


# Outside networks


def test_a_tensor_by_the_name_of_the_header_is_refused(tmp_path):
    with pytest.raises(EffaceError, match=r"a\.safetensors: found a tensor named __metadata__, expected another name"):
        weights.save(tmp_path / "a.safetensors", {"__metadata__": torch.zeros(2)}, {})
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True, kw_only=True)
class Renaming(Recogniser):
    """A recogniser whose published names are other than its network's."""

    width: int = field()
    convention: ClassVar = InputConvention()
    embedding_size: ClassVar = 2
    origin: ClassVar = "here"
    licence: ClassVar = "none"
    output: ClassVar = (None, "0")
    blocks: ClassVar = (("0",),)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(self.width, 2))

    def adapt(self, tensors):
        return {n.replace("backbone/", "0."): t for n, t in tensors.items()}


def test_a_recogniser_that_renames_reads_and_writes_both_names(tmp_path):
    spec, published, out = Renaming(width=3), tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save({"backbone/weight": torch.ones(2, 3), "backbone/bias": torch.zeros(2)}, published)
    network = weights.load(spec, published)
    state = {n: t + 1 for n, t in network.state_dict().items()}
    weights.save_as(out, state, spec, published)
    assert torch.equal(torch.load(out, weights_only=True)["backbone/bias"], torch.ones(2))
    weights.save(tmp_path / "c.safetensors", state, weights.header(spec))
    assert torch.equal(weights.load(spec, tmp_path / "c.safetensors").state_dict()["0.bias"], torch.ones(2))
    assert json.loads(weights.read_header(tmp_path / "c.safetensors")["fields"]) == {"width": 3}
