"""Train the tiny diffusion model on drawn people and write its folder with its card, beside this file.

python -m efface.testing.train_tiny_diffusion [OUT]       a quarter of an hour on one idle core, or so
"""

import copy
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import training
from efface.faces.datasets.drawn import Drawn
from efface.faces.framing import frame
from efface.faces.people import People, Photo
from efface.methods.conditions import Faces
from efface.models.diffusion import shipped
from efface.models.diffusion.tiny import WEIGHTS, TinyDiffusion
from efface.models.diffusion_model import Parts
from efface.models.latents import PatchLatents
from efface.models.projector import Projector
from efface.models.schedule import Schedule
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget
from efface.testing import TINY

SEEDS, PEOPLE, PHOTOS = range(900, 903), 300, 6
"""Seeds of the data set `drawn`, people of each and photos of each person; no test draws any of them."""
STEPS, BATCH, RATE, WARM = 3000, 48, 2e-3, 100
NOBODY, AVERAGE, DECAY = 0.1, 0.5, 0.998
"""Share of pictures conditioned on nobody (for guidance), on the person's mean embedding (the rest: on the picture's
own); decay of the moving average of the weights."""
IDENTITY = 0.5
"""Weight of 1 − cosine between the embedding of the picture that one step predicts and the embedding asked for."""
CHANNELS, LATENTS, PATCH = (16, 16, 16, 16), 24, 8
PROJECTOR = {"embedding": 64, "tokens": 4, "width": 32, "layers": 1, "heads": 2}
HELD_OUT = (20, 8)
"""People of the data set `drawn` who are measured, and pictures generated of each."""


