"""A small latent diffusion model of faces from scratch, conditioned on a recogniser's embedding.

The latents are fixed (principal components of patches, `models.latents`); the denoising network and the projector are
trained together to predict v (Salimans and Ho 2022, arXiv 2202.00512) under classifier-free guidance (Ho and Salimans
2022, arXiv 2207.12598). A second term pulls the recogniser's embedding of the picture that one step predicts towards
the embedding that it was asked for, the more the less noise there is (ours, after PuLID's: Guo et al. 2024, arXiv
2404.16022).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface import registry, training
from efface.config import entry
from efface.errors import EffaceError
from efface.faces.framing import frame, template_in
from efface.faces.people import People
from efface.folder import RunFolder, write_text
from efface.journal import Journal, trapezoid
from efface.models.diffusion import shipped as layout
from efface.models.diffusion.shipped import SCHEDULE, unet_config
from efface.models.diffusion_model import DiffusionModel, Parts
from efface.models.latents import PatchLatents
from efface.models.projector import Projector
from efface.models.schedule import Schedule
from efface.progress import Watcher
from efface.recipes.recogniser import in_bf16
from efface.report.figures import training_curve
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

LOGGED, MEASURED = 100, 1000
"""Steps from one line of the log to the next, and from one measuring to the next."""
PAUSE = 120.0
"""Seconds from one checkpoint to the next, at least."""
FITTED = 6000
"""Photos from which the latents' directions are found, at most."""

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class DiffusionRecipe:
    """Train a small latent diffusion model that draws the person whose embedding it is given."""

    paper: ClassVar[str] = (
        "v: arXiv 2202.00512; guidance: arXiv 2207.12598; blocks of Stable Diffusion: arXiv 2112.10752"
    )
    tiny: ClassVar[Mapping[str, Any]] = {
        "faces": {"name": "drawn", "people": 12, "photos": 4},
        "channels": [16, 16, 32, 32],
        "latents": 12,
        "tokens": 2,
        "width": 16,
        "held_out": 4,
        "steps": 4,
        "batch": 8,
        "start": None,
        "turned": 90.0,
    }

    model: Literal["shipped", "tiny"] = "shipped"
    """What is made: by it go the recogniser, the size of the pictures and where the face lies in them."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos to train on: `name` and the fields of `efface datasets NAME`. Each knows its alignment."""
    turned: Annotated[float, Field(gt=0, le=90)] = 90.0
    """Photos turned further aside than this are left out, degrees of yaw; below 90 for rendered photos only, of which
    it is known."""
    held_out: PositiveInt = 100
    """The last so many people of `faces` are not trained on but measured on."""
    channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (96, 96, 64, 64)
    """Of the UNet's four levels (8 × 8, 4 × 4, 2 × 2, 1 × 1), multiples of 16."""
    patch: PositiveInt = 16
    """Side of the patch that a latent's position stands for, pixels."""
    latents: PositiveInt = 48
    """Numbers that a patch becomes."""
    tokens: PositiveInt = 8
    """Tokens that an embedding becomes."""
    width: PositiveInt = 128
    """Of a token."""
    start: Path | None = None
    """Folder of weights from which the training begins, of the same sizes; none: freshly drawn ones."""
    steps: PositiveInt = 4000
    """Optimiser steps."""
    batch: PositiveInt = 128
    """Photos in a step."""
    rate: PositiveFloat = 8e-4
    """Largest learning rate (AdamW)."""
    warm_up: Share = 0.02
    """Share of the steps in which the rate rises from 0."""
    cooling: Share = 0.3
    """Share of the steps, the last ones, in which the rate falls to 0."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's."""
    unguided: Share = 0.1
    """Share of the photos whose embedding is taken away, for the unconditional branch."""
    mixed: Share = 0.5
    """Share of the photos that are conditioned on a point between their own embedding and that of another photo of the
    same person, the others on their own."""
    identity: NonNegativeFloat = 0.1
    """Weight of the identity term; 0 leaves it out."""
    average: Share = 0.999
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
        people, others = self._people()
        spec: DiffusionModel = registry.get("models.diffusion", self.model)()
        weights = registry.get("models.recognition", spec.recogniser).shipped
        recogniser = RecognitionTarget.load(spec.recogniser, weights, device)
        generator = torch.Generator().manual_seed(self.seed)
        prepared = folder.checkpoints / "photos.safetensors"
        if not prepared.exists():
            folder.checkpoints.mkdir(parents=True, exist_ok=True)
            tensors = self._prepare(people, spec, recogniser, watcher)
            safetensors.torch.save_file(tensors, prepared.with_suffix(".tmp"))
            prepared.with_suffix(".tmp").rename(prepared)
        photos = _Photos(safetensors.torch.load_file(prepared))
        parts = spec.load(self.start) if self.start else self._parts(photos.tensors, generator)
        target = DiffusionTarget(spec, parts, recogniser, device=device)
        judged = _Judged.of(others, target, watcher)
        message = f"{len(people):,} people, {photos.count:,} photos; measured on {len(others)} others"
        folder.log("people", message, people=len(people), photos=photos.count, measured_on=len(others))
        with training.session(folder.checkpoints, watcher, every=50, pause=PAUSE) as session:
            loop = _Loop(self, target, photos, judged, folder, session)
            loop.run(generator)
            loop.measure(self.steps)
        self._write(folder, loop, session.cost(device), len(people))

    def _people(self) -> tuple[People, People]:
        """(to train on, to measure on)."""
        people = self.faces.value.read()
        if self.turned < 90:
            people = _frontal(people, Path(self.faces.value.path), self.turned)
        names = list(people.photos)
        if self.held_out > len(names) - 2:
            raise EffaceError(
                f"held_out: found {self.held_out}, expected at most {len(names) - 2} of {len(names)} people; lower it"
            )
        groups = names[: -self.held_out], names[-self.held_out :]
        first, last = ({name: people.photos[name] for name in group} for group in groups)
        return People(first, people.aligned), People(last, people.aligned)

    def _prepare(
        self, people: People, spec: DiffusionModel, recogniser: RecognitionTarget, watcher: Watcher
    ) -> dict[str, Tensor]:
        """Everything that the training needs of the photos, each as it is and mirrored: `latents` half
        [n, 2, c, h, w], `embeddings` [n, 2, d], `labels` int32 [n] (rising), and the latents' `mean`, `basis` and
        `scale`."""
        place = spec.window
        names = list(people.photos)
        count = sum(map(len, people.photos.values()))

        def framed(some: list[str]) -> tuple[Tensor, list[int]]:
            part = People({name: people.photos[name] for name in some}, people.aligned)
            crops, _ = frame(part, spec.size, place.left, place.top, place.side)
            return crops.pixels, [names.index(identity) for identity in crops.identities]

        autoencoder = PatchLatents(self.patch, self.latents)
        every = max(1, count // FITTED)
        with watcher.track("finding the latents' directions", -(-len(names) // every)) as tick:

            def pictures() -> Iterator[Tensor]:
                for name in names[::every]:
                    found = framed([name])[0].float() / 127.5 - 1
                    yield torch.cat([found, found.flip(3)])
                    tick(1)

            autoencoder.fit(pictures())
        latents, embeddings, labels = [], [], []
        with watcher.track("encoding photos", len(names)) as tick, torch.no_grad():
            for begin in range(0, len(names), 20):
                pixels, rows = framed(names[begin : begin + 20])
                both = torch.stack([pixels, pixels.flip(3)], dim=1)
                flat = both.flatten(0, 1)
                latents.append(autoencoder.encode(flat.float() / 127.5 - 1).half().unflatten(0, both.shape[:2]))
                crops = template_in(flat, (place.left, place.top, place.side)).round().clamp(0, 255).to(torch.uint8)
                embeddings.append(recogniser.embed(crops).unflatten(0, both.shape[:2]))
                labels += rows
                tick(len(names[begin : begin + 20]))
        return {
            "latents": torch.cat(latents),
            "embeddings": torch.cat(embeddings).contiguous(),
            "labels": torch.tensor(labels, dtype=torch.int32),
            **{name: value.clone() for name, value in autoencoder.state_dict().items()},
        }

    def _parts(self, tensors: Mapping[str, Tensor], generator: torch.Generator) -> Parts:
        """The model to train: the latents of the photos, networks freshly drawn."""
        autoencoder = PatchLatents(self.patch, self.latents)
        autoencoder.load_state_dict({name: tensors[name] for name in ("mean", "basis", "scale")})
        side = tensors["latents"].shape[-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            unet = layout.build(unet_config(self.channels, self.latents, side, self.width))
            projector = Projector(tensors["embeddings"].shape[-1], self.tokens, self.width)
            nn.init.zeros_(unet.conv_out.weight)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        return Parts(unet, projector, autoencoder, Schedule.of(SCHEDULE, "recipe"))

    def _write(self, folder: RunFolder, loop: "_Loop", cost: dict[str, Any], people: int) -> None:
        """Weights (the running mean), samples, curve and card."""
        made = f"efface train ({people:,} people, {loop.photos.count:,} photos)"
        layout.write(loop.mean.parts, folder.path / "weights", half=True, origin=made, licence=self.licence)
        losses, series = loop.journal.read()
        (folder.path / "curve.png").write_bytes(training_curve(losses, series))
        write_text(folder.path / "card.md", _card(self, loop, series, cost, people))
        folder.log("trained", f"{cost['steps']} steps, {cost['seconds']:.0f} s: weights, card.md and curve.png written")


class _Photos:
    """The prepared photos, and who has which."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.latents, self.embeddings = tensors["latents"], tensors["embeddings"]
        labels = tensors["labels"].long()
        self.count = len(labels)
        counts = labels.bincount()
        starts = counts.cumsum(0) - counts
        self.start, self.owned = starts[labels], counts[labels]  # each photo's person: first photo, how many


@dataclass
class _Judged:
    """People who are measured on: whom to draw, and what they look like."""

    conditions: Tensor
    """Unit [m, d]: the mean of a person's embeddings."""
    ceiling: float
    """Mean cosine of a person's photos to the mean of that person's others."""

    @classmethod
    def of(cls, people: People, target: DiffusionTarget, watcher: Watcher) -> "_Judged":
        place = target.spec.window
        crops, _ = frame(people, target.spec.size, place.left, place.top, place.side)
        embeddings, _ = target.recognise(crops.pixels)
        members = F.one_hot(crops.labels(), len(crops.people())).float()
        sums = members.T @ embeddings
        own = members @ sums - embeddings
        several = own.norm(dim=1) > 1e-6
        ceiling = float((F.normalize(own[several]) * embeddings[several]).sum(1).mean()) if several.any() else 1.0
        return cls(F.normalize(sums), ceiling)


@dataclass
class _Loop:
    """One training: the batches, the loss, the running mean, the log."""

    recipe: DiffusionRecipe
    target: DiffusionTarget
    photos: _Photos
    judged: _Judged
    folder: RunFolder
    session: training.Session

    def __post_init__(self) -> None:
        from diffusers.models.attention_processor import AttnProcessor

        parts = self.target.parts
        self.mean = DiffusionTarget(
            self.target.spec,
            Parts(copy.deepcopy(parts.unet), copy.deepcopy(parts.projector), parts.autoencoder, parts.schedule),
            self.target.recogniser,
            device=self.target.device,
        )
        self.half = in_bf16(self.recipe.precision, self.target.device)
        if self.half and self.target.device.type == "cpu":
            parts.unet.set_attn_processor(AttnProcessor())  # a step in bf16 then takes a third less
        self.journal = Journal(self.folder, self.session, self.recipe.steps, self.recipe.batch, "images", LOGGED)

    def run(self, generator: torch.Generator) -> None:
        """All steps, or those that an interrupted run has left."""
        parts, recipe = self.target.parts, self.recipe
        trained = nn.ModuleDict({"unet": parts.unet, "projector": parts.projector}).requires_grad_(True)
        kept = nn.ModuleDict({"unet": self.mean.parts.unet, "projector": self.mean.parts.projector})
        self.trained, self.kept = trained, kept
        optimiser = torch.optim.AdamW(
            trained.parameters(), lr=recipe.rate, betas=(0.9, 0.99), weight_decay=recipe.weight_decay, fused=True
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

    def measure(self, done: int) -> dict[str, float]:
        """Draw the people who are measured on, with the running mean of the weights; log and return the numbers."""
        generator = torch.Generator().manual_seed(0)
        conditions = self.judged.conditions
        with torch.autocast(self.target.device.type, torch.bfloat16, enabled=self.half):
            pictures = self.mean.generate(conditions, 2, generator)
        embeddings, _ = self.mean.recognise(pictures)
        cosines = embeddings @ conditions.T
        own = torch.arange(len(conditions)).repeat_interleave(2)
        figures = {
            "ism": float(cosines[torch.arange(len(own)), own].mean()),
            "nearest": float((cosines.argmax(1) == own).float().mean()),
        }
        self.journal.measured(done, figures, self.judged.ceiling)
        _grid(pictures[: 2 * 20 : 1], 10).save(self.folder.path / "samples.png")
        return figures

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(clean latents, embeddings to condition on, timesteps, noise)."""
        count, photos, recipe = self.recipe.batch, self.photos, self.recipe
        rows = torch.randint(photos.count, (count,), generator=generator)
        side = torch.randint(2, (count,), generator=generator)
        drawn = torch.rand(4, count, generator=generator)
        other = photos.start[rows] + (drawn[0] * photos.owned[rows]).long()
        share = torch.where(drawn[1] < recipe.mixed, drawn[2], 0.0)[:, None]
        own, theirs = photos.embeddings[rows, side], photos.embeddings[other, side]
        embeddings = F.normalize((1 - share) * own + share * theirs)
        embeddings = embeddings * (drawn[3] >= recipe.unguided)[:, None]
        t = torch.randint(len(self.target.parts.schedule.alphas), (count,), generator=generator)
        clean = photos.latents[rows, side].float()
        return clean, embeddings, t, torch.randn(clean.shape, generator=generator)

    def _loss(self, clean: Tensor, embeddings: Tensor, t: Tensor, noise: Tensor) -> dict[str, Tensor]:
        parts = self.target.parts
        signal, sigma = parts.schedule.parts(t, clean)
        z = signal * clean + sigma * noise
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.half):
            v = parts.unet(z, t, encoder_hidden_states=parts.projector(embeddings)).sample.float()
        terms = {"v": (v - (signal * noise - sigma * clean)).square().mean()}
        if self.recipe.identity:
            pictures = (parts.autoencoder.decode(signal * z - sigma * v) + 1) * 127.5
            with torch.autocast(z.device.type, torch.bfloat16, enabled=self.half):
                found = self.target.recogniser.forward(self.target.window(pictures)).float()
            weight = signal.flatten().square() * embeddings.norm(dim=1)  # nobody has no likeness
            terms["identity"] = self.recipe.identity * (weight * (1 - (found * embeddings).sum(1))).mean()
        self.journal.add(terms)
        return terms

    def _each(self, done: int, loss: Tensor) -> None:
        training.follow(self.kept, self.trained, self.recipe.average, done)
        self.journal.step(done)
        if done % MEASURED == 0 and done < self.recipe.steps:
            with self.journal.aside():
                self.measure(done)


def _frontal(people: People, path: Path, turned: float) -> People:
    """Without the photos that are turned further aside than so many degrees, and without people who have none left."""
    from efface.faces.rendering.reading import records

    known = records(path)

    def yaw(name: str) -> float:
        camera = known[name].camera.reshape(-1)
        return abs(float(np.degrees(np.arctan2(camera[3], camera[11]))))

    kept = {who: tuple(p for p in photos if yaw(p.name) <= turned) for who, photos in people.photos.items()}
    return People({who: photos for who, photos in kept.items() if photos}, people.aligned)


def _grid(pictures: Tensor, columns: int) -> Any:
    """Pictures uint8 [n, 3, h, w] side by side, as a Pillow image."""
    from PIL import Image

    rows = [torch.cat(list(pictures[i : i + columns]), dim=2) for i in range(0, len(pictures), columns)]
    rows = [F.pad(row, (0, rows[0].shape[2] - row.shape[2])) for row in rows]
    return Image.fromarray(torch.cat(rows, dim=1).permute(1, 2, 0).numpy())


def _card(
    recipe: DiffusionRecipe,
    loop: _Loop,
    series: Mapping[str, Mapping[int, float]],
    cost: Mapping[str, Any],
    people: int,
) -> str:
    parts = loop.mean.parts
    unet, projector = (sum(p.numel() for p in part.parameters()) for part in (parts.unet, parts.projector))
    figures = ", ".join(f"{key} {list(values.values())[-1]:.3f}" for key, values in series.items())
    return f"""# A face diffusion model

What: a UNet with the blocks of Stable Diffusion 1.5 ({unet:,} parameters, channels {recipe.channels}) on latents of \
{recipe.latents} numbers a patch of {recipe.patch} × {recipe.patch} pixels, {recipe.tokens} tokens of {recipe.width} \
from the recogniser's embedding ({projector:,} parameters), v prediction, cosine schedule; licence: {recipe.licence}.

On: data set `{recipe.faces.name}`, {people:,} people, {loop.photos.count:,} photos and their mirror images, yaw at \
most {recipe.turned:g}°.

How: AdamW, {recipe.steps:,} steps of {recipe.batch}, rate {recipe.rate:g}, identity term {recipe.identity:g}, running \
mean of the weights {recipe.average:g}, {"bf16" if loop.half else "fp32"}, seed \
{recipe.seed}{f", from {recipe.start}" if recipe.start else ""}.

Cost: {cost["steps"]:,} steps, {cost["images_seen"]:,} images, {cost["seconds"]:,.0f} s on {cost["device"]}.

On {recipe.held_out} people not trained on: {figures}; their photos among themselves: {loop.judged.ceiling:.3f}.

Command: `efface train config.yaml` (the file beside this one).
"""
