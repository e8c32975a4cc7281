"""A face recogniser from scratch: a margin head over the people of a data set (CosFace: Wang et al. 2018, arXiv
1801.09414; ArcFace: Deng et al. 2019, arXiv 1801.07698), of which a share of the rows takes part in a step where there
are very many (Partial FC: An et al. 2022, arXiv 2203.15565).

Every process draws the same whole batch from the same generator and takes its part of it, so that the number of
processes changes the result by rounding and by BatchNorm alone: its statistics are those of a process's part (on GPUs
of the whole batch). The head is not written: it stays in the checkpoint of an unfinished run.
"""

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from accelerate import PartialState
from accelerate.utils import reduce
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface import training
from efface.config import entry
from efface.errors import EffaceError
from efface.faces import augmentation
from efface.faces.alignment import AlignmentNotes, align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.detection import Detector
from efface.faces.people import People
from efface.faces.stored import stored_crops
from efface.folder import RunFolder, write_text
from efface.metrics.validation import Figures, better, validate
from efface.models.heads import ArcFace, CosFace, MarginHead, sample_classes
from efface.models.recogniser import initialise
from efface.precision import native_bf16
from efface.progress import Watcher
from efface.report.figures import training_curve
from efface.targets.recognition import RecognitionTarget

LOGGED = 50
"""Steps from one line of the log to the next."""
PAUSE = 120.0
"""Seconds from one checkpoint to the next, at least."""

