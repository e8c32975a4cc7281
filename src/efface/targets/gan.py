"""A GAN face generator as methods, metrics and attacks see it: `invert`, `sample`, `planes`, `render`, `synthesize`,
`recognise`, the same for generators of pictures and for those with cameras. A generator of pictures ignores cameras.

Latents are w [n, count, w_dim], a row for each layer (W+). Cameras are [n, 25] (models/rays.py). Everything is
deterministic.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efface import registry
from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE, alignment_of, similarity, warp
from efface.faces.crops import SIZE
from efface.faces.detection import Detector
from efface.faces.framing import template_in
from efface.models import eg3d, flows, layout, rays
from efface.models.encoder import scaled
from efface.models.gan_model import ENCODER, GanModel, Parts, bent
from efface.models.stylegan2 import check_shape
from efface.models.weights import save
from efface.progress import Tick
from efface.targets.recognition import RecognitionTarget

CPU = torch.device("cpu")
BATCH = 16
"""Pictures that are drawn at once."""


@dataclass
class GanTarget:
    """A generator, its encoder, and the recogniser that looks at faces. Methods work on a `clone()` and leave the
    original alone."""

    spec: GanModel
    parts: Parts
    recogniser: RecognitionTarget
    detector: Detector | None = None
    """Finds faces in generated pictures; without one they are where the average face is."""
    device: torch.device = CPU
    weights: Path | None = None
    """The folder or file that the weights came from."""

    def __post_init__(self) -> None:
        for module in self.parts.modules():
            module.to(self.device).eval().requires_grad_(False)
        self.recogniser.network.requires_grad_(False)
        encoder, known = self.parts.encoder, self.recogniser.spec
        if encoder is not None and encoder.sizes["embedding_size"] != known.embedding_size:
            raise EffaceError(
                f"{self.spec.name if self.weights is None else self.weights / ENCODER}: found an encoder for "
                f"embeddings of {encoder.sizes['embedding_size']} dimensions, expected {known.embedding_size} as "
                f"{known.name} has; give the encoder that was trained with that recogniser"
            )

    @classmethod
    def load(
        cls, name: str, weights: Path, device: torch.device = CPU, detector: Detector | None = None, **fields: Any
    ) -> "GanTarget":
        """The registered generator `name` from a folder of efface, or a file of `efface convert`. Raises EffaceError as
        its `load` does."""
        spec: GanModel = registry.get("models.gan", name)(**fields)
        kind = registry.get("models.recognition", spec.recogniser)
        recogniser = RecognitionTarget.load(spec.recogniser, kind.shipped, device)
        return cls(spec, spec.load(weights), recogniser, detector, device, weights)

    def clone(self) -> "GanTarget":
        """An independent copy of the generator, every parameter requiring no gradient yet; the encoder, which no method
        changes, is shared."""
        return replace(self, parts=replace(self.parts, generator=copy.deepcopy(self.parts.generator)))

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def turns(self) -> bool:
        """Whether the generator has cameras."""
        return isinstance(self.parts.generator, eg3d.Generator)

    @property
    def backbone(self) -> Any:
        """The StyleGAN2 generator (`mapping`, `synthesis`): of the pictures, or of the planes."""
        generator = self.parts.generator
        return generator.backbone if isinstance(generator, eg3d.Generator) else generator

    @property
    def w_average(self) -> Tensor:
        """The average latent [count, w_dim], every row the same."""
        return self.backbone.mapping.w_avg.expand(self.backbone.mapping.count, -1)

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return self.parts.generator.sizes["resolution"]

    @property
    def framing(self) -> tuple[int, int, int, int]:
        """(size, left, top, side) of photos as `faces.framing.frame` gives them, in pixels: what the encoder takes, and
        without one pictures of the generator's size, with the face where it draws the average one from the front."""
        place = self.spec.window
        if self.parts.encoder is not None:
            return self.spec.size, place.left, place.top, place.side
        (a, _, x), (_, _, y) = similarity(TEMPLATE, self.five(self.camera())[0])
        return self.size, round(float(x - (a - 1) / 2)), round(float(y - (a - 1) / 2)), round(float(a * SIZE))

    def facts(self) -> dict[str, str]:
        """What audit.json says of the flows added to the generator (`flows.facts`); empty where there are none."""
        return flows.facts(self.backbone.synthesis)

    def camera(self, yaw: Tensor | float = 0.0, pitch: Tensor | float = 0.0) -> Tensor:
        """Cameras [n, 25] around the head; radians, see `rays.camera`. Generators of pictures ignore them."""
        generator = self.parts.generator
        made = generator.camera(yaw, pitch) if isinstance(generator, eg3d.Generator) else rays.camera(yaw, pitch)
        return made.to(self.device)

    # --- latents ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator, truncation: float = 1.0) -> Tensor:
        """Latents w [count, rows, w_dim] of people who never existed; row i is the same whatever the count."""
        mapping = self.backbone.mapping
        z = torch.randn(count, mapping.z_dim, generator=generator).to(self.device)
        if self.turns:
            return self.parts.generator.mapping(z, self.camera().expand(count, -1), truncation)
        return mapping(z, None, truncation)

    @torch.no_grad()
    def invert(self, pictures: Tensor, batch: int = 64) -> Tensor:
        """Latents w [n, rows, w_dim] of framed photos uint8 [n, 3, s, s] (`faces.framing`, the spec's window), by the
        encoder in evaluation mode. Raises EffaceError where there is none."""
        encoder = self.parts.encoder
        if encoder is None:
            raise EffaceError(
                f"{self.spec.name}: found no encoder with these weights, expected one to invert photos at once; invert "
                "them by optimisation"
            )
        side = self.spec.size
        check_shape("photos", pictures, "n", 3, side, side)
        if pictures.dtype != torch.uint8:
            raise EffaceError(f"found photos of {pictures.dtype}, expected uint8, 0 to 255")
        encoder.eval()
        found = []
        for chunk in pictures.split(batch):
            embeddings = self.recogniser.embed(self.window(chunk)).to(self.device)
            offsets = encoder(scaled(chunk.to(self.device), encoder.sizes["size"]), embeddings)
            found.append(offsets + self.w_average)
        return torch.cat(found) if found else self.w_average[None][:0]

    def window(self, pictures: Tensor) -> Tensor:
        """The aligned crops uint8 [n, 3, 112, 112] of framed photos uint8 [n, 3, s, s]."""
        return template_in(pictures, self.framing[1:]).round().clamp(0, 255).to(torch.uint8)

    # --- pictures -----------------------------------------------------------------------------------------------

    def planes(self, w: Tensor) -> Tensor:
        """All that does not depend on the camera: planes [n, 3, c, side, side], or the picture itself
        [n, 3, size, size]; with gradient where something requires it."""
        self.check(w)
        generator = self.parts.generator
        return generator.planes(w) if isinstance(generator, eg3d.Generator) else generator.synthesis(w)

    def render(self, planes: Tensor, w: Tensor, cameras: Tensor) -> Tensor:
        """Pictures float32 [n, 3, size, size] of about −1 … 1 of `planes` of w, seen from cameras [n, 25]."""
        generator = self.parts.generator
        return generator.render(planes, w, cameras).picture if isinstance(generator, eg3d.Generator) else planes

    def synthesize(self, w: Tensor, cameras: Tensor) -> Tensor:
        """Pictures float32 [n, 3, size, size] of about −1 … 1 of w from cameras [n, 25], with gradient."""
        return self.render(self.planes(w), w, cameras)

    @torch.no_grad()
    def draw(self, w: Tensor, cameras: Tensor, tick: Tick | None = None) -> Tensor:
        """Pictures uint8 [n, 3, size, size] on the CPU. tick: told 1 after each picture."""
        if not len(w):
            return torch.empty((0, 3, *(self.size,) * 2), dtype=torch.uint8)
        pictures = []
        for ws, cs in zip(w.to(self.device).split(BATCH), cameras.to(self.device).split(BATCH), strict=True):
            pictures.append(bytes_of(self.synthesize(ws, cs)).cpu())
            if tick:
                tick(len(ws))
        return torch.cat(pictures)

    @torch.no_grad()
    def views(self, w: Tensor, cameras: Tensor, tick: Tick | None = None) -> Tensor:
        """Pictures uint8 [n, v, 3, size, size] on the CPU of each w [n, rows, w_dim] from every camera [v, 25]; what
        does not depend on the camera is computed once for each. tick: told the pictures that are done."""
        if not len(w):
            return torch.empty((0, len(cameras), 3, *(self.size,) * 2), dtype=torch.uint8)
        cameras = cameras.to(self.device)
        pictures = []
        for ws in w.to(self.device).split(BATCH):
            planes = self.planes(ws)
            seen = [self.render(planes, ws, camera.expand(len(ws), -1)) for camera in cameras]
            pictures.append(bytes_of(torch.stack(seen, 1)).cpu())
            if tick:
                tick(len(ws) * len(cameras))
        return torch.cat(pictures)

    def check(self, w: Tensor) -> None:
        """Raise EffaceError where w is no batch of this generator's latents."""
        mapping = self.backbone.mapping
        check_shape("w", w, "n", mapping.count, len(mapping.w_avg))
        if not torch.isfinite(w).all():
            raise EffaceError("w: found NaN or infinity, expected finite numbers; invert the photo anew")

    # --- faces --------------------------------------------------------------------------------------------------

    def five(self, cameras: Tensor) -> np.ndarray:
        """Pixels (x, y) float64 [n, 5, 2] of the average face's five landmarks in pictures from cameras [n, 25], the
        first pixel's centre being (0, 0)."""
        face = self.parts.face.cpu().double().numpy()
        if not self.turns:
            return np.repeat(face[None] * self.size - 0.5, len(cameras), 0)
        numbers = cameras.cpu().double().numpy()  # moved first, as a device may not have float64
        pose, inner = numbers[:, :16].reshape(-1, 4, 4), numbers[:, 16:].reshape(-1, 3, 3)
        local = (face[None] - pose[:, None, :3, 3]) @ pose[:, :3, :3]
        seen = local @ inner.transpose(0, 2, 1)
        return seen[..., :2] / seen[..., 2:] * self.size - 0.5

    def faces(self, pictures: Tensor, cameras: Tensor) -> Tensor:
        """The aligned crops float32 [n, 3, 112, 112], 0 … 255, of pictures float32 [n, 3, size, size] of −1 … 1 from
        cameras [n, 25], where the average face would be; with gradient."""
        size = pictures.shape[-1]
        grids = []
        for five in self.five(cameras):
            turned = np.vstack([alignment_of(five), [0, 0, 1]])
            back = torch.from_numpy(np.linalg.inv(turned)[:2]).float()
            steps = torch.arange(SIZE, dtype=torch.float32)
            y, x = torch.meshgrid(steps, steps, indexing="ij")
            places = torch.stack([x, y, torch.ones_like(x)], -1) @ back.T
            grids.append((places + 0.5) * 2 / size - 1)
        grid = torch.stack(grids).to(pictures) if grids else pictures.new_empty(0, SIZE, SIZE, 2)
        crops = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (crops + 1) * 127.5

    def crops(self, pictures: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """(aligned crops uint8 [n, 3, 112, 112], whether a face was found: bool [n]) of pictures uint8
        [n, 3, size, size] from cameras [n, 25]; by the detector where there is one. For a judge too.
        Raises EffaceError for anything else, and without one where an official network's faces lie is not known."""
        self._check_pictures(pictures, cameras)
        if self.detector is None and not self.parts.placed:
            raise EffaceError(
                f"{self.weights}: found no detector, and where the faces of this network lie is not known, expected "
                "one; give --detector FOLDER (YAML: detector) with MTCNN's pnet.pt, rnet.pt and onet.pt"
            )
        if self.detector is None:
            crops = self.faces(pictures.float() / 127.5 - 1, cameras).round().clamp(0, 255).to(torch.uint8)
            return crops, torch.ones(len(pictures), dtype=torch.bool)
        crops = torch.zeros(len(pictures), 3, SIZE, SIZE, dtype=torch.uint8)
        found = torch.zeros(len(pictures), dtype=torch.bool)
        for i, picture in enumerate(pictures):
            pixels = picture.permute(1, 2, 0).contiguous().numpy()
            seen = self.detector.find(pixels)
            if seen:
                found[i] = True
                crops[i] = torch.from_numpy(warp(pixels, alignment_of(seen[0].landmarks)).copy()).permute(2, 0, 1)
        return crops, found

    def _check_pictures(self, pictures: Tensor, cameras: Tensor) -> None:
        check_shape("pictures", pictures, "n", 3, self.size, self.size)
        if pictures.dtype != torch.uint8:
            raise EffaceError(f"found pictures of {pictures.dtype}, expected uint8, 0 to 255, as `draw` gives them")
        check_shape("cameras", cameras, "n", 25)
        if len(cameras) != len(pictures):
            raise EffaceError(f"found {len(cameras)} cameras for {len(pictures)} pictures, expected one for each")
        if self.turns:
            rays.check(cameras)

    def recognise(self, pictures: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
        """(unit embeddings [n, d], whether a face was found: bool [n]) of pictures uint8 [n, 3, size, size] from
        cameras [n, 25]; the embedding of a picture without a face is zero. Raises EffaceError as `crops`."""
        crops, found = self.crops(pictures, cameras)
        embeddings = torch.zeros(len(pictures), self.recogniser.spec.embedding_size)
        if found.any():
            embeddings[found] = self.recogniser.embed(crops[found]).cpu()
        return embeddings, found

    # --- files --------------------------------------------------------------------------------------------------

    def changes(self, original: "GanTarget") -> tuple[str, ...]:
        """Names of the generator's tensors that differ from the original's, or that it does not have."""
        before = original.parts.generator.state_dict()
        own = self.parts.generator.state_dict()
        return tuple(n for n, tensor in own.items() if n not in before or not torch.equal(tensor, before[n]))

    def save(self, folder: Path, changed: Iterable[str] = (), **extra: str) -> list[Path]:
        """Write `folder`, which appears when all is in it; returns the files.

        changed: names of the generator's tensors that differ from the original's (`changes`): where they are fewer
        than all, they are also written alone, as `changed.safetensors`. extra: for the headers. Raises EffaceError
        where the folder is taken or the disk refuses; nothing is left behind then.
        """
        state = self.parts.generator.state_dict()
        alone = {name: state[name] for name in changed}
        with layout.whole(folder) as partial:
            self.spec.save(self.parts, partial, **extra)
            if alone and len(alone) < len(state):
                save(partial / layout.CHANGED, alone, {"model": self.spec.name, **bent(self.parts.generator), **extra})
        return sorted(path for path in folder.rglob("*") if path.is_file())


def bytes_of(pictures: Tensor) -> Tensor:
    """Pictures of about −1 … 1 as uint8."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def template_face(left: float, top: float, side: float, size: int) -> Tensor:
    """Where the five landmarks of the ArcFace template lie in framed pictures, [5, 2] in sides of the picture."""
    scale = side / SIZE
    return torch.from_numpy(((TEMPLATE + 0.5) * scale + [left, top]) / size).float()
