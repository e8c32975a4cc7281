"""IP-Adapter-FaceID (Ye et al. 2023, arXiv 2308.06721, equation 5, with a face embedding for the picture's) on Stable
Diffusion 1.5: an MLP makes four tokens of the embedding, and every cross-attention attends to them by keys and values
of their own (`to_k_ip`, `to_v_ip`) beside the text's.

The published file holds a LoRA of the UNet too. It is added to the UNet's weights, which changes nothing but where it
is; a saved file's LoRA is therefore zero, and its UNet comes with it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.diffusion_model import DiffusionModel, Parts, Window
from efface.models.layout import copied, filled, located, part
from efface.models.stable_diffusion import (
    ADVICE,
    autoencoder,
    check_fit,
    schedule,
    text_encoder,
    token_ids,
    tokenizer,
    unet,
    write_unet,
)
from efface.models.weights import check_values, misfit, read, save_grouped

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""Those of Stable Diffusion 1.5."""
PROJECTOR, ADAPTER = "image_proj.", "ip_adapter."
"""The two groups of the published file."""
LORA = ("to_q", "to_k", "to_v", "to_out")


class Decoupled(nn.Module):
    """An attention processor of diffusers: text and face are attended to apart, and the answers added. Its parameters
    have the names that diffusers gives them."""

    def __init__(self, width: int, channels: int, tokens: int, scale: float) -> None:
        """width: of a token; channels: of the layer; tokens: the last so many are the face's."""
        super().__init__()
        self.tokens, self.scale = tokens, scale
        self.to_k_ip = nn.ModuleList([nn.Linear(width, channels, bias=False)])
        self.to_v_ip = nn.ModuleList([nn.Linear(width, channels, bias=False)])

    def forward(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None, **_: Any
    ) -> Tensor:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        text, face = encoder_hidden_states[:, : -self.tokens], encoder_hidden_states[:, -self.tokens :]
        query = heads(attn.to_q(hidden_states))
        attend = F.scaled_dot_product_attention
        found = attend(query, heads(attn.to_k(text)), heads(attn.to_v(text)))
        found = found + self.scale * attend(query, heads(self.to_k_ip[0](face)), heads(self.to_v_ip[0](face)))
        return attn.to_out[1](attn.to_out[0](found.transpose(1, 2).flatten(2)))


class FaceTokens(nn.Module):
    """Unit embeddings [n, d] -> tokens [n, k + tokens, width]: those of a fixed text, then the face's."""

    def __init__(self, embedding: int, width: int, tokens: int) -> None:
        super().__init__()
        self.shape = (tokens, width)
        hidden = 2 * embedding
        self.proj = nn.Sequential(nn.Linear(embedding, hidden), nn.GELU(), nn.Linear(hidden, tokens * width))
        self.norm = nn.LayerNorm(width)

    def told(self, text: Tensor, nobody: Tensor) -> "FaceTokens":
        """The same with its texts' tokens [1, k, width]: of the prompt and of what guidance moves away from."""
        self.register_buffer("text", text)
        self.register_buffer("nobody", nobody)
        return self

    def forward(self, embeddings: Tensor) -> Tensor:
        return self._behind(self.get_buffer("text"), embeddings)

    def unconditioned(self, count: int) -> Tensor:
        """Tokens [count, k + tokens, width] of the other text and the zero vector."""
        first = self.proj[0]
        assert isinstance(first, nn.Linear)
        return self._behind(self.get_buffer("nobody"), first.weight.new_zeros(count, first.in_features))

    def _behind(self, text: Tensor, embeddings: Tensor) -> Tensor:
        faces = self.norm(self.proj(embeddings).unflatten(1, self.shape))
        return torch.cat([text.expand(len(embeddings), -1, -1), faces], dim=1)


