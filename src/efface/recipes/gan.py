"""A small face generator from scratch, with the encoder that inverts photos.

Who is on a rendered photo, from where, and what the same moment looks like from elsewhere is known, so the generator is
trained as the second half of an auto-encoder: a photo becomes a latent, and the latent has to give the picture of that
moment by every camera (pixels, features, the recogniser's embedding). No discriminator is needed for that, and none is
used. What a generator has besides, a mapping from noise to latents, is fitted at the end: its latents are to be
distributed as those of the photos, first as the normal distribution of their mean and covariance, then more nearly
(sliced Wasserstein distance; Bonneel et al. 2015, doi 10.1007/s10851-014-0506-3).
Ours; EG3D and StyleGAN2 are trained adversarially.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface import registry, training
from efface.errors import EffaceError
from efface.faces.datasets.people import PACK
from efface.folder import RunFolder, write_text
from efface.journal import Journal, trapezoid
from efface.models import eg3d, stylegan2
from efface.models.encoder import Encoder, centre, scaled
from efface.models.gan_model import GanModel, Generator, Parts, write
from efface.models.rendering import Rendering
from efface.moments import Moments, mirror, read_moments
from efface.portraits import samples, sheet, turntable
from efface.progress import Watcher
from efface.recipes.recogniser import in_bf16
from efface.report.figures import training_curve
from efface.targets.gan import GanTarget
from efface.targets.perceptual import FeatureDistance
from efface.targets.recognition import RecognitionTarget

LOGGED, MEASURED = 50, 500
"""Steps from one line of the log to the next, and from one measuring to the next."""
PAUSE = 120.0
"""Seconds from one checkpoint to the next, at least."""
YAWS = (-30.0, 0.0, 30.0)
"""Degrees from which people are measured."""
PIVOT = (0.0, 0.0, 0.15)
"""What the cameras of rendered photos look at, in their world (faces/rendering/camera.py)."""
MAPPING_RATE = 1.0
"""Largest learning rate of the mapping (Adam), whose layers take their weights times 0.01 (StyleGAN)."""
SLICES, BANK = 256, 1024
"""Directions, and latents of each side, by which a step of the mapping compares two distributions."""

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class GanRecipe:
    """Train a small StyleGAN2 or EG3D of faces, and its encoder."""

    paper: ClassVar[str] = "networks: arXiv 1912.04958, 2112.07945; encoder: 2008.00951, 2102.02766; training: ours"
    tiny: ClassVar[Mapping[str, Any]] = {
        "path": str(PACK),
        "turned": 12.0,
        "channels": 16,
        "plane_channels": 4,
        "samples": 4,
        "neural_resolution": 16,
        "width": 8,
        "w_dim": 16,
        "held_out": 2,
        "steps": 2,
        "mapping_steps": 2,
        "batch": 2,
    }

    network: Literal["eg3d", "stylegan2"]
    """What is trained."""
    path: Path
    """Folder that `efface render` wrote, with `--views` at best: a moment that was not seen again is drawn as the
    photo shows it, backdrop and all."""
    held_out: PositiveInt = 100
    """The last so many people are not trained on but measured on."""
    turned: Annotated[float, Field(gt=0, le=90)] = 45.0
    """Photos turned further aside than this are left out, degrees of yaw; other views of the moment are not."""
    channels: PositiveInt = 96
    """Of the generator's maps up to 32 pixels; half from one resolution to the next above."""
    w_dim: PositiveInt = 128
    """Of a latent's row, and of the noise."""
    layers: PositiveInt = 2
    """Of the mapping."""
    plane_channels: PositiveInt = 12
    """EG3D: of each plane of 64 × 64."""
    neural_resolution: PositiveInt = 40
    """EG3D: side of what the rays see."""
    samples: PositiveInt = 8
    """EG3D: along each ray, and as many again where these met something."""
    width: PositiveInt = 32
    """Of the encoder's first stage."""
    steps: PositiveInt = 6000
    """Optimiser steps."""
    mapping_steps: PositiveInt = 3000
    """Of the mapping, at the end."""
    batch: PositiveInt = 8
    """Moments in a step; of EG3D two views of each."""
    rate: PositiveFloat = 2e-3
    """Largest learning rate (Adam)."""
    warm_up: Share = 0.02
    """Share of the steps in which the rate rises from 0."""
    cooling: Share = 0.3
    """Share of the steps, the last ones, in which the rate falls to 0."""
    perceptual: NonNegativeFloat = 0.5
    """Weight of the distance of features."""
    identity: NonNegativeFloat = 0.5
    """Weight of the identity term."""
    spread: NonNegativeFloat = 0.02
    """Weight of the squares by which the layers' rows differ."""
    average: Share = 0.998
    """Decay, a step, of the running mean of the weights, which is what is written."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers of the networks' passes; auto: bf16 where the processor computes with it."""
    licence: str = "as the training photos allow"
    """What the weights' header says of their licence."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random draw."""
    device: Literal["auto", "cpu"] = "auto"
    """Where the networks run; auto takes accelerators if there are any."""
    out: Path = Path("efface-training")
    """Folder of the result; it must not exist yet."""

    def train(self, folder: RunFolder, watcher: Watcher) -> None:
        """Train and write everything into the folder."""
        from accelerate import PartialState

        state = PartialState()
        if state.num_processes > 1:
            raise EffaceError(
                f"torchrun: found {state.num_processes} processes, expected one: this recipe trains in one; start it "
                "without torchrun"
            )
        device = torch.device(state.device or "cpu")
        spec: GanModel = registry.get("models.gan", self.network)()
        kind = registry.get("models.recognition", spec.recogniser)
        recogniser = RecognitionTarget.load(spec.recogniser, kind.shipped, device)
        moments, others, face = read_moments(
            self.path,
            spec,
            recogniser,
            turns=self.network == "eg3d",
            turned=self.turned,
            held_out=self.held_out,
            watcher=watcher,
        )
        generator = torch.Generator().manual_seed(self.seed)
        target = GanTarget(spec, self._parts(recogniser, spec, face, generator), recogniser, device=device)
        folder.log(
            "people",
            f"{len(moments.people):,} people, {len(moments):,} moments; measured on {len(others.people)} others",
            people=len(moments.people),
            moments=len(moments),
        )
        with training.session(folder.checkpoints, watcher, every=25, pause=PAUSE) as session:
            loop = _Loop(self, target, moments, others, folder, session)
            loop.run(generator)
            loop.map(generator)
            loop.measure(self.steps)
        self._write(folder, loop, session.cost(device))

    def _parts(self, recogniser: RecognitionTarget, spec: GanModel, face: Tensor, generator: torch.Generator) -> Parts:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            made: Generator
            common = {"z_dim": self.w_dim, "w_dim": self.w_dim, "layers": self.layers, "clamp": None}
            sizes = common | {"channel_base": 32 * self.channels, "channel_max": self.channels}
            if self.network == "eg3d":
                rendering = Rendering(
                    neural_resolution=self.neural_resolution, near=None, far=None, samples=self.samples,
                    importance_samples=self.samples, pivot=PIVOT, conditioning=0.0,
                )  # fmt: skip
                half = max(4, self.channels // 4)
                made = eg3d.Generator(
                    spec.size, plane_resolution=64, plane_channels=self.plane_channels, start=spec.size // 2,
                    super_channels=(2 * half, half), super_clamp=None, rendering=rendering, **sizes,
                )  # fmt: skip
                count = made.backbone.mapping.count
            else:
                made = stylegan2.Generator(spec.size, **sizes)
                count = made.mapping.count
            encoder = Encoder(spec.size, recogniser.spec.embedding_size, count, self.w_dim, self.width, 12 * self.width)
        return Parts(made, encoder, face)

    def _write(self, folder: RunFolder, loop: "_Loop", cost: dict[str, Any]) -> None:
        """Weights (the running mean), pictures, curve and card."""
        made = f"efface train ({len(loop.moments.people):,} people, {len(loop.moments):,} moments)"
        (folder.path / "weights").mkdir(exist_ok=True)
        write(loop.mean.parts, folder.path / "weights", half=True, origin=made, licence=self.licence)
        losses, series = loop.journal.read()
        (folder.path / "curve.png").write_bytes(training_curve(losses, series))
        samples(loop.mean).save(folder.path / "samples.png")
        if loop.mean.turns:
            first, *more = turntable(loop.mean, loop.others)
            path = folder.path / "turntable.gif"
            first.save(path, save_all=True, append_images=[*more, *more[-2::-1]], duration=80, loop=0)
        write_text(folder.path / "card.md", _card(self, loop, series, cost))
        folder.log("trained", f"{cost['steps']} steps, {cost['seconds']:.0f} s: weights, card.md and curve.png written")


@dataclass
class _Loop:
    """One training: the batches, the loss, the running mean, the log."""

    recipe: GanRecipe
    target: GanTarget
    moments: Moments
    others: Moments
    folder: RunFolder
    session: training.Session

    def __post_init__(self) -> None:
        self.mean = self.target.clone()
        self.mean.parts.encoder = copy.deepcopy(self.target.parts.encoder)
        self.distance = FeatureDistance(self.target.recogniser)
        self.half = in_bf16(self.recipe.precision, self.target.device)
        self.journal = Journal(self.folder, self.session, self.recipe.steps, self.recipe.batch, "moments", LOGGED)

    @property
    def encoder(self) -> Encoder:
        assert self.target.parts.encoder is not None
        return self.target.parts.encoder

    def run(self, generator: torch.Generator) -> None:
        """All steps, or those that an interrupted run has left."""
        recipe, parts = self.recipe, self.target.parts
        trained = nn.ModuleDict({"generator": parts.generator, "encoder": self.encoder}).requires_grad_(True)
        self.target.backbone.mapping.requires_grad_(False)
        assert self.mean.parts.encoder is not None
        kept = nn.ModuleDict({"generator": self.mean.parts.generator, "encoder": self.mean.parts.encoder})
        self.trained, self.kept = trained, kept
        optimiser = torch.optim.Adam(
            [p for p in trained.parameters() if p.requires_grad], lr=recipe.rate, betas=(0.9, 0.99), fused=True
        )
        training.fit(
            nn.ModuleDict({"trained": trained, "mean": kept}),
            self._draw,
            self._loss,
            optimiser=optimiser,
            steps=recipe.steps,
            generator=generator,
            train_mode=True,
            schedule=lambda step: trapezoid(step, recipe.steps, recipe.warm_up, recipe.cooling),
            each=self._each,
        )

    def map(self, generator: torch.Generator) -> None:
        """Fit the mapping to the latents of the photos, and let offsets count from its average."""
        mapping = self.mean.backbone.mapping
        bank = torch.cat([self._latents(mirrored) for mirrored in (False, True)])
        mapping.requires_grad_(True)
        camera = self.mean.camera() * 0 if self.mean.turns else None

        mean, values, vectors = bank.mean(0), *torch.linalg.eigh(torch.cov(bank.T))
        spread = (vectors * values.clamp(min=0).sqrt()).T
        mean, spread = mean.to(self.mean.device), spread.to(self.mean.device)

        def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
            z = torch.randn(BANK, mapping.z_dim, generator=generator)
            rows = torch.randint(len(bank), (BANK,), generator=generator)
            ways = F.normalize(torch.randn(bank.shape[1], SLICES, generator=generator), dim=0)
            return z, bank[rows], ways

        def normal(z: Tensor, wanted: Tensor, ways: Tensor) -> dict[str, Tensor]:
            return {"normal": (mapped(z) - mean - z @ spread).square().mean()}

        def sliced(z: Tensor, wanted: Tensor, ways: Tensor) -> dict[str, Tensor]:
            apart = (mapped(z) @ ways).sort(0).values - (wanted @ ways).sort(0).values
            return {"sliced": apart.square().mean()}

        def mapped(z: Tensor) -> Tensor:
            return mapping(z, None if camera is None else camera.expand(len(z), -1))[:, 0]

        first = self.recipe.mapping_steps * 2 // 3
        for loss, steps in ((normal, first), (sliced, self.recipe.mapping_steps - first)):
            training.fit(
                mapping,
                draw,
                loss,
                optimiser=torch.optim.Adam(mapping.parameters(), lr=MAPPING_RATE, betas=(0.9, 0.99)),
                steps=steps,
                generator=generator,
                train_mode=True,
                schedule=lambda step, steps=steps: min(1.0, 2 * (1 - step / steps)),
            )
        mapping.requires_grad_(False).eval()
        if not bool(mapping.w_avg.any()):  # else an interrupted run came this far
            with torch.no_grad():
                z = torch.randn(10 * BANK, mapping.z_dim, generator=generator).to(self.mean.device)
                mapping.w_avg.copy_(mapped(z).mean(0))
            assert self.mean.parts.encoder is not None
            centre(self.mean.parts.encoder, mapping.w_avg)

    @torch.no_grad()
    def _latents(self, mirrored: bool) -> Tensor:
        """The rows [n, w_dim] that all layers have in common, of the photos or of their mirror images; on the CPU."""
        encoder, device = self.mean.parts.encoder, self.mean.device
        assert encoder is not None
        found = []
        for rows in torch.arange(len(self.moments)).split(64):
            photos = self.moments.photos[rows]
            photos = photos.flip(3) if mirrored else photos
            known = self.moments.embeddings[rows, int(mirrored)]
            small = scaled(photos.to(device), self.target.spec.size)
            found.append(encoder.parts(small, known.to(device))[0].cpu())
        return torch.cat(found)

    @torch.no_grad()
    def measure(self, done: int) -> dict[str, float]:
        """Invert one photo of each person who is measured on and draw it again; log and return the numbers."""
        others, mean = self.others, self.mean
        first = torch.tensor([int((others.labels == i).nonzero()[0]) for i in range(len(others.people))])
        rest = torch.zeros(len(others.people), others.means.shape[-1])
        rest.index_add_(0, others.labels, others.embeddings[:, 0])
        rest = F.normalize(rest - others.embeddings[first, 0], dim=1)  # of each person's other photos
        ids = torch.arange(len(first))[rest.norm(dim=1) > 0.5]
        w = mean.invert(others.photos[first])
        figures: dict[str, float] = {}
        sheets = [others.photos[first]]
        for yaw in YAWS if mean.turns else (0.0,):
            cameras = mean.camera(np.radians(yaw)).expand(len(w), -1)
            with torch.autocast(mean.device.type, torch.bfloat16, enabled=self.half):
                pictures = mean.draw(w, cameras)
            cosines = mean.recognise(pictures, cameras)[0] @ rest.T
            nearest = cosines[ids].argmax(1) == ids
            where = f"@{yaw:g}" if yaw else ""
            figures[f"id{where}"] = float(cosines[ids, ids].mean())
            figures[f"nearest{where}"] = float(nearest.float().mean())
            sheets.append(pictures)
        ceiling = float((rest[ids] * others.embeddings[first[ids], 0]).sum(1).mean())
        self.journal.measured(done, figures, ceiling)
        sheet([own[:10] for own in sheets]).save(self.folder.path / "inverted.png")
        return figures

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(photos, their embeddings, those of the people, views, cameras, whether rows may differ)."""
        moments, count = self.moments, self.recipe.batch
        rows = torch.randint(len(moments), (count,), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        several = moments.views.shape[1]
        chosen = torch.rand(count, several, generator=generator).argsort(1)[:, : min(2, several)]
        photos, views = moments.photos[rows], moments.views[rows[:, None], chosen]
        cameras = moments.cameras[rows[:, None], chosen]
        photos = torch.where(mirrored.view(-1, 1, 1, 1), photos.flip(3), photos)
        views = torch.where(mirrored.view(-1, 1, 1, 1, 1), views.flip(4), views)
        cameras = torch.where(mirrored.view(-1, 1, 1), mirror(cameras), cameras)
        side = mirrored.long()
        known, wanted = moments.embeddings[rows, side], moments.means[moments.labels[rows], side]
        size = self.target.spec.size
        differ = torch.rand(count, generator=generator) < 0.5
        return scaled(photos, size), known, wanted, views.float() / 127.5 - 1, cameras, differ.float()

    def _loss(
        self, photos: Tensor, known: Tensor, wanted: Tensor, views: Tensor, cameras: Tensor, differ: Tensor
    ) -> dict[str, Tensor]:
        recipe, generator = self.recipe, self.target.parts.generator
        several, goal, cameras = views.shape[1], views.flatten(0, 1), cameras.flatten(0, 1)
        with torch.autocast(photos.device.type, torch.bfloat16, enabled=self.half):
            common, each = self.encoder.parts(photos, known)
            w = common[:, None] + each * differ.view(-1, 1, 1)
            planes = self.target.planes(w)
        terms: dict[str, Tensor] = {}
        if isinstance(generator, eg3d.Generator):
            planes, ws = planes.float().repeat_interleave(several, 0), w.float().repeat_interleave(several, 0)
            with torch.autocast(photos.device.type, torch.bfloat16, enabled=self.half):
                view = generator.render(planes, ws, cameras)
            pictures = view.picture.float()
            small = F.interpolate(goal, view.raw.shape[-2:], mode="bilinear", antialias=True, align_corners=False)
            terms["raw"] = 0.5 * (view.raw.float() - small).abs().mean()
        else:
            pictures = planes.float()
        terms["pixels"] = (pictures - goal).abs().mean()
        with torch.autocast(photos.device.type, torch.bfloat16, enabled=self.half):
            if recipe.perceptual:
                with torch.no_grad():
                    seen = self.distance.features(goal)
                terms["features"] = recipe.perceptual * self.distance(pictures, seen).mean()
            if recipe.identity:
                found = self.target.recogniser.forward(self.target.faces(pictures, cameras)).float()
                alike = (found * wanted.repeat_interleave(several, 0)).sum(1)
                terms["identity"] = recipe.identity * (1 - alike).mean()
        terms["spread"] = recipe.spread * each.float().square().mean()
        self.journal.add(terms)
        return terms

    def _each(self, done: int, loss: Tensor) -> None:
        training.follow(self.kept, self.trained, self.recipe.average, done)
        self.journal.step(done)
        if done % MEASURED == 0 and done < self.recipe.steps:
            with self.journal.aside():
                self.measure(done)


def _card(recipe: GanRecipe, loop: _Loop, series: Mapping[str, Mapping[int, float]], cost: Mapping[str, Any]) -> str:
    parts = loop.mean.parts
    generator, encoder = (sum(p.numel() for p in part.parameters()) for part in parts.modules())
    figures = ", ".join(f"{key} {list(values.values())[-1]:.3f}" for key, values in series.items())
    eg3d_only = f" Rays of {recipe.neural_resolution} × {recipe.neural_resolution}, {2 * recipe.samples} samples each."
    return f"""# A face generator and its encoder

What: {recipe.network} ({generator:,} parameters, up to {recipe.channels} channels, w of {recipe.w_dim}) and an \
inversion encoder ({encoder:,} parameters); licence: {recipe.licence}.{eg3d_only if loop.mean.turns else ""}

On: {len(loop.moments.people):,} rendered people, {len(loop.moments):,} moments and their mirror images, the photo \
turned at most {recipe.turned:g}° of yaw{", seen by several cameras" if loop.mean.turns else ""}.

How: as the second half of an auto-encoder, without a discriminator: pixels, features of the recogniser (weight \
{recipe.perceptual:g}), its embedding ({recipe.identity:g}). Adam, {recipe.steps:,} steps of {recipe.batch} moments, \
rate {recipe.rate:g}, running mean of the weights {recipe.average:g}, {"bf16" if loop.half else "fp32"}, seed \
{recipe.seed}; then {recipe.mapping_steps:,} steps of the mapping.

Cost: {cost["steps"]:,} steps, {cost["seconds"]:,.0f} s on {cost["device"]}.

On {len(loop.others.people)} people not trained on, by one photo of each: {figures} (id: cosine of what is drawn with \
the mean of their other photos; nearest: share nearest to the right person).

Command: `efface train config.yaml` (the file beside this one).
"""
