"""How fast unlearning is: its loop beside bare passes of the same network, and seconds for each forgotten person.

    python -m benchmarks.speed      under two minutes on one core

`ratio` is the loop's images a second over those of a bare forward and backward pass (sum of the embeddings) through the
same trained parameters, with the same batch and the same cached features. The two take turns, a few steps each, and the
ratio is that of the medians, so that a busy machine slows both. Seconds are of the whole method, from photos to the new
network. The loop is that of `dispersion`, on the last BLOCKS blocks; the seconds are of the demo's method and of
`dispersion` as it ships. Network and people come with efface; with EFFACE_DATA also the pretrained MobileFaceNet, ORL.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from efface import config, memory, registry, training
from efface.cli.demo import given
from efface.faces.alignment import align
from efface.faces.cache import CropCache
from efface.faces.crops import Crops
from efface.faces.datasets.folder import Folder
from efface.faces.datasets.people import ShippedPeople
from efface.faces.detection import Detector
from efface.faces.splits import split
from efface.methods.recognition.dispersion import Dispersion
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget

FORGOTTEN = (1, 4, 16)
BLOCKS = (2, 1)
"""Last blocks that are trained. One of `shipped` is a linear map alone, whose bare pass takes 2 ms."""
STEPS, TURNS = 10, 9
"""Steps of a turn, and turns of either side; the first does not count."""


def sets() -> dict[str, tuple[RecognitionTarget, Crops]]:
    """Network and people, by title."""
    found = {"shipped, people": (load("shipped", None), align(ShippedPeople().read())[0])}
    if os.environ.get("EFFACE_DATA"):
        data = Path(os.environ["EFFACE_DATA"])
        people, detector = Folder(path=data / "faces-orl" / "att_faces").read(), Detector.load(data / "detector-mtcnn")
        target = load("mobilefacenet", data / "recogniser-mobilefacenet" / "mobilefacenet.pt")
        found["mobilefacenet, ORL"] = target, align(people, detector, CropCache.default())[0]
    return found


def load(name: str, weights: Path | None) -> RecognitionTarget:
    return RecognitionTarget.load(name, weights or registry.get("models.recognition", name).shipped)


def request_of(crops: Crops, count: int) -> Request:
    """To forget the first `count` people."""
    parts = split(crops, crops.people()[:count])
    groups = (parts.forget, parts.retain)
    return Request(*(crops.take([i for p in group for i in parts.seen[p]]) for group in groups))


def ratio(method: Unlearner, target: RecognitionTarget, request: Request) -> float:
    """Images a second of the method's first training over those of bare passes.

    The method runs as it is; each `STEPS` steps of its training are followed by as many bare passes.
    """
    mine: list[float] = []
    bare: list[float] = []
    fit = training.fit

    def measured(module: Any, draw: Callable[..., Any], loss: Callable[..., Any], **given: Any) -> None:
        batches: list[tuple[Tensor, ...]] = []
        began = time.perf_counter()

        def kept(generator: torch.Generator) -> tuple[Tensor, ...]:
            batches[:] = [draw(generator)]
            return batches[0]

        def each(step: int, _: Tensor) -> None:
            nonlocal began
            if step % STEPS == 0:
                mine.append(time.perf_counter() - began)
                bare.append(passes(module, batches[0][0]))
                began = time.perf_counter()

        began = time.perf_counter()
        fit(module, kept, loss, **{**given, "steps": STEPS * TURNS, "each": each})

    training.fit = measured
    try:
        method.unlearn(target, request, torch.Generator().manual_seed(0))
    finally:
        training.fit = fit
    return median(bare[1:]) / median(mine[1:])


def passes(module: torch.nn.Module, x: Tensor) -> float:
    """Seconds of `STEPS` bare forward and backward passes."""
    trained = [p for p in module.parameters() if p.requires_grad]
    began = time.perf_counter()
    for _ in range(STEPS):
        torch.autograd.grad(module(x).sum(), trained, allow_unused=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the ratio of each set, then the seconds."""
    chosen = config.parse(given([]), "the demo").method
    assert chosen is not None
    lines = []
    for title, (target, crops) in sets().items():
        for blocks in BLOCKS:
            found = ratio(Dispersion(blocks=blocks), target, request_of(crops, 4))
            print(f"ratio {found:.2f} (dispersion, last {blocks} block{'s' * (blocks > 1)}, {title})", flush=True)
        for name, method in {chosen.name: chosen.value, "dispersion": Dispersion()}.items():
            cells = []
            for count in FORGOTTEN:
                began = time.perf_counter()
                method.unlearn(target, request_of(crops, count), torch.Generator().manual_seed(0))
                cells.append(f"{(time.perf_counter() - began) / count:.2f}")
            lines.append(f"| {name}, {title} | {' | '.join(cells)} |")
    print("\n| seconds a forgotten person, of | " + " | ".join(f"{n} forgotten" for n in FORGOTTEN) + " |")
    print("|" + "---|" * (len(FORGOTTEN) + 1))
    print("\n".join(lines))


if __name__ == "__main__":
    memory.keep_freed()
    torch.set_num_threads(1)
    main()
