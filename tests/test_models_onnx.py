"""ONNX files: the network in them is the file's, is trained as any other, and what is written back runs equally."""

import functools
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typer.testing import CliRunner

from efface.cli import app
from efface.errors import EffaceError
from efface.methods.recognition.dispersion import Dispersion
from efface.methods.recognition.esc import Esc
from efface.methods.seen import LastBlocks
from efface.models import onnx_graph, weights
from efface.models.onnx_operators import OPERATORS
from efface.models.recogniser import initialise
from efface.targets.recognition import RecognitionTarget
from efface.testing.contract import Problem
from onnx_files import computed, export, halved, registered, written

FP32 = 1e-4
"""Of the largest value: how far onnxruntime and torch may differ."""
FP16 = 0.9995
"""Cosine of onnxruntime's float16 with torch's float32."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.make()


@pytest.fixture(scope="module")
def tiny(problem, tmp_path_factory) -> Path:
    """The tiny recogniser, trained, as ONNX: its modules as they are, a fixed batch of one."""
    return export(problem.target.network, tmp_path_factory.mktemp("onnx") / "tiny.onnx", 40)


@torch.no_grad()
def random_network(name: str, generator: torch.Generator) -> nn.Module:
    """A registered network whose BatchNorms have been through something: statistics of noise, shifted biases."""
    spec = registered(name)
    network = initialise(spec.build(), generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
            module.bias.copy_(0.3 * torch.randn(module.bias.shape, generator=generator))
    network.train()(torch.randn(4, 3, spec.convention.size, spec.convention.size, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, its ONNX file) by name, opset, folded and whether the batch axis is dynamic; made once."""

    @functools.cache
    def make(name: str, opset: int, folded: bool, dynamic: bool) -> tuple[nn.Module, Path]:
        network = random_network(name, torch.Generator().manual_seed(0))
        path = tmp_path_factory.mktemp("exports") / "a.onnx"
        axes = {"dynamic_axes": {"photo": {0: "n"}, "embedding": {0: "n"}}} if dynamic else {}
        return network, export(network, path, registered(name).convention.size, opset, folded, **axes)

    return make


@torch.no_grad()
def shake(target: RecognitionTarget, generator: torch.Generator) -> RecognitionTarget:
    """A clone with every trained tensor changed, each in its own way."""
    twin = target.clone()
    for tensor in twin.last_blocks(0):
        scale = 0.1 * tensor.abs().mean().clamp_min(0.01)
        tensor.add_(scale * torch.randn(tensor.shape, generator=generator))
    return twin


def apart(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


# --- the network is the file's, and the way back -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "opset", "folded", "dynamic"),
    [
        ("mobilefacenet", 11, True, False),
        ("mobilefacenet", 17, False, True),
        ("iresnet", 17, True, True),
        ("iresnet", 13, False, False),
        ("shipped", 12, True, False),
        ("mobilefacenet_insightface", 15, False, False),
    ],
)
@torch.no_grad()
def test_an_export_is_read_changed_and_written_back(name, opset, folded, dynamic, exported, generator, tmp_path):
    network, path = exported(name, opset, folded, dynamic)
    target = RecognitionTarget.load("onnx", path)
    size = target.spec.convention.size
    x = torch.randn(2, 3, size, size, generator=generator)
    assert apart(target.network(x), network(x)) <= FP32  # any batch, whatever the file says of it
    changed = shake(target, generator)
    paths = changed.save(tmp_path / "new", method="shaken")
    assert [p.name for p in paths] == ["onnx.safetensors", "a.onnx"]
    found = computed(paths[1], x)
    assert apart(found, changed.network(x)) <= FP32 and apart(found, network(x)) > 100 * FP32
    assert target.spec.fixed == ((f"{target.spec.output[1]}.weight",) if target.spec.output[0] else ())
    if dynamic:
        assert onnx.load(paths[1]).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.mark.parametrize(("name", "folded"), [("mobilefacenet", False), ("iresnet", True)])