def train(folder: Path, seeds: Iterable[int] = SEEDS, people: int = PEOPLE, steps: int = STEPS) -> None:
    """Draw, train, measure, and write the model and its card. The same numbers on the same number of threads give the
    same weights."""
    start = time.process_time()
    torch.manual_seed(0)  # the initial weights
    spec, recogniser = TinyDiffusion(), RecognitionTarget.load("tiny", TINY)
    config = shipped.unet_config(CHANNELS, LATENTS, spec.size // PATCH, PROJECTOR["width"])
    latents, schedule = PatchLatents(PATCH, LATENTS), Schedule.of(shipped.SCHEDULE, "tiny")
    target = DiffusionTarget(spec, Parts(shipped.build(config), Projector(**PROJECTOR), latents, schedule), recogniser)
    faces = _faces(target, [photo for seed in seeds for photo in _photos(seed, people, PHOTOS)])
    print(f"{len(faces)} pictures, {time.process_time() - start:.0f} s", flush=True)
    latents.fit([faces.pictures.float() / 127.5 - 1])
    loss = _fit(target, faces, steps, torch.Generator().manual_seed(0))
    figures = measure(target)
    shipped.write(target.parts, folder, half=True)
    seconds = time.process_time() - start
    (folder / "tiny.md").write_text(_card(len(faces), steps, loss, figures, seconds), encoding="utf-8")
    print(figures, f"{seconds:.0f} s")


def _photos(seed: int, people: int, photos: int) -> Iterable[Photo]:
    """Everybody's photos, the names of the people told apart by the seed."""
    for who, own in Drawn(people=people, photos=photos, seed=seed).read().photos.items():
        yield from (Photo(f"{seed}-{who}", f"{seed}-{photo.name}", data=photo.data) for photo in own)


def _faces(target: DiffusionTarget, photos: Iterable[Photo]) -> Faces:
    place = target.spec.window
    framed, _ = frame(People.of(photos, aligned=True), target.spec.size, place.left, place.top, place.side)
    return Faces(framed.pixels, target.recognise(framed.pixels)[0], framed.identities)


def _fit(target: DiffusionTarget, faces: Faces, steps: int, generator: torch.Generator) -> float:
    """Train UNet and projector on v, with classifier-free guidance, and on likeness; the target gets the averaged
    weights. Returns the mean loss of the last tenth."""
    unet, projector, schedule = target.parts.unet, target.parts.projector, target.parts.schedule
    _plain_attention(unet)
    both = nn.ModuleList([unet, projector]).requires_grad_(True)
    averaged = copy.deepcopy(both).requires_grad_(False)
    latents, means = target.encode(faces.pictures), faces.centroids()[faces.labels()]
    optimiser = torch.optim.AdamW(both.parameters(), lr=RATE, weight_decay=0.01)
    losses: list[float] = []

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        chance = torch.rand(BATCH, 1, generator=generator)
        embedding = torch.where(chance < NOBODY + AVERAGE, means[rows], faces.embeddings[rows])
        t = torch.randint(len(schedule.alphas), (BATCH,), generator=generator)
        noise = torch.randn((BATCH, *latents.shape[1:]), generator=generator)
        return latents[rows], embedding * (chance >= NOBODY), t, noise

    def loss(x: Tensor, embedding: Tensor, t: Tensor, noise: Tensor) -> dict[str, Tensor]:
        signal, sigma = schedule.parts(t, x)
        z = signal * x + sigma * noise
        output = unet(z, t, encoder_hidden_states=projector(embedding)).sample
        pictures = (target.parts.autoencoder.decode(signal * z - sigma * output) + 1) * 127.5
        likeness = (target.recogniser.forward(target.window(pictures)) * embedding).sum(1)
        weight = signal.flatten() * embedding.norm(dim=1)  # nobody has no likeness
        return {
            "v": F.mse_loss(output, signal * noise - sigma * x),
            "identity": IDENTITY * (weight * (1 - likeness)).mean(),
        }

    def each(step: int, value: Tensor) -> None:
        losses.append(float(value))
        for mean, new in zip(averaged.parameters(), both.parameters(), strict=True):
            mean.data.lerp_(new.data, 1 - min(DECAY, step / (step + 10)))
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {sum(losses[-100:]) / 100:.4f}", flush=True)

    def rate(step: int) -> float:
        return min(1, (step + 1) / WARM) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)

    training.fit(
        both,
        draw,
        loss,
        optimiser=optimiser,
        steps=steps,
        generator=generator,
        schedule=rate,
        each=each,
        train_mode=True,
    )
    both.load_state_dict(averaged.state_dict())
    both.requires_grad_(False).eval()
    return sum(losses[-len(losses) // 10 :]) / max(1, len(losses) // 10)


def _plain_attention(unet: nn.Module) -> None:
    """Attention written out: what the weights beside this file were trained with; in float32 it is no faster."""
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())  # pyright: ignore[reportCallIssue]


def measure(target: DiffusionTarget) -> dict[str, float]:
    """Generated pictures of people of `drawn`: mean cosine with the person's mean embedding, that of their photos, and
    the share nearest to the right person."""
    people, count = HELD_OUT
    faces = _faces(target, _photos(0, people, 10))
    centroids = faces.centroids()
    pictures = target.generate(centroids, count, torch.Generator().manual_seed(1))
    cosines = target.recognise(pictures)[0] @ centroids.T
    own = torch.arange(people).repeat_interleave(count)
    return {
        "ism": float(cosines[torch.arange(len(own)), own].mean()),
        "ism of photos": float((faces.embeddings * centroids[faces.labels()]).sum(1).mean()),
        "nearest": float((cosines.argmax(1) == own).float().mean()),
    }


def _card(pictures: int, steps: int, loss: float, figures: dict[str, float], seconds: float) -> str:
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items())
    return f"""# tiny: the small diffusion model of the tests

What: `tiny` of `models.diffusion` (the blocks of `shipped`, 16 channels on every level, 64 px pictures), Apache-2.0.
It draws drawn people (`efface.testing.drawn`) from the tiny recogniser's embedding, and no real face.

How: {pictures} pictures of drawn people, none of them in the data set `drawn` with its default seed; {steps} steps of
{BATCH}, AdamW {RATE:g} with a cosine, identity term {IDENTITY:g}, moving average {DECAY:g}, seed 0. Last loss
{loss:.4f}; {seconds:.0f} processor seconds.

Command: `python -m efface.testing.train_tiny_diffusion`

Measured on the first {HELD_OUT[0]} people of `drawn`, {HELD_OUT[1]} pictures generated of each:

| figure | value |
|---|---|
{rows}
"""


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