Share = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class RecogniserRecipe:
    """Train a face recogniser from scratch with a margin head."""

    paper: ClassVar[str] = "CosFace, arXiv 1801.09414; ArcFace, arXiv 1801.07698; Partial FC, arXiv 2203.15565"
    tiny: ClassVar[Mapping[str, Any]] = {
        "model": "tiny",
        "faces": {"name": "drawn", "people": 16, "photos": 4},
        "without": [],
        "detector": None,
        "validation": None,
        "held_out": 4,
        "epochs": 2,
        "batch": 16,
    }

    model: entry("models.recognition", weights=False)  # pyright: ignore[reportInvalidTypeForm]
    """The network, freshly initialised: `name` and the fields of `efface models NAME`."""
    faces: entry("faces.datasets")  # pyright: ignore[reportInvalidTypeForm]
    """The photos to train on: `name` and the fields of `efface datasets NAME`."""
    without: tuple[str, ...] = ()
    """People of `faces` left out, by name or pattern (`person-1??`): whom a retrained reference has not seen."""
    detector: Path | None = None
    """Folder with the face detector's pnet.pt, rnet.pt and onet.pt; not needed for photos that are aligned or know
    their alignment."""
    validation: entry("faces.datasets") | None = None  # pyright: ignore[reportInvalidTypeForm]
    """Photos of other people, to measure on while training."""
    held_out: NonNegativeInt = 0
    """The last so many people of `faces` are not trained on but measured on; without `validation` only."""
    head: Literal["cosface", "arcface"] = "cosface"
    """The margin head."""
    scale: PositiveFloat = 32.0
    """s of the head; the papers: 64."""
    margin: NonNegativeFloat = 0.35
    """m of the head: a cosine for CosFace (paper: 0.35), radians for ArcFace (paper: 0.5)."""
    sampled: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the people who have a logit in a step, those of the batch always; 1 is all. Partial FC: 0.1."""
    epochs: PositiveInt = 40
    """How often each photo is seen."""
    batch: PositiveInt = 256
    """Photos in a step, over all processes together."""
    rate: PositiveFloat = 0.006
    """Largest learning rate (AdamW); it falls to 0 along a half cosine."""
    weight_decay: NonNegativeFloat = 0.05
    """AdamW's, of convolutions and linear maps."""
    warm_up: Share = 0.05
    """Share of the steps in which the rate rises from 0."""
    label_smoothing: Share = 0.0
    """Share of the target that is spread over all classes."""
    augmentation: NonNegativeFloat = 1.0
    """Strength of the variations (faces/augmentation.py); 0 is none."""
    average: Share = 0.999
    """Decay, a step, of the running mean of the weights, which is kept if it measures better; 0 keeps none."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Numbers of the network's forward and backward pass; auto: bf16 where the processor computes with it."""
    licence: str = "as the training photos allow"
    """What the weights' header says of their licence."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random draw."""
    device: Literal["auto", "cpu"] = "auto"
    """Where the network runs; auto takes accelerators if there are any."""
    out: Path = Path("efface-training")
    """Folder of the result; it must not exist yet."""

    def train(self, folder: RunFolder, watcher: Watcher) -> None:
        """Train and write everything into the folder; in the first of several processes."""
        state = PartialState()
        device = torch.device(state.device or "cpu")
        faces, judged, notes = self._people(folder, watcher, state)
        classes = len(faces.people())
        generator = torch.Generator().manual_seed(self.seed)
        target = RecognitionTarget(self.model.value, initialise(self.model.value.build(), generator), device)
        if state.num_processes > 1 and device.type == "cuda":
            target.network = nn.SyncBatchNorm.convert_sync_batchnorm(target.network)
        target.network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        head = {"cosface": CosFace, "arcface": ArcFace}[self.head]
        margins = head(classes, target.spec.embedding_size, self.scale, self.margin).draw(generator).to(device)
        if state.is_main_process:
            folder.log("people", _summary(faces, judged, notes), people=classes, **asdict(notes))
        with training.session(folder.checkpoints, watcher, every=10, pause=PAUSE) as session:
            loop = _Loop(self, target, margins, faces, judged, folder if state.is_main_process else None, session)
            loop.run(generator)
        if state.is_main_process:
            self._write(folder, loop, session.cost(device))
        state.wait_for_everyone()

    def _people(
        self, folder: RunFolder, watcher: Watcher, state: PartialState
    ) -> tuple[Crops, Crops | None, AlignmentNotes]:
        """(to train on, to measure on, what was wrong with some photos). The first process aligns; the others wait, and
        open what it wrote."""
        people = _left_out(self.faces.value.read(), self.without)
        others = None if self.validation is None else self.validation.value.read()
        if others is not None and self.held_out:
            raise EffaceError("held_out: found it beside validation, expected one of them; remove one")
        if self.held_out:
            people, others = _held_out(people, self.held_out)
        count = sum(map(len, people.photos.values()))
        if count < self.batch or self.batch % state.num_processes:
            raise EffaceError(
                f"batch: found {self.batch}, expected at most the {count} photos, in equal parts for "
                f"{state.num_processes} processes; choose another"
            )
        detector = None if self.detector is None else Detector.load(self.detector)
        cache = None if detector is None else CropCache.default()
        judged = None
        with state.main_process_first():
            with watcher.track("aligning faces", count) as tick:
                faces, notes = stored_crops(folder.checkpoints, people, detector, cache, tick)
            if others is not None and state.is_main_process:
                with watcher.track("aligning faces to measure on", sum(map(len, others.photos.values()))) as tick:
                    judged, _ = align(others, detector, cache, tick)
        if len(faces) < self.batch or len(faces.people()) < 2:
            raise EffaceError(
                f"faces: found {len(faces)} photos with a face, of {len(faces.people())} people, expected a batch "
                f"({self.batch}) at least and 2 people; add photos or lower batch"
            )
        return faces, judged, notes

    def _write(self, folder: RunFolder, loop: "_Loop", cost: dict[str, Any]) -> None:
        """Weights (the better of the last ones and their running mean), curve and card."""
        kept = loop.best()
        made = f"efface train ({loop.classes:,} people, {len(loop.faces):,} photos)"
        loop.models[kept].save(folder.path / "weights", origin=made, licence=self.licence)
        log = [json.loads(line) for line in (folder.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = {line["step"]: line["loss"] for line in log if line["event"] == "training"}
        measured = {line["step"]: line["figures"] for line in log if line["event"] == "validation"}
        series: dict[str, dict[int, float]] = {}
        for step, figures in measured.items():
            for key, value in figures[better(figures)].items():
                if value is not None:
                    series.setdefault(key, {})[step] = value
        (folder.path / "curve.png").write_bytes(training_curve(losses, series))
        write_text(folder.path / "card.md", _card(self, loop, kept, measured.get(loop.steps, {}), cost))
        folder.log("trained", f"{cost['steps']} steps, {cost['seconds']:.0f} s: weights, card.md and curve.png written")


class _Order(nn.Module):
    """Each epoch's order of the photos. A module, so that a checkpoint holds how far it has come."""

    def __init__(self, photos: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(photos, dtype=torch.long))
        self.register_buffer("taken", torch.tensor(photos))
        self.rows: Tensor
        self.taken: Tensor

    def next(self, count: int, generator: torch.Generator) -> Tensor:
        """The next `count` photos; what is left of an epoch when it is too short is passed over."""
        start = int(self.taken)
        if start + count > len(self.rows):
            self.rows.copy_(torch.randperm(len(self.rows), generator=generator))
            start = 0
        self.taken.fill_(start + count)
        return self.rows[start : start + count]


@dataclass
class _Loop:
    """One training: the batches, the loss, the running mean, the log."""

    recipe: RecogniserRecipe
    target: RecognitionTarget
    head: MarginHead
    faces: Crops
    judged: Crops | None
    """What is measured on."""
    folder: RunFolder | None
    """Where the log is; None in all processes but the first."""
    session: training.Session
    rate: float = 0.0
    """Images a second, of the last steps logged."""
    logged: tuple[int, float] | None = None
    """(steps done, seconds on the clock) at the last line of the log."""

    def __post_init__(self) -> None:
        self.labels = self.faces.labels()
        self.classes = len(self.faces.people())
        self.state = PartialState()
        self.half = in_bf16(self.recipe.precision, self.target.device)
        self.models = {"last": self.target}
        if self.recipe.average:
            mean = copy.deepcopy(self.target.network).requires_grad_(False)
            self.models["mean"] = RecognitionTarget(self.target.spec, mean, self.target.device)
        self.order = _Order(len(self.faces))
        self.epoch = len(self.faces) // self.recipe.batch
        self.steps = self.recipe.epochs * self.epoch

    def run(self, generator: torch.Generator) -> None:
        """All steps, or those that an interrupted run has left."""
        networks = {name: model.network for name, model in self.models.items()}
        training.fit(
            nn.ModuleDict({**networks, "head": self.head, "order": self.order}),
            self._draw,
            self._loss,
            optimiser=self._optimisers(),
            steps=self.steps,
            generator=generator,
            train_mode=True,
            parted=True,
            schedule=self._schedule,
            each=self._each,
        )

    def best(self) -> str:
        """Which model is written: the better on the people who are measured on; without any, the last named."""
        return list(self.models)[-1] if self.judged is None else better(self._validate(self.steps))

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(crops, labels, numbers of the variations, and which classes have a logit where not all have) of this
        process's part of the batch."""
        count = self.recipe.batch // self.state.num_processes
        own = slice(self.state.process_index * count, (self.state.process_index + 1) * count)
        rows = self.order.next(self.recipe.batch, generator)
        numbers = augmentation.draw(self.recipe.batch, generator)
        labels = self.labels[rows]
        batch = (self.faces.pixels.index_select(0, rows[own]), labels[own], numbers[own])
        if self.recipe.sampled == 1:
            return batch
        classes = sample_classes(labels, self.classes, self.recipe.sampled, generator)
        return (batch[0], torch.searchsorted(classes, labels[own]), batch[2], classes)

    def _loss(
        self, pixels: Tensor, labels: Tensor, numbers: Tensor, classes: Tensor | None = None
    ) -> dict[str, Tensor]:
        size = self.target.spec.convention.size
        x = self.target.inputs(augmentation.vary(pixels, numbers, size, self.recipe.augmentation))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            y = self.target.network(x.contiguous(memory_format=torch.channels_last))
        logits = self.head(F.normalize(y.float(), dim=-1), labels, classes)
        return {"margin": F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)}

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """AdamW; of a sampled head the form of Adam that leaves alone the rows that are not in the step."""
        fixed = self.target.spec.fixed
        weights = [p for name, p in self.target.network.named_parameters() if name not in fixed]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.recipe.sampled == 1:
            groups.append({"params": [self.head.weight], "weight_decay": 0.0})
            return [torch.optim.AdamW(groups, lr=self.recipe.rate)]
        return [
            torch.optim.AdamW(groups, lr=self.recipe.rate),
            torch.optim.SparseAdam([self.head.weight], lr=self.recipe.rate),
        ]

    def _schedule(self, step: int) -> float:
        rising = self.recipe.warm_up * self.steps
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (self.steps - rising)))

    def _each(self, done: int, loss: Tensor) -> None:
        if self.logged is None:
            self.logged = (done, time.perf_counter())
        if "mean" in self.models:
            training.follow(self.models["mean"].network, self.target.network, self.recipe.average, done)
        if done % LOGGED == 0 or done == self.steps:
            value = float(torch.as_tensor(reduce(loss, reduction="mean")))
            if self.folder is not None:
                self._log(done, value)
        if self.folder is not None and self.judged is not None and done % self.epoch == 0 and done < self.steps:
            self._validate(done)
            self.target.network.train()

    def _log(self, done: int, loss: float) -> None:
        assert self.folder is not None and self.logged is not None
        now = time.perf_counter()
        if done > self.logged[0]:
            self.rate = (done - self.logged[0]) * self.recipe.batch / (now - self.logged[1])
        self.logged = (done, now)
        epoch, seconds = done / self.epoch, now - self.session.began
        message = f"epoch {epoch:.1f} of {self.recipe.epochs}: loss {loss:.3f}, {self.rate:.0f} images/s"
        rate = self.recipe.rate * self._schedule(done - 1)
        facts = {"step": done, "epoch": round(epoch, 3), "seconds": round(seconds, 1), "loss": loss, "rate": rate}
        self.folder.log("training", message, **facts, images_per_second=round(self.rate, 1))

    def _validate(self, done: int) -> dict[str, Figures]:
        """Measure, log and return the numbers of the last weights and of their running mean."""
        assert self.folder is not None and self.judged is not None
        began = time.perf_counter()
        figures = {name: validate(model, self.judged) for name, model in self.models.items()}
        shown = figures[better(figures)].items()
        said = ", ".join(f"{key} {'—' if value is None else f'{value:.3f}'}" for key, value in shown)
        facts = {"step": done, "epoch": round(done / self.epoch, 3), "seconds": round(began - self.session.began, 1)}
        self.folder.log("validation", f"epoch {done / self.epoch:.1f}: {said}", **facts, figures=figures)
        if self.logged:  # measuring is not training
            self.logged = (self.logged[0], self.logged[1] + time.perf_counter() - began)
        return figures


