"""What a crop looks like to the judge that comes with efface, whatever drew it: one fixed network, so that numbers of
different models compare. And how sharp it is."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.recognition.judge import JudgeRecogniser
from efface.targets.recognition import RecognitionTarget

BATCH = 128
"""Crops that go through the network together."""


@cache
def judge() -> RecognitionTarget:
    """The judge that comes with efface, on the CPU. Raises EffaceError where it has not come along."""
    if JudgeRecogniser.shipped is None:
        raise EffaceError("judge: found no judge.safetensors beside the package, expected it; install efface again")
    return RecognitionTarget.load("judge", JudgeRecogniser.shipped)


@torch.no_grad()
def features(crops: Tensor) -> Tensor:
    """What enters the judge's last linear map, float32 [n, 256], of crops uint8 [n, 3, 112, 112]: 256 maps of 7 × 7,
    each as its generalised mean."""
    eye = judge()
    trunk = nn.Sequential(*(eye.network.get_submodule(name) for (name,) in eye.spec.blocks[:-1]))
    parts = [trunk(eye.inputs(chunk)) for chunk in crops.split(BATCH)]
    return torch.cat(parts) if parts else torch.empty(0, 256)


def sharpness(crops: Tensor) -> Tensor:
    """Variance of the Laplacian of the luma (Pech-Pacheco et al. 2000), float32 [n], of crops uint8 [n, 3, h, w]; grey
    levels squared."""
    luma = torch.einsum("nchw,c->nhw", crops.float(), torch.tensor([0.299, 0.587, 0.114]))
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3)
    return F.conv2d(luma[:, None], kernel).flatten(1).var(1, correction=0)
