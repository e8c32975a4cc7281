"""Published layouts of diffusion models: read, unlearned, saved, and read again by plain diffusers."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion_layouts import SIZE, WIDTH, write_arc2face, write_arcface, write_ip_adapter
from diffusion_models import tiny_target
from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE
from efface.methods.conditions import DrawRequest, Faces
from efface.methods.diffusion.piu import Piu
from efface.methods.diffusion.uce import Uce
from efface.methods.diffusion.wid import Wid
from efface.methods.scopes import scope_names
from efface.models.diffusion import shipped
from efface.models.diffusion.arc2face import Arc2Face
from efface.models.stable_diffusion import autoencoder
from efface.targets.diffusion import DiffusionTarget

SD15 = {
    "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "cross_attention_dim": 768,
    "block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "norm_num_groups": 32,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
"""Stable Diffusion 1.5's UNet, as its configuration states it."""


@pytest.fixture(scope="session")
def arc2face(tmp_path_factory) -> Path:
    return write_arc2face(tmp_path_factory.mktemp("layouts") / "arc2face")


@pytest.fixture(scope="session", params=["lora", "plain"])
def ip_adapter(request, tmp_path_factory) -> Path:
    return write_ip_adapter(tmp_path_factory.mktemp("layouts") / "ip_adapter", request.param == "lora")


def loaded(folder: Path, name: str = "arc2face", **fields) -> DiffusionTarget:
    return DiffusionTarget.load(name, folder, size=SIZE, **fields)


def embeddings(generator: torch.Generator, count: int = 2) -> Tensor:
    return F.normalize(torch.randn(count, 512, generator=generator), dim=1)


@torch.no_grad()
def unlearned(target: DiffusionTarget, ending: str = "") -> DiffusionTarget:
    """The keys and values of every cross-attention of the scope, other than they were."""
    twin = target.clone()
    wanted = [n for n in scope_names(twin.parts.unet, "surgical") if (".to_k" in n or ".to_v" in n) and ending in n]
    for name in wanted:
        parameter = twin.parts.unet.get_parameter(name)
        parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    assert set(twin.changes(target)) == set(wanted) and wanted
    return twin


def pipeline(folder: Path, unet: str) -> StableDiffusionPipeline:
    """Plain diffusers on a saved folder. The sampling is that of `Schedule.sample`: DPM-Solver++, trailing."""
    told = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    told = {
        name: told[name] for name in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "steps_offset")
    }
    encoder = folder / "text_encoder"
    return StableDiffusionPipeline(
        vae=autoencoder(folder / "vae").vae,  # a torch file of old names, which the next test reads by diffusers too
        text_encoder=CLIPTextModel.from_pretrained(encoder) if encoder.is_dir() else None,  # pyright: ignore
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder / unet, local_files_only=True),
        scheduler=DPMSolverMultistepScheduler(timestep_spacing="trailing", **told),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,  # pyright: ignore
    )  # fmt: skip