def in_bf16(precision: str, device: torch.device) -> bool:
    """Whether the network computes in bf16."""
    if precision != "auto":
        return precision == "bf16"
    return native_bf16(device)


def _left_out(people: People, without: tuple[str, ...]) -> People:
    """Everybody but those named or matched. Raises EffaceError for a name or pattern that is nobody's."""
    left = dict(people.photos)
    for pattern in without:
        found = [p for p in people.photos if p == pattern or fnmatchcase(p, pattern)]
        if not found:
            raise EffaceError(f"without: found nobody called {pattern!r} among {len(people)} people; check the names")
        for person in found:
            left.pop(person, None)
    if len(left) < 2:
        raise EffaceError(f"faces: found {len(left)} of {len(people)} people to train on, expected at least 2")
    return People(left, people.aligned)


def _held_out(people: People, count: int) -> tuple[People, People]:
    """Everybody but the last `count`, and these."""
    names = list(people.photos)
    if count > len(names) - 2:
        raise EffaceError(
            f"held_out: found {count}, expected at most {len(names) - 2} of {len(names)} people; lower it"
        )
    groups = (names[:-count], names[-count:])
    first, last = ({name: people.photos[name] for name in group} for group in groups)
    return People(first, people.aligned), People(last, people.aligned)


def _summary(faces: Crops, judged: Crops | None, notes: AlignmentNotes) -> str:
    measured = "" if judged is None else f"; measured on {len(judged.people()):,} others, {len(judged):,} photos"
    missing = f"; {len(notes.no_face)} photos without a face" if notes.no_face else ""
    return f"{len(faces.people()):,} people, {len(faces):,} photos{measured}{missing}"


