"""Published layouts of diffusion models with tiny random weights, written by diffusers, transformers and torch."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from efface.models.diffusion.shipped import unet_config
from onnx_files import written

WIDTH, SIZE = 528, 64
"""Of a token: the face's 512 numbers and some zeros; pixels of a picture."""
LETTERS = "abcdefghijklmnopqrstuvwxyz,"


def write_tokenizer(folder: Path) -> None:
    """A CLIP tokenizer that knows letters and the word `id`."""
    folder.mkdir(parents=True)
    words = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "id</w>", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\ni d</w>\n")
    start, end = words[-2:]
    told = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end, "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **told}))


def text_encoder() -> CLIPTextModel:
    """Two layers; its positions and words are as loud as the face."""
    words = 2 * len(LETTERS) + 3
    network = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words, hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=words - 1,
        )
    )  # fmt: skip
    return network.eval()


def write_unet(folder: Path) -> None:
    """The blocks of Stable Diffusion 1.5, 16 channels each."""
    UNet2DConditionModel(**unet_config((16, 16, 16, 16), 4, SIZE // 8, WIDTH)).save_pretrained(folder)


def write_base(folder: Path) -> None:
    """vae/, tokenizer/, scheduler/ of Stable Diffusion 1.5; the auto-encoder's attention has the names of old."""
    blocks = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = AutoencoderKL(
        down_block_types=blocks[0], up_block_types=blocks[1], block_out_channels=(8, 8, 8, 8), norm_num_groups=4,
        sample_size=SIZE,
    )  # fmt: skip
    vae.save_pretrained(folder / "vae")
    now = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {}
    for name, tensor in vae.state_dict().items():
        for new, before in now.items():
            name = name.replace(f".{new}.", f".{before}.")
        old[name] = tensor
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(old, folder / "vae" / "diffusion_pytorch_model.bin")
    write_tokenizer(folder / "tokenizer")
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
    ).save_pretrained(folder / "scheduler")


def write_arcface(path: Path, size: int = 512) -> None:
    """A recogniser of a convolution and a linear map."""
    nodes = "c = Conv(x, w) f = Flatten(c) y = Gemm(f, g)"
    written(path, nodes, outputs=f"float[1,{size}] y", w=(8, 3, 8, 8), g=(8, size))


def write_arc2face(folder: Path) -> Path:
    """Everything of Arc2Face and of Stable Diffusion 1.5 in one folder; the encoder as published: a torch file whose
    names begin with `text_model.`, with the positions' counter."""
    torch.manual_seed(0)
    write_base(folder)
    write_unet(folder / "arc2face")
    write_arcface(folder / "arcface.onnx")
    encoder = text_encoder()
    encoder.config.save_pretrained(folder / "encoder")
    tensors: dict[str, Any] = {
        f"text_model.{n.removeprefix('text_model.')}": t for n, t in encoder.state_dict().items()
    }
    torch.save(
        tensors | {"text_model.embeddings.position_ids": torch.arange(77)[None]},
        folder / "encoder" / "pytorch_model.bin",
    )
    return folder


def write_ip_adapter(folder: Path, lora: bool) -> Path:
    """IP-Adapter-FaceID, a whole Stable Diffusion 1.5 beside it."""
    torch.manual_seed(1)
    write_base(folder)
    write_unet(folder / "unet")
    text_encoder().save_pretrained(folder / "text_encoder")
    write_arcface(folder / "w600k_r50.onnx")

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape) * 0.05

    projector = {
        "proj.0.weight": drawn(1024, 512),
        "proj.0.bias": drawn(1024),
        "proj.2.weight": drawn(4 * WIDTH, 1024),
        "proj.2.bias": drawn(4 * WIDTH),
        "norm.weight": 1 + drawn(WIDTH),
        "norm.bias": drawn(WIDTH),
    }
    adapter = {}
    for i in range(32):  # self-attention and cross-attention in turn
        if i % 2:
            adapter |= {f"{i}.to_k_ip.weight": drawn(16, WIDTH), f"{i}.to_v_ip.weight": drawn(16, WIDTH)}
        for kind in ("to_q", "to_k", "to_v", "to_out") if lora else ():
            width = WIDTH if i % 2 and kind in ("to_k", "to_v") else 16
            adapter |= {f"{i}.{kind}_lora.down.weight": drawn(2, width), f"{i}.{kind}_lora.up.weight": drawn(16, 2)}
    torch.save({"image_proj": projector, "ip_adapter": adapter}, folder / "ip-adapter-faceid_sd15.bin")
    return folder
