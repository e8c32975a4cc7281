"""How fast a recogniser trains on one core, and what of a step goes where.

python -m benchmarks.training_speed [MODEL ...]       about 15 seconds a model; images a second of processor time
"""

import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from efface import registry
from efface.faces import augmentation
from efface.faces.alignment import warp
from efface.models.heads import CosFace
from efface.targets.recognition import RecognitionTarget

BATCH, PEOPLE, REPEATS = 256, 4000, 4


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call: the best of `REPEATS`, after one that does not count."""
    work()
    found = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def measure(name: str) -> None:
    """Print one line for each precision."""
    generator = torch.Generator().manual_seed(0)
    spec = registry.get("models.recognition", name)()
    target = RecognitionTarget(spec, spec.build().to(memory_format=torch.channels_last))
    network = target.network.train()
    head = CosFace(PEOPLE, spec.embedding_size).draw(generator)
    optimiser = torch.optim.AdamW([*network.parameters(), *head.parameters()])
    pixels = torch.randint(256, (BATCH, 3, 112, 112), dtype=torch.uint8, generator=generator)
    labels = torch.randint(PEOPLE, (BATCH,), generator=generator)
    numbers = augmentation.draw(BATCH, generator)
    parameters = sum(p.numel() for p in network.parameters())

    def varied() -> torch.Tensor:
        x = target.inputs(augmentation.vary(pixels, numbers, spec.convention.size))
        return x.contiguous(memory_format=torch.channels_last)

    def step(half: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = network(varied())
        loss = F.cross_entropy(head(F.normalize(y.float(), dim=-1), labels), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    variations = seconds(varied)
    for precision, half in (("bf16", True), ("fp32", False)):
        whole = seconds(lambda half=half: step(half))
        print(
            f"{name} ({parameters:,} parameters, {spec.convention.size} px) {precision}: {BATCH / whole:.0f} images/s, "
            f"of which variations take {variations / whole:.0%}",
            flush=True,
        )


def measure_alignment() -> None:
    """Print the time of one warp."""
    picture = torch.randint(256, (128, 128, 3), dtype=torch.uint8).numpy()
    for scale in (1.3, 0.7):
        matrix = torch.tensor([[scale, 0.05, -10.0], [-0.05, scale, -10.0]]).numpy()
        print(f"warp of 128 × 128 by {scale}: {1e3 * seconds(lambda m=matrix: warp(picture, m)):.2f} ms")


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure_alignment()
    for model in sys.argv[1:] or ("shipped", "judge"):
        measure(model)
