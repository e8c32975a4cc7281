"""Train the tiny recogniser on drawn people and write it with its card, beside this file.

python -m efface.testing.train_tiny [OUT]       about 2 minutes on one core
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efface.models.heads import CosFace
from efface.models.recogniser import initialise
from efface.models.recognition.tiny import TinyRecogniser
from efface.models.weights import header, save
from efface.targets.recognition import RecognitionTarget
from efface.testing import TINY
from efface.testing.drawn import TRAINED, draw

PEOPLE, PHOTOS = 1000, 8
EPOCHS, BATCH, RATE = 32, 128, 3e-3
SCALE, MARGIN = 16.0, 0.25
HELD_OUT = (12, 10)
"""People and photos of the measurement: the data set `drawn` with its default fields."""


def train(path: Path, people: int = PEOPLE, photos: int = PHOTOS, epochs: int = EPOCHS) -> None:
    """Draw, train, measure, and write the weights to `path` and the card beside them. The same numbers on the same
    number of threads give the same weights."""
    start = time.monotonic()
    generator = torch.Generator().manual_seed(0)
    spec = TinyRecogniser()
    target = RecognitionTarget(spec, initialise(spec.build(), generator))
    pixels, labels = _drawn(range(TRAINED, TRAINED + people), photos)
    print(f"drawn {len(pixels)} pictures, {time.monotonic() - start:.0f} s", flush=True)
    loss = _fit(target, pixels, labels, epochs, generator)
    figures = _measure(target)
    seconds = time.monotonic() - start
    save(path, target.network.state_dict(), header(spec))
    path.with_suffix(".md").write_text(_card(people, photos, epochs, loss, figures, seconds), encoding="utf-8")
    print(figures, f"{seconds:.0f} s")


def _drawn(people: range, photos: int) -> tuple[Tensor, Tensor]:
    """(uint8 [n, 3, 112, 112], int64 [n])."""
    pictures = np.stack([draw(p, q) for p in people for q in range(photos)])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2), torch.arange(len(people)).repeat_interleave(photos)


def _fit(target: RecognitionTarget, pixels: Tensor, labels: Tensor, epochs: int, generator: torch.Generator) -> float:
    """CosFace from scratch with BatchNorm in training mode (`training.fit` keeps it frozen); returns the last loss."""
    network = target.network.train()
    inputs = target.inputs(pixels)
    head = CosFace(int(labels.max()) + 1, target.spec.embedding_size, SCALE, MARGIN).draw(generator)
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=RATE, weight_decay=5e-4)
    steps = epochs * (len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    value = float("nan")
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            x = _augmented(inputs[rows], generator)
            logits = head(F.normalize(network(x), dim=-1), labels[rows])
            loss = F.cross_entropy(logits, labels[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            value = loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {value:.3f}", flush=True)
    network.eval()
    return value


def _augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Shift by up to 2 pixels and change gain and offset, each picture by itself."""
    shifts = torch.randint(0, 5, (len(x), 2), generator=generator)
    padded = F.pad(x, (2, 2, 2, 2), mode="replicate")
    size = x.shape[-1]
    x = torch.stack([p[:, i : i + size, j : j + size] for p, (i, j) in zip(padded, shifts.tolist(), strict=True)])
    x = x.contiguous(memory_format=torch.channels_last)  # a third faster on a CPU
    gain = 1 + 0.15 * torch.randn(len(x), 1, 1, 1, generator=generator)
    return x * gain + 0.1 * torch.randn(len(x), 3, 1, 1, generator=generator)


def _measure(target: RecognitionTarget) -> dict[str, float]:
    """Held-out drawn people: rank-1 (nearest other photo), means of genuine and impostor cosines, their overlap."""
    pixels, labels = _drawn(range(HELD_OUT[0]), HELD_OUT[1])
    figures = scores(target.embed(pixels), labels)
    raw = F.normalize((pixels.float() / 255).flatten(1) - 0.5, dim=-1)
    return figures | {f"raw_pixels_{k}": v for k, v in scores(raw, labels).items() if k != "impostor"}


def scores(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """rank1 (share of photos whose nearest other photo is of the same person), mean genuine and impostor cosine, and
    auc (chance that a genuine pair scores above an impostor pair)."""
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels[None]
    nearest = cosines.clone().fill_diagonal_(-2).argmax(1)
    upper = torch.ones_like(same).triu(1)
    genuine, impostor = cosines[same & upper], cosines[~same & upper]
    ranks = torch.searchsorted(impostor.sort().values, genuine)
    return {
        "rank1": (labels[nearest] == labels).float().mean().item(),
        "genuine": genuine.mean().item(),
        "impostor": impostor.mean().item(),
        "auc": (ranks / len(impostor)).mean().item(),
    }


def _card(people: int, photos: int, epochs: int, loss: float, figures: dict[str, float], seconds: float) -> str:
    rows = "\n".join(f"| {name} | {value:.4f} |" for name, value in figures.items())
    return f"""# tiny: the small recogniser of the tests

What: network `tiny` (94,640 parameters, 40 × 40 RGB pixels, (x − 127.5) / 127.5, 64-d), weights `tiny.safetensors`,
Apache-2.0. It tells drawn people (`efface.testing.drawn`) apart. It knows no real face and is of no use on one.

How: {people} drawn people × {photos} pictures, none of them in the data set `drawn`; CosFace head (s = {SCALE:g},
m = {MARGIN:g}), AdamW, {epochs} epochs of batches of {BATCH}, one-cycle rate {RATE:g}, shifts of up to 2 pixels,
seed 0. Last loss {loss:.3f}; {seconds:.0f} s on one core.

Command: `python -m efface.testing.train_tiny`

Measured on the {HELD_OUT[0]} held-out people × {HELD_OUT[1]} pictures of `drawn` (all pairs; one picture against all
others), beside the same figures of raw pixels:

| figure | value |
|---|---|
{rows}
"""


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]) if len(sys.argv) > 1 else TINY)
