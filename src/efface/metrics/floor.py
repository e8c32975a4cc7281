"""The floor: what a matcher that knows nothing of identity reaches on the same photos."""

import torch.nn.functional as F
from torch import Tensor

FLOOR_METRICS = (
    "rank1", "rank5", "map", "rank1_multi", "tar@far=1e-2", "tar@far=1e-3", "tar_multi@far=1e-3", "eer", "genuine_auc",
)  # fmt: skip
"""Numbers that are reported for a floor; the others compare a model with its original, which a floor has not."""


def pixel_embeddings(pixels: Tensor) -> Tensor:
    """Raw pixels as unit vectors: uint8 [n, 3, h, w] RGB -> float32 [n, h·w]; grey, mean 0, length 1.

    A picture of one colour has no contrast; it is given the one direction at right angles to all others, so that it
    matches no picture but its like.
    """
    red, green, blue = pixels.float().unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue).flatten(1)
    centred = grey - grey.mean(1, keepdim=True)
    blank = centred.abs().amax(1) < 1e-3
    centred[blank] = 1.0
    return F.normalize(centred, dim=-1)
