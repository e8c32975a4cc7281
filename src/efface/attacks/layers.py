"""What a network holds of a photo before its embedding."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.targets.recognition import RecognitionTarget

LARGEST = 7
"""Side of the largest map of features that is taken as it is; larger ones are averaged to this side."""
BATCH = 128
"""Photos that go through the network together."""


def groups(target: RecognitionTarget) -> dict[str, int]:
    """The layers that attacks look at, by name -> number of the group of `spec.blocks` whose input they are: the last
    group, and number ⌊groups / 2⌋ from 0. What follows the last residual block is one group, so `penultimate` is what
    enters it: pooling, linear map and BatchNorm come after."""
    count = len(target.spec.blocks)
    return {"penultimate": count - 1, "middle": count // 2}


@torch.no_grad()
def entering(target: RecognitionTarget, pixels: Tensor) -> dict[str, Tensor]:
    """Crops uint8 [n, 3, 112, 112] -> features float32 [n, d] by layer, on the CPU: what enters the first module of the
    layer's group, maps of more than 7 × 7 averaged to 7 × 7 (adaptively), flattened."""
    taken: dict[str, list[Tensor]] = {layer: [] for layer in groups(target)}
    handles = [
        target.network.get_submodule(target.spec.blocks[number][0]).register_forward_pre_hook(_take(taken[layer]))
        for layer, number in groups(target).items()
    ]
    try:
        target.network.eval()
        for chunk in pixels.split(BATCH):
            target.forward(chunk)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: torch.cat(parts) for layer, parts in taken.items()}


def _take(parts: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def take(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].float()
        if features.ndim == 4 and max(features.shape[2:]) > LARGEST:
            height, width = (min(side, LARGEST) for side in features.shape[2:])
            features = F.adaptive_avg_pool2d(features, (height, width))
        parts.append(features.flatten(1).cpu())

    return take
