"""An identity-conditioned diffusion model as methods, metrics and attacks see it: `condition`, `noise`, `generate`,
`recognise`, for batches of any size."""

import copy
from collections.abc import Callable, Iterable
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
from efface.models.diffusion_model import DiffusionModel, Parts, frozen
from efface.progress import Tick
from efface.targets.recognition import RecognitionTarget

CPU = torch.device("cpu")
BATCH = 64
"""Pictures that are drawn at once."""


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
        cls, name: str, weights: Path, device: torch.device = CPU, detector: Detector | None = None, **fields: Any
    ) -> "DiffusionTarget":
        """The registered model `name` from a folder of its layout. Raises EffaceError as its `load` does."""
        spec: DiffusionModel = registry.get("models.diffusion", name)(**fields)
        file = spec.recogniser_weights(weights)
        kind = registry.get("models.recognition", spec.recogniser)
        recogniser = RecognitionTarget.load(spec.recogniser, file or kind.shipped, device)
        return cls(spec, spec.load(weights), recogniser, detector, device, weights)

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
        """noise(z, t) with classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598, equation 6, in the form
        ε_u + s·(ε_c − ε_u)); None: the model's own scale, 1: none. Row i of z goes with tokens i."""
        scale = self.spec.guidance if guidance is None else guidance
        if scale == 1:
            return lambda z, t: self.noise(z, t, tokens)
        both = torch.cat([self.unconditioned(len(tokens)), tokens])

        def noise(z: Tensor, t: Tensor) -> Tensor:
            nobody, someone = self.noise(torch.cat([z, z]), torch.cat([t, t]), both).chunk(2)
            return nobody + scale * (someone - nobody)

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
        z = self.draw(len(tokens), generator)
        found = []
        for some, noise in zip(tokens.split(BATCH), z.split(BATCH), strict=True):
            latents = self.parts.schedule.sample(self.guided(some, guidance), noise, steps or self.spec.steps)
            found.append(self.decode(latents))
            if tick:
                tick(len(some))
        return torch.cat(found) if found else torch.empty((0, 3, self.spec.size, self.spec.size), dtype=torch.uint8)

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

    def save(self, folder: Path, changed: Iterable[str] = (), **extra: str) -> list[Path]:
        """Write `folder` in the layout that the model came in; see `DiffusionModel.save`."""
        assert self.weights is not None
        return self.spec.save(self.parts, folder, self.weights, changed, **extra)
