"""An identity-conditioned diffusion model as methods, metrics and attacks see it: `condition`, `noise`, `generate`,
`recognise`, for batches of any size."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from efface import registry
from efface.errors import EffaceError
from efface.faces.alignment import alignment_of, warp
from efface.faces.crops import SIZE
from efface.faces.detection import Detector
from efface.faces.framing import template_in
from efface.models import layout
from efface.models.diffusion_model import DiffusionModel, Parts, frozen
from efface.models.weights import save
from efface.precision import native_bf16
from efface.progress import Tick
from efface.targets.recognition import RecognitionTarget

CPU = torch.device("cpu")
BATCH = 64
"""Pictures that are drawn at once."""
Weighted = Sequence[tuple[float, Tensor]]
"""A sum of predictions: (weight, tokens [n, k, c]) of each."""


@dataclass
class DiffusionTarget:
    """A model with the recogniser that conditions it. Methods work on a `clone()` and leave the original alone."""

    spec: DiffusionModel
    parts: Parts
    recogniser: RecognitionTarget
    detector: Detector | None = None
    """Finds the face in a generated picture; not needed where the model draws aligned faces."""
    device: torch.device = CPU
    weights: Path | None = None
    """The folder that the weights came from."""

    def __post_init__(self) -> None:
        frozen(self.parts, self.device)
        self.recogniser.network.requires_grad_(False)

    @classmethod
    def load(
        cls,
        name: str,
        weights: Path,
        device: torch.device = CPU,
        detector: Detector | None = None,
        changed: Path | None = None,
        **fields: Any,
    ) -> "DiffusionTarget":
        """The registered model `name` from a folder of its layout, or from a hub id. changed: a `changed.safetensors`
        that is laid over it. Raises EffaceError as its `load` does."""
        layout.require_diffusers()
        spec: DiffusionModel = registry.get("models.diffusion", name)(**fields)
        file = spec.recogniser_weights(weights)
        kind = registry.get("models.recognition", spec.recogniser)
        recogniser = RecognitionTarget.load(spec.recogniser, file or kind.shipped, device)
        if recogniser.spec.embedding_size != spec.embedding_size:
            raise EffaceError(
                f"{file or spec.recogniser}: found a recogniser of {recogniser.spec.embedding_size} dimensions, "
                f"expected {spec.embedding_size}, as {name} is conditioned by; give the one that belongs to the model"
            )
        parts = spec.load(weights)
        if changed is not None:
            layout.lay_over(parts.unet, changed)
        return cls(spec, parts, recogniser, detector, device, weights)

    def clone(self) -> "DiffusionTarget":
        """An independent copy of the UNet, every parameter requiring no gradient yet; the other parts, which no method
        changes, are shared."""
        return replace(self, parts=replace(self.parts, unet=copy.deepcopy(self.parts.unet)))

    def condition(self, embeddings: Tensor) -> Tensor:
        """Tokens [n, k, c] of unit embeddings float32 [n, d]. Raises EffaceError for another size or what is not
        finite."""
        size = self.spec.embedding_size
        if embeddings.dim() != 2 or embeddings.shape[1] != size:
            raise EffaceError(
                f"embedding: found the shape {list(embeddings.shape)}, expected [n, {size}] as the recogniser "
                f"{self.spec.recogniser} gives; embed the photos with it"
            )
        if not torch.isfinite(embeddings).all():
            raise EffaceError("embedding: found NaN or infinity, expected finite numbers; embed the photos anew")
        return self.parts.projector(embeddings.to(self.device, torch.float32))

    def unconditioned(self, count: int) -> Tensor:
        """Tokens [count, k, c] of nobody."""
        return self.parts.projector.unconditioned(count)

    def noise(self, z: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """Predicted noise [n, c, h, w] of latents z at timesteps int64 [n]; with gradient where something requires
        it."""
        output = self.parts.unet(z, t, encoder_hidden_states=tokens).sample.float()
        return self.parts.schedule.noise(output, z, t)

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents of pictures uint8 [n, 3, size, size]."""
        return self.parts.autoencoder.encode(pictures.to(self.device, torch.float32) / 127.5 - 1)

    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of a latent."""
        config = self.parts.unet.config
        return config["in_channels"], config["sample_size"], config["sample_size"]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Unit noise [count, c, h, w]; row i is the same whatever the count."""
        return torch.randn((count, *self.latent_shape()), generator=generator).to(self.device)

    def guided(self, tokens: Tensor, guidance: float | None = None) -> Callable[[Tensor, Tensor], Tensor]:
        """noise(z, t) with classifier-free guidance; row i of z goes with tokens i."""
        return self.summed(self.weighted(tokens, guidance))

    def weighted(self, tokens: Tensor, guidance: float | None = None) -> Weighted:
        """Classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, equation 6: ε_u + s (ε_c − ε_u)), written
        as a sum: (1 − s) ε_u + s ε_c. guidance: s; None: the model's own, 1: none."""
        scale = self.spec.guidance if guidance is None else guidance
        return [(1.0, tokens)] if scale == 1 else [(1 - scale, self.unconditioned(len(tokens))), (scale, tokens)]

    def summed(self, parts: Weighted) -> Callable[[Tensor, Tensor], Tensor]:
        """noise(z, t) = Σ weight · ε(z, t, tokens), all tokens in one batch."""
        everything = torch.cat([tokens for _, tokens in parts])
        count = len(parts)

        def noise(z: Tensor, t: Tensor) -> Tensor:
            found = self.noise(z.repeat(count, 1, 1, 1), t.repeat(count), everything).chunk(count)
            return sum((weight * each for (weight, _), each in zip(parts, found, strict=True)), torch.zeros_like(z))

        return noise

    @torch.no_grad()
    def generate(
        self,
        embeddings: Tensor,
        n: int,
        generator: torch.Generator,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        tick: Tick | None = None,
    ) -> Tensor:
        """n pictures of each embedding: uint8 [m·n, 3, size, size] of embeddings [m, d], n in a row for each; the
        same generator state gives the same noise to any model with latents of this shape.

        steps, guidance: of the sampling; None: the model's own. tick: told 1 after each picture.
        """
        tokens = self.condition(embeddings).repeat_interleave(n, dim=0)
        parts = self.weighted(tokens, guidance)
        return self.draw_from(parts, self.draw(len(tokens), generator), steps=steps, tick=tick)

    @torch.no_grad()
    def draw_from(
        self,
        parts: Weighted,
        z: Tensor,
        *,
        steps: int | None = None,
        strength: float = 1.0,
        tick: Tick | None = None,
    ) -> Tensor:
        """Pictures uint8 [n, 3, size, size] of a sum of predictions (tokens [n, k, c] each), every one from its own
        latent z [n, c, h, w]: unit noise, or where `strength` is below 1 a picture's latent that is noised so far
        (`Schedule.sample`)."""
        pictures = []
        half = self.spec.bf16 and self.device.type == "cpu" and native_bf16(self.device)
        for first in range(0, len(z), BATCH):
            rows = slice(first, first + BATCH)
            noise = self.summed([(weight, tokens[rows]) for weight, tokens in parts])
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                latents = self.parts.schedule.sample(noise, z[rows], steps or self.spec.steps, strength)
            pictures.append(self.decode(latents))
            if tick:
                tick(len(latents))
        return torch.cat(pictures) if len(z) else torch.empty((0, 3, *(self.spec.size,) * 2), dtype=torch.uint8)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures uint8 [n, 3, size, size] of latents."""
        pictures = self.parts.autoencoder.decode(latents)
        return ((pictures + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)

    def window(self, pictures: Tensor) -> Tensor:
        """The aligned crop float32 [n, 3, 112, 112], 0 … 255, at the place where faces lie in this model's pictures,
        of pictures [n, 3, size, size], 0 … 255, with gradient."""
        place = self.spec.window
        return template_in(pictures, (place.left, place.top, place.side))

    def recognise(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(unit embeddings [n, d], whether a face was found: bool [n]) of generated pictures uint8
        [n, 3, size, size]; the embedding of a picture without a face is zero. Of several faces the largest counts."""
        crops, found = self.crops(pictures)
        embeddings = torch.zeros(len(pictures), self.spec.embedding_size)
        if found.any():
            embeddings[found] = self.recogniser.embed(crops[found]).cpu()
        return embeddings, found

    def crops(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """(aligned crops uint8 [n, 3, 112, 112], whether a face was found: bool [n]): for a judge too."""
        if self.spec.aligned:
            crops = self.window(pictures).round().clamp(0, 255).to(torch.uint8)
            return crops, torch.ones(len(pictures), dtype=torch.bool)
        if self.detector is None:
            raise EffaceError(
                f"detector: found none, and {self.spec.name} does not draw aligned faces; give --detector FOLDER "
                "(YAML: detector) with MTCNN's pnet.pt, rnet.pt and onet.pt"
            )
        crops = torch.zeros(len(pictures), 3, SIZE, SIZE, dtype=torch.uint8)
        found = torch.zeros(len(pictures), dtype=torch.bool)
        for i, picture in enumerate(pictures):
            pixels = picture.permute(1, 2, 0).contiguous().numpy()
            faces = self.detector.find(pixels)
            if faces:
                found[i] = True
                crop = warp(pixels, alignment_of(faces[0].landmarks))
                crops[i] = torch.from_numpy(crop.copy()).permute(2, 0, 1)
        return crops, found

    def changes(self, original: "DiffusionTarget") -> tuple[str, ...]:
        """Names of the UNet's tensors that differ from the original's."""
        before = original.parts.unet.state_dict()
        return tuple(n for n, tensor in self.parts.unet.state_dict().items() if not torch.equal(tensor, before[n]))

    def save(self, folder: Path, changed: Iterable[str] = (), whole: bool = True, **extra: str) -> list[Path]:
        """Write `folder`, which appears when all is in it, in the layout that the model came in; returns the files.

        changed: names of the UNet's tensors that differ from the original's (`changes`): where they are fewer than
        all, they are also written alone, as `changed.safetensors`. whole: false writes only those. extra: for the
        headers. Raises EffaceError where the folder is taken or the disk refuses; nothing is left behind then.
        """
        assert self.weights is not None
        state = self.parts.unet.state_dict()
        alone = {name: state[name] for name in changed}
        if not whole and not alone:
            raise EffaceError("changed: found no tensor that differs, expected some to write; save the whole model")
        with layout.whole(folder) as partial:
            if whole:
                self.spec.save(self.parts, partial, self.weights, **extra)
            if alone and (len(alone) < len(state) or not whole):
                save(partial / layout.CHANGED, alone, {"model": self.spec.name, "format": "pt", **extra})
        return sorted(path for path in folder.rglob("*") if path.is_file())
