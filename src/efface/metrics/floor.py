"""The floor: what a matcher that knows nothing of identity reaches on the same photos."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.models.recogniser import initialise
from efface.progress import Tick
from efface.targets.recognition import RecognitionTarget

FLOOR_METRICS = (
    "rank1", "rank5", "map", "rank1_multi", "tar@far=1e-2", "tar@far=1e-3",
    "tar_multi@far=1e-2", "tar_multi@far=1e-3", "eer", "genuine_auc",
)  # fmt: skip
"""Numbers that are reported for a floor; the others compare a model with its original, which a floor has not."""


BLOCK = 4
"""Side in pixels of the blocks that raw pixels are averaged over: a crop of 112 × 112 becomes 28 × 28 numbers, so that
all pairs of many photos can be compared."""
CHUNK = 128
"""Photos that are converted, or go through a network, together."""


def pixel_embeddings(pixels: Tensor) -> Tensor:
    """Raw pixels as unit vectors: uint8 [n, 3, h, w] RGB, h and w multiples of 4 -> float32 [n, h·w / 16]; grey, means
    of 4 × 4 blocks, mean 0, length 1.

    A picture of one colour has no contrast; it is given the one direction at right angles to all others, so that it
    matches no picture but its like.
    """
    return torch.cat([_coarse(chunk) for chunk in pixels.split(CHUNK)])


def _coarse(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.float().unbind(1)
    grey = F.avg_pool2d(0.299 * red + 0.587 * green + 0.114 * blue, BLOCK).flatten(1)
    centred = grey - grey.mean(1, keepdim=True)
    blank = centred.abs().amax(1) < 1e-3
    centred[blank] = 1.0
    return F.normalize(centred, dim=-1)


@torch.no_grad()
def random_network(
    target: RecognitionTarget, pixels: Tensor, generator: torch.Generator, tick: Tick | None = None
) -> RecognitionTarget:
    """The target's architecture with weights drawn from `generator`. Its BatchNorm statistics are those of the crops
    uint8 [n, 3, 112, 112]: at rest, every embedding would point one way. `tick` is told the number of
    crops after each batch."""
    network = initialise(target.spec.build(), generator)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over all batches
    untrained = RecognitionTarget(target.spec, network, target.device)
    network.train()
    for chunk in pixels.split(CHUNK):
        if len(chunk) > 1:
            untrained.forward(chunk)
        if tick is not None:
            tick(len(chunk))
    network.eval()
    return untrained


def random_network_embeddings(
    target: RecognitionTarget, pixels: Tensor, generator: torch.Generator, tick: Tick | None = None
) -> Tensor:
    """Unit embeddings [n, d] of crops uint8 [n, 3, 112, 112] by such a network; every crop goes through it twice, and
    `tick` is told both times."""
    return random_network(target, pixels, generator, tick).embed(pixels, tick=tick)
