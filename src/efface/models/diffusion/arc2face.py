"""Arc2Face (Papantoniou et al. 2024, arXiv 2403.11641): Stable Diffusion 1.5 whose text is a face. The unit ArcFace
vector, filled up with zeros, stands in place of the token "id" of "photo of a id person" before the position embedding;
a fine-tuned CLIP text encoder makes of it what the UNet attends to. The authors' code writes the embeddings of a batch
by a mask of one row; here each row has its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.diffusion_model import DiffusionModel, Parts, Window
from efface.models.layout import copied, located, part
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

UNET, ENCODER, RECOGNISER = "arc2face", "encoder", "arcface.onnx"
BASE = ("vae", "tokenizer", "scheduler")
"""Parts that are Stable Diffusion 1.5's own."""
FETCHED = ("arc2face/*", "encoder/*", "arcface.onnx", *(f"{name}/*" for name in BASE))
PROMPT, FACE = "photo of a id person", "id"
"""The text, and the word of it that the face replaces."""


class FaceText(nn.Module):
    """Unit embeddings [n, d] -> tokens [n, k, width]: a causal text encoder that reads a face among its words."""

    def __init__(self, text: Any, ids: Tensor, face: Tensor, empty: Tensor) -> None:
        """text: the CLIPTextModel. ids: int64 [1, k] of the prompt; face: bool [k], true where the face goes; empty:
        int64 [1, k] of the text that stands for nobody."""
        super().__init__()
        self.text = text
        self.register_buffer("ids", ids)
        self.register_buffer("face", face)
        self.register_buffer("empty", empty)
        self.ids: Tensor
        self.face: Tensor
        self.empty: Tensor

    def forward(self, embeddings: Tensor) -> Tensor:
        words = self.text.get_input_embeddings()
        padded = F.pad(embeddings, (0, words.embedding_dim - embeddings.shape[1]))

        def overwrite(_module: nn.Module, _inputs: Any, found: Tensor) -> Tensor:
            return torch.where(self.face[:, None], padded[:, None], found)

        handle = words.register_forward_hook(overwrite)
        try:
            return self.text(input_ids=self.ids.expand(len(embeddings), -1)).last_hidden_state
        finally:
            handle.remove()

    def unconditioned(self, count: int) -> Tensor:
        """Tokens [count, k, width] of the empty text."""
        return self.text(input_ids=self.empty).last_hidden_state.expand(count, -1, -1)


@dataclass(frozen=True, kw_only=True)
class Arc2Face(DiffusionModel):
    """Arc2Face: 512 px faces drawn from an ArcFace embedding, on Stable Diffusion 1.5."""

    base: Path | None = None
    """Folder or hub id that has vae/, tokenizer/ and scheduler/ of Stable Diffusion 1.5; left out: the model's own
    folder."""
    size: int = 512  # pyright: ignore[reportIncompatibleVariableOverride]
    """Side of a generated picture in pixels: that of a latent times the auto-encoder's factor."""

    origin: ClassVar = "huggingface.co/FoivosPar/Arc2Face, and Stable Diffusion 1.5"
    licence: ClassVar = "MIT; Stable Diffusion 1.5's parts CreativeML Open RAIL-M"
    commercial: ClassVar = "unknown"  # arcface.onnx was trained on WebFace42M
    embedding_size: ClassVar = 512
    recogniser: ClassVar = "onnx"
    aligned: ClassVar = False
    steps: ClassVar = 25
    guidance: ClassVar = 3.0

    @property
    def window(self) -> Window:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Ours: where the alignment of FFHQ (Karras et al. 2019, arXiv 1812.04948, its recreation script), after which
        the model's training photos are framed, puts a face whose landmarks are those of the ArcFace template."""
        scale = self.size / 512
        return Window(left=round(59 * scale), top=round(60 * scale), side=round(391 * scale))

    def load(self, weights: Path) -> Parts:
        """Read `arc2face/`, `encoder/` and, here or in `base`, `vae/`, `tokenizer/`, `scheduler/`."""
        folders = self._folders(weights)
        network = unet(part(UNET, folders[:1]))
        encoder = part(ENCODER, folders[:1])
        text, words = text_encoder(encoder), tokenizer(part("tokenizer", folders, ADVICE))
        latents = autoencoder(part("vae", folders, ADVICE))
        check_fit(network, self.size, latents, text.config.hidden_size, encoder)
        return Parts(
            network, self._reading(text, words, encoder), latents, schedule(part("scheduler", folders, ADVICE))
        )

    def save(self, parts: Parts, folder: Path, source: Path, **extra: str) -> None:
        """Write what the source's own folder holds, with this UNet."""
        source = self._folders(source)[0]
        copied(source, folder, (ENCODER, RECOGNISER, *BASE))
        write_unet(parts.unet.state_dict(), source / UNET, folder / UNET, **extra)

    def recogniser_weights(self, weights: Path) -> Path | None:
        """`arcface.onnx`."""
        return part(RECOGNISER, self._folders(weights)[:1])

    def _folders(self, weights: Path) -> list[Path]:
        return [located(folder, FETCHED) for folder in (weights, self.base) if folder is not None]

    def _reading(self, text: Any, words: Any, where: Path) -> FaceText:
        """The encoder with its two texts."""
        if text.config.hidden_size < self.embedding_size:
            raise EffaceError(
                f"{where}: found a width of {text.config.hidden_size}, expected at least {self.embedding_size}, the "
                "length of the embedding; give Arc2Face's encoder"
            )
        ids, empty = token_ids(words, PROMPT), token_ids(words, "")
        face = words.encode(FACE, add_special_tokens=False)
        here = ids[0] == face[0] if len(face) == 1 else torch.zeros_like(ids[0], dtype=torch.bool)
        if here.sum() != 1:
            raise EffaceError(
                f"tokenizer: found {int(here.sum())} tokens {FACE!r} in {PROMPT!r}, expected 1; give that of Stable "
                "Diffusion 1.5"
            )
        last, held = int(max(ids.max(), empty.max())), text.config.vocab_size
        if last >= held or ids.shape[1] > text.config.max_position_embeddings:
            raise EffaceError(
                f"tokenizer: found token {last} and texts of {ids.shape[1]}, expected below {held} and at most "
                f"{text.config.max_position_embeddings}, as the encoder has; give that of Stable Diffusion 1.5"
            )
        return FaceText(text, ids, here, empty)