def _card(
    recipe: RecogniserRecipe, loop: _Loop, kept: str, figures: Mapping[str, Figures], cost: Mapping[str, Any]
) -> str:
    name, spec = recipe.model.name, loop.target.spec
    count = sum(p.numel() for p in loop.target.network.parameters())
    table = ""
    if figures:
        table = f"\n| on people not trained on | {' | '.join(figures)} |\n|---|{'---|' * len(figures)}\n"
        for key in figures[kept]:
            values = (found[key] for found in figures.values())
            table += f"| {key} | {' | '.join('—' if v is None else f'{v:.4f}' for v in values)} |\n"
    judged = loop.judged
    others = "" if judged is None else f", {len(judged.people()):,} others ({len(judged):,} photos) for measuring"
    without = f", without {', '.join(recipe.without)}" if recipe.without else ""
    return f"""# {name}: a face recogniser

What: network `{name}` ({count:,} parameters, {spec.convention.size} × {spec.convention.size} pixels, \
{spec.convention.channels}, {spec.embedding_size}-d), weights `weights/{name}.safetensors`, licence: {recipe.licence}.

On: data set `{recipe.faces.name}`, {loop.classes:,} people, {len(loop.faces):,} photos{without}{others}.

How: {recipe.head} (s = {recipe.scale:g}, m = {recipe.margin:g}, {recipe.sampled:.0%} of the people in a step), AdamW, \
{recipe.epochs} epochs of batches of {recipe.batch}, rate {recipe.rate:g} after a warm-up of {recipe.warm_up:.0%} and \
a half cosine, weight decay {recipe.weight_decay:g}, label smoothing {recipe.label_smoothing:g}, variations of \
strength {recipe.augmentation:g}, {"bf16" if loop.half else "fp32"}, seed {recipe.seed}. Written: the \
{"running mean of the weights" if kept == "mean" else "last weights"}.

Cost: {cost["steps"]:,} steps, {cost["images_seen"]:,} images, {cost["seconds"]:,.0f} s in {loop.state.num_processes} \
process(es) on {cost["device"]}.

Command: `efface train config.yaml` (the file beside this one).
{table}"""