@torch.no_grad()
def test_float16_is_trained_in_float32_and_written_in_float16(name, folded, exported, generator, tmp_path):
    path = halved(exported(name, 17, folded, True)[1], tmp_path / "half.onnx")
    target = RecognitionTarget.load("onnx", path)
    assert {t.dtype for t in target.network.state_dict().values() if t.is_floating_point()} == {torch.float32}
    changed = shake(target, generator)
    new = changed.save(tmp_path / "new")[1]
    x = torch.randn(2, 3, 112, 112, generator=generator)
    assert F.cosine_similarity(computed(new, x), changed.network(x)).min() >= FP16
    kinds = [{t.data_type for t in onnx.load(p).graph.initializer} for p in (path, new)]
    assert kinds[0] == kinds[1] == {onnx.TensorProto.FLOAT16}


def test_what_is_not_changed_stays_as_it_was(tiny, tmp_path):
    model = onnx.load(tiny)
    onnx.helper.set_model_props(model, {"trained on": "drawn people"})
    model.doc_string, model.producer_name = "ours", "a test"
    source = tmp_path / "source.onnx"
    onnx.save(model, source)
    target = RecognitionTarget.load("onnx", source)
    assert onnx.load(target.save(tmp_path / "same")[1]) == model
    with torch.no_grad():
        target.network.get_submodule(target.spec.output[1]).bias.add_(1)
    new = onnx.load(target.save(tmp_path / "other")[1])
    changed = [a.name for a, b in zip(new.graph.initializer, model.graph.initializer, strict=True) if a != b]
    assert changed == ["bn.bias"]
    del new.graph.initializer[:], model.graph.initializer[:]
    assert new == model  # nodes, inputs, outputs, opset, metadata


@torch.no_grad()
def test_nodes_that_share_a_tensor_share_it_until_training_tells_them_apart(tmp_path):
    path = written(
        tmp_path / "a.onnx",
        "a = Conv<pads=[1,1,1,1]>(x, w, b) p = PRelu(a, s) c = Conv<pads=[1,1,1,1]>(p, v, b) d = PRelu(c, s)"
        "m = GlobalAveragePool(d) f = Flatten(m) y = Gemm<transB=1>(f, g)",
        w=(4, 3, 3, 3), v=(4, 4, 3, 3), b=(4,), s=(4, 1, 1), g=(5, 4),
    )  # fmt: skip
    target = RecognitionTarget.load("onnx", path)
    named = dict(target.network.named_parameters())
    biases = [named[n] for n in named if n.endswith("bias")]
    slopes = [named[n] for n in named if "prelu" in n]
    assert len(biases) == len(slopes) == 2
    for tensor in biases:
        tensor.add_(0.5)  # both alike
    slopes[1].mul_(-2)  # one only
    new = target.save(tmp_path / "new")[1]
    before, after = ({t.name for t in onnx.load(p).graph.initializer} for p in (path, new))
    assert after - before == {"s.1"} and onnx.load(new).graph.node[1].input[1] == "s"
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    assert apart(computed(new, x), target.network(x)) <= FP32


# --- operators, against onnxruntime ---------------------------------------------------------------------------------

