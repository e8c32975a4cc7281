"""What folding BatchNorm into the convolution or linear map before it would gain where nothing is trained.

    python -m benchmarks.folding      a minute on one core

A copy of each network without the BatchNorms that directly follow such a layer embeds the same photos in turns with the
network as it is; the seconds are medians of the process's own time, one thread. The largest difference between the
embeddings and the seconds that folding itself takes stand beside. With EFFACE_DATA also the pretrained MobileFaceNet.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.speed import load
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from efface import memory, registry
from efface.faces.alignment import align
from efface.faces.datasets.people import ShippedPeople
from efface.models.recogniser import initialise
from efface.targets.recognition import RecognitionTarget

PHOTOS, TURNS = 64, 15
NORMS = nn.BatchNorm1d | nn.BatchNorm2d


def targets() -> dict[str, RecognitionTarget]:
    """Networks by title; IResNet-18 with random weights, whose speed is that of trained ones."""
    spec = registry.get("models.recognition", "iresnet")(depth=18)
    found = {
        "shipped": load("shipped", None),
        "iresnet 18": RecognitionTarget(spec, initialise(spec.build(), torch.Generator().manual_seed(0))),
    }
    if os.environ.get("EFFACE_DATA"):
        weights = Path(os.environ["EFFACE_DATA"]) / "recogniser-mobilefacenet" / "mobilefacenet.pt"
        found["mobilefacenet"] = load("mobilefacenet", weights)
    return found


@torch.no_grad()
def folded(target: RecognitionTarget, pixels: Tensor) -> tuple[RecognitionTarget, int]:
    """A copy in which each BatchNorm that is given the output of a convolution or linear map is folded into it, and
    how many were; `pixels` are passed through to see which."""
    twin = target.clone()
    made: list[tuple[str, Tensor]] = []
    pairs: list[tuple[str, str]] = []

    def seen(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def see(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Conv2d | nn.Linear):
                made.append((name, output))
            elif isinstance(module, NORMS):
                pairs.extend((layer, name) for layer, out in made if out is inputs[0])

        return see

    handles = [module.register_forward_hook(seen(name)) for name, module in twin.network.named_modules()]
    twin.forward(pixels)
    for handle in handles:
        handle.remove()
    for layer, norm in pairs:
        before, after = twin.network.get_submodule(layer), twin.network.get_submodule(norm)
        assert isinstance(after, NORMS)
        fuse = fuse_linear_bn_eval if isinstance(before, nn.Linear) else fuse_conv_bn_eval
        twin.network.set_submodule(layer, fuse(before, after))  # pyright: ignore[reportArgumentType]
        twin.network.set_submodule(norm, nn.Identity())
    return RecognitionTarget(twin.spec, twin.network), len(pairs)


def timed(act: Callable[[], Any]) -> float:
    """Seconds of the process's own time."""
    began = time.process_time()
    act()
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    memory.keep_freed()
    torch.set_num_threads(1)
    pixels = align(ShippedPeople().read())[0].pixels[:PHOTOS]
    for title, target in targets().items():
        twin, count = folded(target, pixels[:2])
        norms = sum(isinstance(module, NORMS) for module in target.network.modules())
        moved = (target.embed(pixels) - twin.embed(pixels)).abs().max()
        turns = [[timed(lambda one=one: one.embed(pixels)) for one in (target, twin)] for _ in range(TURNS)]
        before, after = (median(seconds) for seconds in zip(*turns, strict=True))
        folding = median(timed(lambda target=target: folded(target, pixels[:2])) for _ in range(3))
        print(
            f"{title}: {count} of {norms} BatchNorms folded, {PHOTOS} photos in {before:.3f} -> {after:.3f} s "
            f"({1 - after / before:.1%} less), embeddings moved by at most {moved:.0e}, folding took {folding:.3f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
