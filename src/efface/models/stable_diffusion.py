"""The parts of a model in the layout of Stable Diffusion 1.5 (Rombach et al. 2022, arXiv 2112.10752), as diffusers and
transformers write them: UNet, auto-encoder, text encoder, tokenizer, scheduler."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import EffaceError, line_of
from efface.models.layout import filled, part, settings
from efface.models.schedule import Schedule
from efface.models.weights import read, save

CONFIG, SCHEDULER = "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"
"""How diffusers names the weights of a UNet or an auto-encoder, without the suffix."""
ADVICE = "fetch it, or name the folder of Stable Diffusion 1.5 that has it as the model's base"
"""Where a part that may lie in another folder is in none."""
OLD = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Names of the attention in auto-encoders that were published before diffusers renamed it -> now."""


class Latents(nn.Module):
    """Stable Diffusion's auto-encoder, its latents scaled as the UNet was trained on them."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale: float = vae.config["scaling_factor"]
        vae.enable_slicing()  # one picture at a time: many of 512 px do not fit

    def encode(self, pictures: Tensor) -> Tensor:
        """The posterior's mean, scaled: latents of pictures float32 [n, 3, H, W] in −1 … 1."""
        return self.vae.encode(pictures).latent_dist.mean * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures float32 of latents; values may lie a little outside −1 … 1."""
        return self.vae.decode(latents / self.scale).sample


def unet(folder: Path) -> Any:
    """The UNet2DConditionModel of a folder, float32."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        network = _of(UNet2DConditionModel, folder)
    return filled(network, weights_in(folder, WEIGHTS))


def autoencoder(folder: Path) -> Latents:
    """The AutoencoderKL of a folder, float32."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        network = _of(AutoencoderKL, folder)
    path = weights_in(folder, WEIGHTS)
    return Latents(filled(network, path, {_renamed(name): tensor for name, tensor in read(path).items()}))


def text_encoder(folder: Path) -> Any:
    """The CLIPTextModel of a folder, float32, in evaluation mode."""
    from transformers import CLIPTextConfig, CLIPTextModel

    path = folder / CONFIG
    told = settings(path)
    try:
        network = CLIPTextModel(CLIPTextConfig.from_dict(told))
    except Exception as error:  # whatever a wrong number makes of it
        raise EffaceError(f"{path}: describes no CLIP text encoder ({line_of(error)}); fetch it again") from error
    path = weights_in(folder, "model", "pytorch_model")
    prefix = "text_model."  # in published files, and in the network of older releases of transformers
    named = {name.removeprefix(prefix): name for name in network.state_dict()}
    found = {name.removeprefix(prefix): t for name, t in read(path).items() if not name.endswith("position_ids")}
    filled(network, path, {named.get(name, name): tensor for name, tensor in found.items()})
    return network.eval()


def tokenizer(folder: Path) -> Any:
    """The CLIPTokenizer of a folder."""
    from transformers import CLIPTokenizer

    if not (folder / "tokenizer.json").is_file():
        for name in ("vocab.json", "merges.txt"):
            part(name, [folder])
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of the JSON, the merges, the library
        raise EffaceError(f"{folder}: found no CLIP tokenizer ({line_of(error)}); fetch its files again") from error


def token_ids(words: Any, text: str) -> Tensor:
    """int64 [1, k]: a text cut or filled up to the tokenizer's length."""
    length = words.model_max_length
    return words(text, truncation=True, padding="max_length", max_length=length, return_tensors="pt").input_ids


def schedule(folder: Path) -> Schedule:
    """What the scheduler of a folder says of the timesteps."""
    path = folder / SCHEDULER
    return Schedule.of(settings(path), str(path))


def check_fit(network: Any, size: int, latents: Latents, width: int, tokens_from: Path) -> None:
    """Raise EffaceError where the parts are not those of one model that draws `size` pixels. width: of the tokens that
    the folder `tokens_from` makes."""
    attends, channels = network.config["cross_attention_dim"], network.config["in_channels"]
    if width != attends:
        raise EffaceError(
            f"{tokens_from}: found tokens of {width} numbers, expected {attends}, as the UNet attends to; give the "
            "parts of one model"
        )
    if latents.vae.config["latent_channels"] != channels:
        raise EffaceError(
            f"vae: found latents of {latents.vae.config['latent_channels']} channels, expected {channels}, as the UNet "
            "has; give the parts of one model"
        )
    side = network.config["sample_size"] * 2 ** (len(latents.vae.config["block_out_channels"]) - 1)
    if side != size:
        raise EffaceError(
            f"size: found {size}, expected {side}, the pixels of the pictures that the parts draw; set it"
        )


def write_unet(tensors: dict[str, Tensor], source: Path, folder: Path, **extra: str) -> None:
    """Write a UNet's tensors as diffusers reads them, beside the configuration of the folder `source`."""
    save(folder / f"{WEIGHTS}.safetensors", tensors, {"format": "pt", **extra})
    (folder / CONFIG).write_bytes((source / CONFIG).read_bytes())


def weights_in(folder: Path, *names: str) -> Path:
    """The weights of a part: safetensors before torch's .bin, in that order of names. Raises EffaceError where there
    are none."""
    wanted = [f"{name}{suffix}" for suffix in (".safetensors", ".bin") for name in names]
    for name in wanted:
        if (folder / name).is_file():
            return folder / name
    expected = f"{names[0]}.safetensors or {names[-1]}.bin"
    raise EffaceError(f"{folder}: found no weights, expected {expected}; fetch that part of the model")


def _of(kind: Any, folder: Path) -> Any:
    """A network of diffusers, as the folder's configuration describes it."""
    path = folder / CONFIG
    told = settings(path)
    if told.get("_class_name", kind.__name__) != kind.__name__:
        raise EffaceError(f"{path}: found {told['_class_name']}, expected {kind.__name__}; give that part of the model")
    try:
        return kind.from_config(told)
    except Exception as error:  # whatever a wrong number makes of it
        raise EffaceError(f"{path}: describes no {kind.__name__} ({line_of(error)}); fetch it again") from error


def _renamed(name: str) -> str:
    for old, new in OLD.items():
        name = name.replace(old, new)
    return name