BODIES = {
    "leaky": (13, "m = LeakyRelu<alpha=0.1>(c)", 256, {}),
    "clip of old": (10, "m = Clip<min=0.0,max=0.5>(c)", 256, {}),
    "clip": (13, "m = Clip(c, low)", 256, {"low": np.float32(0.1)}),
    "swish": (13, "s = Sigmoid(c) m = Mul(s, c)", 256, {}),
    "hard": (14, "a = HardSigmoid<alpha=0.3>(c) d = HardSwish(c) m = Add(a, d)", 256, {}),
    "scale": (13, "a = Mul(c, v) m = Add(v, a)", 256, {"v": (4, 1, 1)}),
    "minus": (13, "a = Sub(v, c) m = Div(a, v)", 256, {"v": (1, 4, 1, 1)}),
    "powers": (13, "a = Pow(c, two) b1 = Add(a, two) m = Sqrt(b1)", 256, {"two": np.float32(2)}),
    "norm": (13, "m = BatchNormalization<epsilon=0.01>(c, v, v, v, p)", 256, {"v": (4,), "p": np.ones(4, np.float32)}),
    "slopes": (13, "a = PRelu(c, v) m = PRelu(a, u)", 256, {"v": (4, 1, 1), "u": (1,)}),
    "pool": (13, "m = GlobalAveragePool(c)", 4, {}),
    "mean pool": (13, "m = AveragePool<kernel_shape=[3,3],strides=[2,2],pads=[1,1,1,1]>(c)", 64, {}),
    "mean pool, pads": (13, "m = AveragePool<kernel_shape=[3,3],pads=[1,1,1,1],count_include_pad=1>(c)", 256, {}),
    "max pool": (13, 'm = MaxPool<kernel_shape=[3,3],strides=[2,2],auto_pad="SAME_UPPER">(c)', 64, {}),
    "uneven": (13, "m = Conv<pads=[0,0,1,1],strides=[2,2]>(c, k)", 64, {"k": (4, 4, 3, 3)}),
    "lower": (13, 'm = Conv<auto_pad="SAME_LOWER",strides=[2,2],group=2>(c, k)', 64, {"k": (4, 2, 3, 3)}),
    "mean": (13, "m = ReduceMean<axes=[2,3],keepdims=0>(c)", 4, {}),
    "mean of new": (18, "m = ReduceMean(c, ax)", 4, {"ax": np.array([-1, -2])}),
    "length": (13, "l = ReduceL2<axes=[1]>(c) m = Div(c, l)", 256, {}),
    "sum": (13, "m = ReduceSum(c, ax)", 4, {"ax": np.array([2, 3])}),
    "parts": (13, "s, t = Split<axis=1>(c) r = Relu(t) m = Concat<axis=1>(r, s)", 256, {}),
    "slice of old": (9, "m = Slice<axes=[1,2],starts=[1,-3],ends=[3,9999]>(c)", 48, {}),
    "slice": (13, "m = Slice(c, st, en, ax, sp)", 32,
              {"st": np.array([0]), "en": np.array([9999]), "ax": np.array([3]), "sp": np.array([8])}),
    "shuffle": (13, "a = Reshape(c, r5) b1 = Transpose<perm=[0,2,1,3,4]>(a) m = Reshape(b1, r4)", 256,
                {"r5": np.array([1, 2, 2, 8, 8]), "r4": np.array([1, 4, 8, 8])}),
    "squeeze": (11, "q = GlobalAveragePool(c) a = Squeeze<axes=[2,3]>(q) m = Unsqueeze<axes=[2,-1]>(a)", 4, {}),
    "pad": (13, "m = Pad(c, p8)", 400, {"p8": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "expand": (13, "l = ReduceL2<axes=[1]>(c) s = Shape(c) e = Expand(l, s) m = Mul(c, e)", 256, {}),
    "cast": (13, "a = Cast<to=1>(c) m = Dropout(a)", 256, {}),
    "weights by constants": (13, "t = Transpose<perm=[3,2,0,1]>(k) i = Identity(t) m = Conv(c, i)", 144,
                             {"k": (3, 3, 4, 4)}),
    "gathered size": (13, "s = Shape(c) n = Gather(s, zero) n1 = Unsqueeze(n, z1) q = Concat<axis=0>(n1, neg)"
                      "m = Reshape(c, q)", 256,
                      {"zero": np.array(0), "z1": np.array([0]), "neg": np.array([-1])}),
}  # fmt: skip
"""What stands between a convolution `c` [n, 4, 8, 8] and the linear map: opset, nodes, width, what they hold."""


@pytest.mark.parametrize("body", BODIES)
@torch.no_grad()
def test_operators_compute_what_onnxruntime_computes(body, generator, tmp_path):
    opset, nodes, width, more = BODIES[body]
    shapes = {n: v for n, v in more.items() if isinstance(v, tuple)}
    path = written(
        tmp_path / "a.onnx",
        f"c = Conv<pads=[1,1,1,1]>(x, w, b) {nodes} f = Flatten(m) y = Gemm(f, g, h)",
        opset,
        held={n: v for n, v in more.items() if not isinstance(v, tuple)},
        w=(4, 3, 3, 3), b=(4,), g=(width, 5), h=(1, 5), **shapes,
    )  # fmt: skip
    target = RecognitionTarget.load("onnx", path)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    assert apart(target.network(x), computed(path, x)) <= FP32
    assert target.spec.output[0] is None and target.spec.embedding_size == 5
    changed = shake(target, generator)
    assert apart(computed(changed.save(tmp_path / "new")[1], x), changed.network(x)) <= FP32


@pytest.mark.parametrize(
    ("tail", "output", "more"),
    [
        ("r = Reshape(c, to) k = MatMul(r, g) y = Add(h, k)", (None, "matmul"), {"g": (256, 5), "h": (5,)}),
        ("r = Reshape(c, to) y = MatMul(r, g)", (None, "matmul"), {"g": (256, 5)}),
        ("k = Conv(c, g) r = Flatten(k) y = BatchNormalization(r, h, h, h, one)", ("conv", "batchnormalization"),
         {"g": (5, 4, 8, 8), "h": (5,)}),
        ("r = Flatten(c) k = Gemm<transB=1>(r, g) n = ReduceL2<axes=[1]>(k) e = Clip(n, eps) y = Div(k, e)",
         (None, "gemm"), {"g": (5, 256)}),
        ("r = Flatten(c) k = Gemm<transB=1>(r, g) y = LpNormalization(k)", (None, "gemm"), {"g": (5, 256)}),
    ],
)  # fmt: skip
@torch.no_grad()
def test_a_map_is_composed_with_the_last_linear_one(tail, output, more, generator, tmp_path):
    held = {"to": np.array([1, -1]), "one": np.ones(5, np.float32), "eps": np.float32(1e-12)}
    path = written(tmp_path / "a.onnx", f"c = Conv<pads=[1,1,1,1]>(x, w) {tail}", held=held, w=(4, 3, 3, 3), **more)
    target = RecognitionTarget.load("onnx", path)
    assert [n and n.split(".")[1].rstrip("0123456789") for n in target.spec.output] == list(output)
    x = torch.randn(3, 3, 8, 8, generator=generator)
    original = target.network(x)
    assert torch.allclose(F.normalize(original), F.normalize(computed(path, x)), atol=1e-5)
    matrix = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    target.compose_output(matrix)
    found = computed(target.save(tmp_path / "new")[1], x)
    assert apart(F.normalize(found), F.normalize(original @ matrix.T.float())) <= FP32


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folded", [False, True])
def test_blocks_are_the_residual_ones_and_training_may_begin_at_each(folded, problem, exported):
    network, path = exported("shipped", 12, folded, False)
    target = RecognitionTarget.load("onnx", path)
    assert len(target.spec.blocks) == len(registered("shipped").blocks) == 10
    for count in range(11):
        part = LastBlocks(target, count)
        features, embeddings = part.entering(problem.crops.pixels[:4])
        with torch.no_grad():
            assert torch.allclose(part(features), embeddings, atol=1e-6), count
    tail = network.get_submodule("bn"), network.get_submodule("linear"), network.get_submodule("output")
    assert sum(p.numel() for p in target.last_blocks(1)) == sum(p.numel() for m in tail for p in m.parameters()) - 128


# --- unlearning through ONNX is unlearning --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", [Esc(), Dispersion(steps=8, blocks=1), Dispersion(steps=4, blocks=3)], ids=["esc", "last", "last 3"]
)
def test_unlearned_as_the_torch_model_is(method, problem, tiny, tmp_path):
    target = RecognitionTarget.load("onnx", tiny)
    pixels = problem.crops.pixels
    assert torch.allclose(target.embed(pixels), problem.target.embed(pixels), atol=1e-5)
    expected = problem.unlearn(method).embed(pixels)
    result = method.unlearn(target, problem.request(), torch.Generator().manual_seed(0))
    assert torch.allclose(result.embed(pixels), expected, atol=1e-3)
    assert (expected - problem.target.embed(pixels)).abs().max() > 0.05
    some = pixels[::20]
    found = computed(result.save(tmp_path)[1], result.inputs(some))
    assert torch.allclose(F.normalize(found), expected[::20], atol=1e-3)


@pytest.mark.real
@torch.no_grad()
def test_the_published_network_in_float16(data, generator, tmp_path):
    published = RecognitionTarget.load("mobilefacenet", data / "recogniser-mobilefacenet" / "mobilefacenet.pt")
    half = halved(export(published.network, tmp_path / "a.onnx", 112, folded=True), tmp_path / "half.onnx")
    convention = published.spec.convention
    target = RecognitionTarget.load("onnx", half, mean=convention.mean, std=convention.std)
    pixels = torch.randint(256, (4, 3, 112, 112), dtype=torch.uint8, generator=generator)
    assert (target.embed(pixels) * published.embed(pixels)).sum(1).min() >= FP16
    target.compose_output(torch.eye(128) - torch.ones(128, 128) / 128)
    found = computed(target.save(tmp_path / "new")[1], target.inputs(pixels))
    assert F.cosine_similarity(found, target.embed(pixels)).min() >= FP16


def test_the_command(tiny, tmp_path):
    words = [
        "--model",
        "onnx",
        "--weights",
        str(tiny),
        "--faces",
        "drawn",
        "--set",
        "faces.people=20",
        "--set",
        "faces.photos=6",
    ]
    words += ["--forget", "person-003", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, ["unlearn", *words, "--method", "esc"])
    assert done.exit_code == 0, done.output
    new = tmp_path / "run" / "weights" / "tiny.onnx"
    assert sorted(p.name for p in new.parent.iterdir()) == ["onnx.safetensors", "tiny.onnx"]
    head = weights.read_header(new.with_name("onnx.safetensors"))
    assert head["origin"] == "ONNX file tiny.onnx" and '"size": 40' in head["input"] and head["method"] == "esc"
    assert {t.name for t in onnx.load(new).graph.initializer} == {t.name for t in onnx.load(tiny).graph.initializer}


def test_the_input_is_insightface_s_unless_the_graph_or_the_user_says_otherwise(tiny, tmp_path):
    assert RecognitionTarget.load("onnx", tiny).spec.convention.mean == (127.5,) * 3
    text = "s = Sub(x, half) t = Mul(s, small) c = Conv(t, w) f = Flatten(c) y = Gemm(f, g)"
    held = {"half": np.float32(127.5), "small": np.float32(1 / 128)}
    path = written(tmp_path / "a.onnx", text, held=held, w=(4, 3, 8, 8), g=(4, 5))
    convention = RecognitionTarget.load("onnx", path).spec.convention
    assert (convention.mean, convention.std, convention.size) == ((0.0,) * 3, (1.0,) * 3, 8)
    given = RecognitionTarget.load("onnx", path, mean=(1.0, 2.0, 3.0), channels="BGR").spec.convention
    assert (given.mean, given.channels) == ((1.0, 2.0, 3.0), "BGR")
    spaced = written(tmp_path / "b.onnx", text, shape="N,3,H,W", outputs="float[N,5] y", held=held,
                     w=(4, 3, 8, 8), g=(4, 5))  # fmt: skip
    assert RecognitionTarget.load("onnx", spaced, size=8).spec.convention.size == 8


# --- one clear line -------------------------------------------------------------------------------------------------

PLAIN = "c = Conv(x, w) f = Flatten(c) y = Gemm(f, g)"
HELD = {"w": (4, 3, 8, 8), "g": (4, 5)}
WRONG = {
    "unknown operator": ("c = Conv(x, w) e = Erf(c) f = Flatten(e) y = Gemm(f, g)", {},
                         r"found unknown operators: Erf \(node e\); expected Add, .*, Constant$"),
    "operator of somebody's": ("c = Conv(x, w) e = odd.Mish(c) f = Flatten(e) y = Gemm(f, g)", {},
                               r"odd\.Mish \(node e\)"),
    "quantised": ("c = QLinearConv(x, x, x, w, x, x, x, x) f = Flatten(c) y = Gemm(f, g)", {},
                  "quantised.*QLinearConv"),
    "two outputs": (PLAIN, {"outputs": "float[1,5] y, float[1,4] f"}, r"found 2 outputs \(y, f\), expected one"),
    "no vectors": ("y = Conv(x, w)", {}, r"output y is \[1, 4, 1, 1\] for 1 photos, expected embeddings \[1, d\]"),
    "a row": (PLAIN, {"shape": "1,64"}, r"input x is \[1, 64\], expected \[n, 3, size, size\]"),
    "grey": (PLAIN, {"shape": "1,1,8,8"}, r"input x is \[1, 1, 8, 8\], expected \[n, 3, size, size\]"),
    "oblong": (PLAIN, {"shape": "1,3,8,6"}, r"\[1, 3, 8, 6\], expected a square"),
    "open size": (PLAIN, {"shape": "N,3,H,W"}, r"\[N, 3, H, W\], so its size is open; give .*--set model.size=112"),
    "old": (PLAIN, {"opset": 6}, "found opset 6, expected 7 or newer"),
    "training": ("c = Conv(x, w) b, m, v = BatchNormalization<training_mode=1>(c, s, s, s, s) f = Flatten(b)"
                 "y = Gemm(f, g)", {"s": (4,), "opset": 14},
                 r"BatchNormalization b: found training mode, .*model\.eval"),
    "training of old": ("c = Conv(x, w) b, m, v, d, e = BatchNormalization(c, s, s, s, s) f = Flatten(b)"
                        "y = Gemm(f, g)", {"s": (4,), "opset": 9}, r"found training mode, expected evaluation mode"),
    "drops": ("c = Conv(x, w) d = Dropout(c, r, t) f = Flatten(d) y = Gemm(f, g)",
              {"held": {"r": np.float32(0.5), "t": np.array(True)}}, "Dropout d: found training mode"),
    "mixed photos": ("c = Conv(x, w) t = Transpose<perm=[1,0,2,3]>(c) r = Reshape(t, q) y = Gemm(r, g)",
                     {"held": {"q": np.array([1, -1])}},
                     "another embedding for two photos together than for each alone"),
    "sum over photos": ("c = Conv(x, w) t = ReduceMean<axes=[0]>(c) f = Flatten(t) y = Gemm(f, g)", {},
                        r"ReduceMean t: found axes \[0\], expected some, but not that of the photos"),
    "computed weights": ("k = Mul(w, w) c = Conv(x, k) f = Flatten(c) y = Gemm(f, g)", {},
                         "Conv c: found a weight that is computed, expected one that the file holds"),
    "no attribute": ("c = Conv(x, w) a = Cast(c) f = Flatten(a) y = Gemm(f, g)", {},
                     "Cast a: found operands that do not fit"),
    "misfit": ("c = Conv(x, w) f = Flatten(c) y = Gemm(f, u)", {"u": (7, 5)}, "Gemm y: found operands that do not fit"),
    "no maker": ("c = Conv(z, w) f = Flatten(c) y = Gemm(f, g)", {}, "Conv c: found no z, expected it before"),
    "no layer": ("p = GlobalAveragePool(x) y = Flatten(p)", {}, "found no convolution or linear map on the way to y"),
    "no photo": ("y = Identity(g)", {}, "output y does not depend on the photos"),
}  # fmt: skip


def refusal(path: Path, **fields) -> str:
    with pytest.raises(EffaceError) as caught:
        RecognitionTarget.load("onnx", path, **fields)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{path}: ") and len(line) < 700
    return line


@pytest.mark.parametrize("fault", WRONG)
def test_a_graph_that_cannot_be_used_is_refused_in_one_line(fault, tmp_path):
    nodes, more, expected = WRONG[fault]
    line = refusal(written(tmp_path / "a.onnx", nodes, **(HELD | more)))
    assert re.search(expected, line), line


def test_a_file_that_is_no_whole_onnx_is_refused_in_one_line(tiny, tmp_path):
    whole, path = tiny.read_bytes(), tmp_path / "a.onnx"
    for content in (whole[: len(whole) // 2], whole[:-1000], b"", b"no ONNX at all", bytes(500)):
        path.write_bytes(content)
        assert "found no ONNX graph: the file is truncated, damaged or of another format" in refusal(path)
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "b.onnx")
    assert "cannot be read (Is a directory)" in refusal(tmp_path)
    model = onnx.load(tiny)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    onnx.save(model, path)
    assert f"tensor {model.graph.initializer[0].name} cannot be read" in refusal(path)
    onnx.save(onnx.load(tiny), path, save_as_external_data=True, size_threshold=0, location="beside.bin")
    assert "found tensors in other files" in refusal(path)
    model = onnx.load(tiny)
    broken = np.full(64, np.nan, np.float32).tobytes()
    next(t for t in model.graph.initializer if t.name == "bn.bias").raw_data = broken
    onnx.save(model, path)
    assert "64 of 64 values of block4." in refusal(path)


def test_sizes_models_and_files_that_do_not_belong_together(tiny, tmp_path, problem):
    assert "so size 112 does not fit; leave size out" in refusal(tiny, size=112)
    saved = problem.target.save(tmp_path)[0]
    assert "give the .onnx that was written beside it" in refusal(saved)
    with pytest.raises(EffaceError, match=r"found an ONNX file, expected the weights of tiny; name the model onnx"):
        RecognitionTarget.load("tiny", tiny)
    with pytest.raises(EffaceError, match="onnx is built from its file"):
        registered("onnx").given.build()


def test_nothing_is_written_where_a_value_does_not_fit_or_the_file_is_another(tiny, tmp_path):
    half = halved(tiny, tmp_path / "half.onnx")
    target = RecognitionTarget.load("onnx", half)
    with torch.no_grad():
        target.network.get_submodule(target.spec.output[1]).bias[3] = 1e5
    state = target.network.state_dict()
    with pytest.raises(EffaceError, match=r"bn\.bias would become 1e\+05, expected at most 6\.55e\+04"):
        weights.save_as(tmp_path / "new.onnx", state, target.spec, half)
    other = written(tmp_path / "other.onnx", PLAIN, **HELD)
    with pytest.raises(EffaceError, match="found another network than the one that was unlearned"):
        onnx_graph.written(other, 8, state)
    assert not list(tmp_path.glob("new*"))


def test_a_network_without_a_last_linear_map_is_trained_but_not_composed(tmp_path, problem):
    path = written(tmp_path / "a.onnx", "c = Conv(x, w) f = Flatten(c) y = Relu(f)", w=(5, 3, 8, 8))
    target = RecognitionTarget.load("onnx", path)
    with pytest.raises(EffaceError, match=r"found no linear map .* at the end"):
        target.compose_output(torch.eye(5))


def test_without_the_package_the_extra_is_named(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EffaceError, match=r"^onnx is not installed; install it with: pip install 'efface\[onnx\]'$"):
        RecognitionTarget.load("onnx", tiny)


def test_the_page_lists_the_operators():
    page = (Path(__file__).parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    listed = page.partition("operators:\n\n```\n")[2].partition("```")[0].split()
    assert listed == sorted({*OPERATORS, "Constant"})