def as_bytes(pictures: np.ndarray) -> Tensor:
    """What a pipeline draws as numbers in 0 … 1 [n, h, w, 3] -> float [n, 3, h, w], 0 … 255."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2) * 255


def to_forget(generator: torch.Generator) -> DrawRequest:
    """Two people of two photos of noise each; two others are retained, and the anchors nobody."""
    pixels = torch.randint(0, 256, (8, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    faces = Faces(pixels, embeddings(generator, 8), tuple("aabbccdd"))
    return DrawRequest(faces.take(range(4)), faces.take(range(4, 8)), embeddings(generator))


@pytest.mark.parametrize("method", [Uce(), Wid(steps=1, batch=2)], ids=["uce", "wid"])
def test_methods_learn_through_the_published_parts(method, arc2face, generator):
    """Tokens, auto-encoder and recogniser of the layout; PIU is tried below."""
    target = loaded(arc2face)
    result = method.unlearn(target, to_forget(generator), torch.Generator().manual_seed(0))
    changed = result.changes(target)
    assert changed and all(result.parts.unet.state_dict()[n].isfinite().all() for n in changed)


def test_unlearned_arc2face_drops_into_plain_diffusers(arc2face, tmp_path, generator):
    target = loaded(arc2face)
    method = Piu(steps=3, batch=2, retained=2, learning_rate=1e-2)
    twin = method.unlearn(target, to_forget(generator), torch.Generator().manual_seed(0))
    assert set(twin.changes(target)) == set(scope_names(target.parts.unet, "surgical"))
    files = twin.save(tmp_path / "erased", twin.changes(target), note="ours")
    held = {p.relative_to(arc2face) for p in arc2face.rglob("*") if p.is_file()}
    assert {p.relative_to(tmp_path / "erased") for p in files} == held | {Path("changed.safetensors")}
    for name in held - {Path("arc2face/diffusion_pytorch_model.safetensors")}:
        assert (tmp_path / "erased" / name).read_bytes() == (arc2face / name).read_bytes(), name

    e = embeddings(generator)
    ours = twin.generate(e, 1, torch.Generator().manual_seed(5), steps=4)
    pipe = pipeline(tmp_path / "erased", "arc2face")
    theirs = pipe(
        prompt_embeds=twin.condition(e), negative_prompt_embeds=twin.unconditioned(2), num_inference_steps=4,
        guidance_scale=3.0, latents=twin.draw(2, torch.Generator().manual_seed(5)), output_type="np",
    ).images  # fmt: skip
    assert (as_bytes(theirs) - ours).abs().max() < 0.6  # ours are rounded
    before = target.generate(e, 1, torch.Generator().manual_seed(5), steps=4)
    assert (before.int() - ours.int()).abs().max() > 1

    again = loaded(tmp_path / "erased")
    assert again.changes(twin) == ()  # exactly
    assert torch.equal(again.generate(e, 1, torch.Generator().manual_seed(5), steps=4), ours)


def test_the_empty_text_is_what_a_plain_pipeline_takes_for_nobody(arc2face, tmp_path):
    """With the encoder under the name that a pipeline gives it."""
    target = loaded(arc2face)
    shutil.copytree(arc2face, tmp_path / "model")
    (tmp_path / "model" / "encoder").rename(tmp_path / "model" / "text_encoder")
    pipe = pipeline(tmp_path / "model", "arc2face")
    nobody = pipe.encode_prompt("a", "cpu", 1, True, "")[1]
    assert torch.allclose(nobody.expand(3, -1, -1), target.unconditioned(3), atol=1e-6)


@torch.no_grad()
def test_faces_in_a_batch_are_projected_as_one_by_one_and_as_the_slow_formula_says(arc2face, generator):
    target = loaded(arc2face)
    e = embeddings(generator, 3)
    tokens = target.condition(e)
    assert tokens.shape == (3, 77, WIDTH)
    assert torch.allclose(torch.cat([target.condition(one[None]) for one in e]), tokens, atol=1e-5)

    weights = torch.load(arc2face / "encoder" / "pytorch_model.bin", weights_only=True)
    weights = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    for row in range(3):
        assert torch.allclose(slow_tokens(weights, e[row]), tokens[row], atol=2e-4)
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-2)


def slow_tokens(weights: dict[str, Tensor], face: Tensor) -> Tensor:
    """[77, width] by loops: "photo of a id person" in letters, the word `id` replaced, one head and place at a time."""
    end = {letter: 27 + i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz,")}
    ids = [55]
    for word in ("photo", "of", "a", "id", "person"):
        ids += [54] if word == "id" else [*("abcdefghijklmnopqrstuvwxyz".index(c) for c in word[:-1]), end[word[-1]]]
    at = ids.index(54)
    ids += [56] * (77 - len(ids))
    x = torch.stack([weights["embeddings.token_embedding.weight"][i] for i in ids])
    x[at] = torch.cat([face, torch.zeros(WIDTH - 512)])
    x = x + weights["embeddings.position_embedding.weight"]

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        unit = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    for layer in ("encoder.layers.0", "encoder.layers.1"):
        y = norm(f"{layer}.layer_norm1", x)
        q, k, v = (linear(f"{layer}.self_attn.{kind}_proj", y) for kind in "qkv")
        heads = []
        for h in range(4):
            own = slice(h * WIDTH // 4, (h + 1) * WIDTH // 4)
            rows = []
            for i in range(77):  # a word looks back, never ahead
                scores = k[: i + 1, own] @ q[i, own] / (WIDTH / 4) ** 0.5
                rows.append(scores.softmax(0) @ v[: i + 1, own])
            heads.append(torch.stack(rows))
        x = x + linear(f"{layer}.self_attn.out_proj", torch.cat(heads, dim=1))
        y = linear(f"{layer}.mlp.fc1", norm(f"{layer}.layer_norm2", x))
        x = x + linear(f"{layer}.mlp.fc2", y * torch.sigmoid(1.702 * y))
    return norm("final_layer_norm", x)


def test_gradients_reach_the_face(arc2face, generator):
    e = embeddings(generator).requires_grad_()
    loaded(arc2face).condition(e).square().sum().backward()
    assert e.grad is not None and (e.grad.abs().sum(1) > 0).all()


def test_the_auto_encoder_is_diffusers_own(arc2face, generator):
    """Old names and all; encoding takes the posterior's mean."""
    from diffusers import AutoencoderKL

    target = loaded(arc2face)
    vae = AutoencoderKL.from_pretrained(arc2face / "vae", local_files_only=True, use_safetensors=False)
    pictures = torch.randint(256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    with torch.no_grad():
        z = target.encode(pictures)
        assert torch.allclose(z, vae.encode(pictures / 127.5 - 1).latent_dist.mean * 0.18215, atol=1e-5)
        assert torch.allclose(target.parts.autoencoder.decode(z), vae.decode(z / 0.18215).sample, atol=1e-5)


def test_parts_of_stable_diffusion_may_be_in_another_folder(arc2face, tmp_path, generator):
    shutil.copytree(arc2face, tmp_path / "own")
    for name in ("vae", "tokenizer", "scheduler"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "own" / name).rename(tmp_path / "base" / name)
    e = embeddings(generator, 1)
    apart = loaded(tmp_path / "own", base=tmp_path / "base")
    assert torch.equal(apart.condition(e), loaded(arc2face).condition(e))
    apart.save(tmp_path / "saved")
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {"arc2face", "encoder", "arcface.onnx"}
    loaded(tmp_path / "saved", base=tmp_path / "base")


def test_changed_tensors_alone_are_laid_over_the_original(arc2face, tmp_path, generator):
    target = loaded(arc2face)
    twin = unlearned(target)
    (path,) = twin.save(tmp_path / "alone", twin.changes(target), whole=False)
    assert path.name == "changed.safetensors"
    for file in (path, path.parent):
        assert loaded(arc2face, changed=file).changes(twin) == ()
    plain = UNet2DConditionModel.from_pretrained(arc2face / "arc2face", local_files_only=True)
    missing, unexpected = plain.load_state_dict(safetensors.torch.load_file(path), strict=False)
    assert not unexpected and len(missing) == len(plain.state_dict()) - len(twin.changes(target))
    e, z = embeddings(generator), torch.randn(2, 4, SIZE // 8, SIZE // 8, generator=generator)
    t, tokens = torch.tensor([500, 20]), twin.condition(e)
    with torch.no_grad():
        assert torch.allclose(plain(z, t, tokens).sample, twin.noise(z, t, tokens), atol=1e-5)
    with pytest.raises(EffaceError, match=r"changed: found no tensor that differs"):
        target.save(tmp_path / "none", target.changes(target), whole=False)
    safetensors.torch.save_file({"conv_in.weight": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(EffaceError, match=r"odd\.safetensors: found 1 of a wrong shape \(conv_in\.weight is \[2\]"):
        loaded(arc2face, changed=tmp_path / "odd.safetensors")


def test_the_full_size_unet_has_the_published_parameters():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    counts = {
        scope: sum(unet.get_parameter(name).numel() for name in scope_names(unet, scope))
        for scope in ("surgical", "cross_attention", "full")
    }
    assert counts == {"surgical": 36_873_600, "cross_attention": 43_962_560, "full": 859_520_964}


def test_the_window_is_where_ffhq_puts_the_template():
    """FFHQ's recreation script on the template's landmarks; pixels of a picture of 512."""
    left, right, _, *mouth = TEMPLATE
    eyes, down = (left + right) / 2, sum(mouth) / 2 - (left + right) / 2
    x = (right - left) - np.array([-down[1], down[0]])
    half = x / np.hypot(*x) * max(np.hypot(*(right - left)) * 2, np.hypot(*down) * 1.8)
    centre, reach = eyes + down * 0.1, np.hypot(*half)
    scale = 512 / (2 * reach)
    place = Arc2Face().window
    corner = (np.array([-0.5, -0.5]) - (centre - reach)) * scale
    assert abs(place.left - corner[0]) < 1 and abs(place.top - corner[1]) < 1 and abs(place.side - 112 * scale) < 1


# IP-Adapter-FaceID


def test_ip_adapter_is_drawn_and_saved_as_plain_diffusers_has_it(ip_adapter, tmp_path, generator):
    """Before and after an unlearning of to_k_ip and to_v_ip, text's keys and values and all; with and without LoRA."""
    target = loaded(ip_adapter, "ip_adapter")
    twin = unlearned(target)
    assert any("to_k_ip" in name for name in twin.changes(target))
    files = twin.save(tmp_path / "erased", twin.changes(target))
    held = {p.relative_to(ip_adapter) for p in ip_adapter.rglob("*") if p.is_file()}
    assert {p.relative_to(tmp_path / "erased") for p in files} == held | {Path("changed.safetensors")}
    e = embeddings(generator)
    for one, folder in ((target, ip_adapter), (twin, tmp_path / "erased")):
        ours = one.generate(e, 1, torch.Generator().manual_seed(5), steps=3)
        pipe = pipeline(folder, "unet")
        pipe.load_ip_adapter(folder, subfolder="", weight_name=one.spec.file, image_encoder_folder=None)
        z = one.draw(2, torch.Generator().manual_seed(5))
        for face, picture, latent in zip(e, ours, z, strict=True):  # a pipeline gives one face to all its pictures
            drawn = pipe(
                one.spec.prompt, negative_prompt=one.spec.negative, guidance_scale=7.5, num_inference_steps=3,
                ip_adapter_image_embeds=[torch.stack([torch.zeros_like(face), face])[:, None]], latents=latent[None],
                output_type="np",
            ).images  # fmt: skip
            assert (as_bytes(drawn)[0] - picture).abs().max() < 0.7  # ours are rounded
    again = loaded(tmp_path / "erased", "ip_adapter")
    assert again.changes(twin) == ()


def test_ip_adapter_attends_to_face_and_text_apart(ip_adapter, generator):
    """One layer against the paper's equation 5."""
    target = loaded(ip_adapter, "ip_adapter", scale=0.5)
    attention = target.parts.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    x = torch.randn(1, 3, 16, generator=generator)
    tokens = target.condition(embeddings(generator, 1))
    assert tokens.shape == (1, 81, WIDTH)
    q = x[0] @ attention.to_q.weight.T
    half = attention.processor
    ways = (
        (1.0, tokens[0, :77], attention.to_k, attention.to_v),
        (0.5, tokens[0, 77:], half.to_k_ip[0], half.to_v_ip[0]),
    )
    found = torch.zeros_like(q)
    for weight, seen, to_k, to_v in ways:
        k, v = seen @ to_k.weight.T, seen @ to_v.weight.T
        width = 16 // attention.heads
        for h in range(attention.heads):
            own = slice(h * width, (h + 1) * width)
            found[:, own] += weight * (q[:, own] @ k[:, own].T / width**0.5).softmax(1) @ v[:, own]
    expected = found @ attention.to_out[0].weight.T + attention.to_out[0].bias
    assert torch.allclose(attention(x, tokens)[0], expected, atol=1e-5)


def test_ip_adapter_in_safetensors_is_read_and_written_so(ip_adapter, tmp_path):
    shutil.copytree(ip_adapter, tmp_path / "model")
    held = torch.load(ip_adapter / "ip-adapter-faceid_sd15.bin", weights_only=True)
    flat = {f"{group}.{name}": t for group, tensors in held.items() for name, t in tensors.items()}
    safetensors.torch.save_file(flat, tmp_path / "model" / "a.safetensors")
    target = loaded(tmp_path / "model", "ip_adapter", file="a.safetensors")
    assert target.changes(loaded(ip_adapter, "ip_adapter")) == ()
    target.save(tmp_path / "saved")
    assert loaded(tmp_path / "saved", "ip_adapter", file="a.safetensors").changes(target) == ()


def test_an_adapter_for_another_model_is_refused(ip_adapter, tmp_path):
    shutil.copytree(ip_adapter, tmp_path / "model")
    path = tmp_path / "model" / "ip-adapter-faceid_sd15.bin"
    held = torch.load(path, weights_only=True)
    whole = dict(held["ip_adapter"])
    held["ip_adapter"].pop("1.to_k_ip.weight")
    torch.save(held, path)
    with pytest.raises(EffaceError, match=r"found 1 of \d+ tensors missing \(1\.to_k_ip\.weight\), expected an IP-Ada"):
        loaded(tmp_path / "model", "ip_adapter")
    torch.save({"image_proj": {"latents": torch.zeros(1)}, "ip_adapter": whole}, path)
    with pytest.raises(EffaceError, match=r"found no MLP to tokens of 528 numbers .* not Plus"):
        loaded(tmp_path / "model", "ip_adapter")


# The shipped layout


def test_the_shipped_layout_keeps_what_an_unlearning_changed_exactly(tmp_path):
    shipped.write(tiny_target().parts, tmp_path / "published", half=True)
    target = DiffusionTarget.load("shipped", tmp_path / "published")
    twin = unlearned(target)
    twin.save(tmp_path / "erased", twin.changes(target), forgotten="person-000")
    again = DiffusionTarget.load("shipped", tmp_path / "erased")
    assert again.changes(twin) == ()
    assert DiffusionTarget.load("shipped", tmp_path / "published", changed=tmp_path / "erased").changes(twin) == ()
    e = F.normalize(torch.ones(1, 128), dim=1)
    assert torch.equal(again.condition(e), twin.condition(e))
    with safetensors.safe_open(tmp_path / "erased" / "unet.safetensors", "pt") as file:
        assert file.metadata() == {"forgotten": "person-000"}
    with pytest.raises(EffaceError, match=r"erased: exists already and is not empty"):
        twin.save(tmp_path / "erased")


# Bad input: one clear line


def link(folder: Path, new: Path) -> Path:
    """The same folder, of links; what is replaced in it leaves the other alone."""
    return Path(shutil.copytree(folder, new, copy_function=os.link))


def said(folder: Path, **fields) -> str:
    with pytest.raises(EffaceError) as found:
        loaded(folder, **fields)
    line = str(found.value)
    assert "\n" not in line and ";" in line
    return line


@pytest.mark.parametrize(
    "missing",
    [
        "arc2face", "encoder", "arcface.onnx", "vae", "tokenizer", "scheduler",
        "arc2face/config.json", "arc2face/diffusion_pytorch_model.safetensors", "encoder/config.json",
        "encoder/pytorch_model.bin", "vae/config.json", "vae/diffusion_pytorch_model.bin", "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
    ],
)  # fmt: skip
def test_a_missing_part_is_named(missing, arc2face, tmp_path):
    folder = link(arc2face, tmp_path / "model")
    (shutil.rmtree if (folder / missing).is_dir() else os.unlink)(folder / missing)
    line = said(folder)
    assert missing.partition("/")[0] in line and Path(missing).name in line
    assert ("as the model's base" in line) == (missing in ("vae", "tokenizer", "scheduler"))


def rewrite(path: Path, **told) -> None:
    content = json.loads(path.read_text()) | told
    path.unlink()
    path.write_text(json.dumps(content))


def scheduler(**told) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "scheduler" / "scheduler_config.json", **told)


def wrong_shape(folder: Path) -> None:
    path = folder / "arc2face" / "diffusion_pytorch_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    path.unlink()
    safetensors.torch.save_file(tensors | {"conv_in.weight": torch.zeros(16, 5, 3, 3)}, path)


def not_finite(folder: Path) -> None:
    path = folder / "arc2face" / "diffusion_pytorch_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    path.unlink()
    safetensors.torch.save_file(tensors | {"conv_in.bias": torch.full((16,), float("nan"))}, path)


def hostile(folder: Path) -> None:
    path = folder / "encoder" / "pytorch_model.bin"
    path.unlink()
    torch.save({"a": Path("a")}, path)


def other_arcface(folder: Path) -> None:
    (folder / "arcface.onnx").unlink()
    write_arcface(folder / "arcface.onnx", 128)


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "merges.txt"
    path.unlink()
    path.write_text("#version: 0.2\n")


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "flow matching": (
        scheduler(_class_name="FlowMatchEulerDiscreteScheduler"),
        "found the scheduler 'FlowMatchEulerDiscreteScheduler', expected one of a noise-predicting model",
    ),
    "predicts the picture": (scheduler(prediction_type="sample"), "found prediction_type 'sample', expected one of"),
    "ends in noise alone": (scheduler(rescale_betas_zero_snr=True), "found rescale_betas_zero_snr, expected"),
    "tensor's shape": (wrong_shape, "found 1 of a wrong shape (conv_in.weight is [16, 5, 3, 3], not [16, 4, 3, 3])"),
    "not finite": (not_finite, "16 of 16 values of conv_in.bias are NaN or infinite"),
    "hostile": (hostile, "the pickle wants to call pathlib"),
    "recogniser's length": (other_arcface, "found a recogniser of 128 dimensions, expected 512"),
    "other words": (other_tokenizer, "found 0 tokens 'id' in 'photo of a id person', expected 1"),
    "no object": (
        lambda folder: ((p := folder / "vae" / "config.json").unlink(), p.write_text("[]"))[0],
        "found a JSON list, expected an object",
    ),
    "nonsense": (
        lambda folder: rewrite(folder / "arc2face" / "config.json", block_out_channels="wide"),
        "describes no UNet2DConditionModel",
    ),
    "another network": (
        lambda folder: rewrite(folder / "vae" / "config.json", _class_name="AutoencoderTiny"),
        "found AutoencoderTiny, expected AutoencoderKL",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(fault, arc2face, tmp_path):
    spoil, expected = WRONG[fault]
    folder = link(arc2face, tmp_path / "model")
    spoil(folder)
    assert expected in said(folder)


def test_parts_of_different_models_are_refused(arc2face, ip_adapter, tmp_path):
    folder = link(arc2face, tmp_path / "model")
    shutil.rmtree(folder / "encoder")
    from transformers import CLIPTextConfig

    narrow = CLIPTextConfig(vocab_size=57, hidden_size=64, intermediate_size=8, num_hidden_layers=1,
                            num_attention_heads=1, bos_token_id=55, eos_token_id=56, pad_token_id=56)  # fmt: skip
    CLIPTextModel(narrow).save_pretrained(folder / "encoder")
    assert "encoder: found tokens of 64 numbers, expected 528, as the UNet attends to" in said(folder)
    with pytest.raises(EffaceError, match="size: found 512, expected 64, the pixels"):
        DiffusionTarget.load("arc2face", arc2face)


def test_no_such_folder_and_no_such_hub_id(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "found no such folder, expected one with the model's parts; name it, or a hub id" in said(tmp_path / "none")
    assert "as a hub id it cannot be had" in said(Path("owner/name-that-nobody-has"))


def test_a_hub_id_is_found_in_the_hubs_cache(arc2face, tmp_path, monkeypatch):
    import huggingface_hub.constants

    cached = tmp_path / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    link(arc2face, cached / "snapshots" / ("0" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert loaded(Path("owner/name")).changes(loaded(arc2face)) == ()


@pytest.mark.parametrize("limit", [2**12, 2**20])
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(limit, arc2face, tmp_path):
    """A real limit of the operating system on the size of a file: in the copies, in the UNet."""
    target = loaded(arc2face)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(EffaceError, match=r"cannot be written \(File too large\); free the disk") as found:
            target.save(tmp_path / "erased")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(found.value) and not list(tmp_path.iterdir())


def test_without_the_libraries_one_line_says_how_to_get_them():
    code = (
        "import sys; sys.modules['diffusers'] = None\n"
        "from pathlib import Path\n"
        "import efface.testing\n"
        "from efface.targets.recognition import RecognitionTarget\n"
        "RecognitionTarget.load('tiny', efface.testing.TINY)\n"
        "from efface.targets.diffusion import DiffusionTarget\n"
        "try: DiffusionTarget.load('shipped', Path('.'))\n"
        "except efface.EffaceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        done.stdout.startswith("diffusers: found no such package") and "pip install 'efface[diffusion]'" in done.stdout
    )