@dataclass(frozen=True, kw_only=True)
class IPAdapter(DiffusionModel):
    """IP-Adapter-FaceID on Stable Diffusion 1.5: a face embedding's four tokens beside a fixed text."""

    base: Path | None = None
    """Folder or hub id that has unet/, vae/, text_encoder/, tokenizer/ and scheduler/ of Stable Diffusion 1.5; left
    out: the adapter's own folder, which is asked first anyway."""
    file: str = "ip-adapter-faceid_sd15.bin"
    """The adapter's file in the folder; .bin or .safetensors."""
    arcface: str = "w600k_r50.onnx"
    """The recogniser's file, there or in `base`; published: that of InsightFace's buffalo_l."""
    prompt: str = "best quality, high quality"
    """The text beside the face; published: its code's default."""
    negative: str = "monochrome, lowres, bad anatomy, worst quality, low quality"
    """The text beside nobody; published: its code's default."""
    scale: float = 1.0
    """Weight of the face's attention; published: 1."""
    size: int = 512  # pyright: ignore[reportIncompatibleVariableOverride]
    """Side of a generated picture in pixels: that of a latent times the auto-encoder's factor."""

    origin: ClassVar = "huggingface.co/h94/IP-Adapter-FaceID, and Stable Diffusion 1.5"
    licence: ClassVar = (
        "non-commercial research (IP-Adapter-FaceID); Stable Diffusion 1.5's parts CreativeML Open RAIL-M"
    )
    commercial: ClassVar = "no"
    embedding_size: ClassVar = 512
    recogniser: ClassVar = "onnx"
    aligned: ClassVar = False
    steps: ClassVar = 30
    guidance: ClassVar = 7.5

    @property
    def window(self) -> Window:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Ours: the middle half, somewhat above the middle; this model draws faces where its text leaves them."""
        return Window(left=self.size // 4, top=self.size // 8, side=self.size // 2)

    def load(self, weights: Path) -> Parts:
        """Read the adapter's file and the five parts of Stable Diffusion 1.5."""
        folders = self._folders(weights)
        path = part(self.file, folders[:1])
        tensors = read(path)
        check_values(tensors, path)
        network, encoder = unet(part("unet", folders, ADVICE)), part("text_encoder", folders, ADVICE)
        text, words = text_encoder(encoder), tokenizer(part("tokenizer", folders, ADVICE))
        latents = autoencoder(part("vae", folders, ADVICE))
        width = text.config.hidden_size
        check_fit(network, self.size, latents, width, encoder)
        projector = self._projector(tensors, path, width)
        with torch.no_grad():
            texts = [text(input_ids=token_ids(words, told)).last_hidden_state for told in (self.prompt, self.negative)]
        self._attach(network, tensors, path, projector.shape[0])
        return Parts(network, projector.told(*texts), latents, schedule(part("scheduler", folders, ADVICE)))

    def save(self, parts: Parts, folder: Path, source: Path, **extra: str) -> None:
        """Write the adapter's file and `unet/`, and copy what else the source's own folder holds."""
        folders = self._folders(source)
        copied(folders[0], folder, ("model_index.json", *PARTS[1:], self.arcface))
        state = parts.unet.state_dict()
        tensors = {name: t.float() for name, t in read(folders[0] / self.file).items()}
        for i, layer in enumerate(parts.unet.attn_processors):
            for kind in ("to_k_ip", "to_v_ip"):
                if f"{layer}.{kind}.0.weight" in state:
                    tensors[f"{ADAPTER}{i}.{kind}.weight"] = state.pop(f"{layer}.{kind}.0.weight")
        tensors |= {name: torch.zeros_like(t) for name, t in tensors.items() if name.endswith("_lora.up.weight")}
        save_grouped(folder / self.file, tensors, dict(extra))
        write_unet(state, part("unet", folders, ADVICE), folder / "unet", **extra)

    def recogniser_weights(self, weights: Path) -> Path | None:
        """`arcface`."""
        return part(self.arcface, self._folders(weights))

    def _folders(self, weights: Path) -> list[Path]:
        files = (self.file, self.arcface, "model_index.json", *(f"{name}/*.json" for name in PARTS))
        files += ("tokenizer/*.txt", "text_encoder/model.safetensors")
        files += tuple(f"{name}/diffusion_pytorch_model.safetensors" for name in ("unet", "vae"))
        return [located(folder, files) for folder in (weights, self.base) if folder is not None]

    def _projector(self, tensors: dict[str, Tensor], path: Path, width: int) -> FaceTokens:
        found = {name.removeprefix(PROJECTOR): t for name, t in tensors.items() if name.startswith(PROJECTOR)}
        last = found.get("proj.2.weight")
        if last is None or "norm.weight" not in found or last.shape[0] % width:
            raise EffaceError(
                f"{path}: found no MLP to tokens of {width} numbers ({PROJECTOR}proj.2, {PROJECTOR}norm), expected an "
                "IP-Adapter-FaceID for Stable Diffusion 1.5, not Plus; give that file"
            )
        projector = FaceTokens(self.embedding_size, width, last.shape[0] // width)
        filled(projector, path, found)
        return projector

    @torch.no_grad()
    def _attach(self, network: Any, tensors: dict[str, Tensor], path: Path, count: int) -> None:
        """Give every cross-attention its decoupled half, and add the LoRA. The file numbers the UNet's attention layers
        in diffusers' order."""
        width = network.config["cross_attention_dim"]
        expected: dict[str, Tensor] = {}
        lora = any("_lora." in name for name in tensors)
        for i, name in enumerate(list(network.attn_processors)):
            attention = network.get_submodule(name.removesuffix(".processor"))
            if name.endswith("attn2.processor"):
                half = Decoupled(width, attention.to_q.out_features, count, self.scale)
                attention.set_processor(half)
                expected |= {f"{i}.{name.replace('.0.', '.')}": t for name, t in half.state_dict().items()}
            for kind in LORA if lora else ():
                weight = _linear(attention, kind).weight
                up, down = (f"{i}.{kind}_lora.{which}.weight" for which in ("up", "down"))
                rank = tensors[ADAPTER + down].shape[0] if ADAPTER + down in tensors else 1
                expected |= {up: weight[:, :1].expand(-1, rank), down: weight[:1].expand(rank, -1)}
        found = {name.removeprefix(ADAPTER): t.float() for name, t in tensors.items() if name.startswith(ADAPTER)}
        problem = misfit(found, expected)
        if problem:
            raise EffaceError(
                f"{path}: {problem}, expected an IP-Adapter-FaceID for this UNet; give the parts of one model"
            )
        for name, tensor in found.items():
            if "_lora." not in name:
                expected[name].copy_(tensor)
        for i, name in enumerate(list(network.attn_processors) if lora else ()):
            for kind in LORA:
                up, down = (found[f"{i}.{kind}_lora.{which}.weight"] for which in ("up", "down"))
                _linear(network.get_submodule(name.removesuffix(".processor")), kind).weight += up @ down


def _linear(attention: Any, kind: str) -> nn.Linear:
    return attention.to_out[0] if kind == "to_out" else getattr(attention, kind)
