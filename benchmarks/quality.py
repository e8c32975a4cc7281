"""What says how good a face is without a network trained for it: 48 photos of the pack, spoilt in several ways, by the
realism score that `quality` is, by the stability of the judge's embedding under small shifts (SER-FIQ, Terhörst et al.
2020, arXiv 2003.09373, equation 2, over shifts in place of dropout), and by sharpness.

    python -m benchmarks.quality
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from efface.faces.alignment import align
from efface.faces.datasets.people import ShippedPeople
from efface.faces.views import DIRECTIONS, shifted
from efface.metrics.distances import radii, realism
from efface.metrics.perception import features, judge, sharpness

TRIED, PHOTOS, REFERENCE = 24, slice(0, 2), slice(6, 10)
"""People whose first photos are spoilt; photos of all others that realism is measured among."""


def blurred(crops: Tensor, sigma: float) -> Tensor:
    """Crops uint8 [n, 3, h, w] under a Gaussian of `sigma` pixels."""
    reach = round(3 * sigma)
    kernel = torch.exp(-torch.arange(-reach, reach + 1.0).square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    x = F.pad(crops.float().flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    return bytes_of(F.conv2d(F.conv2d(x, kernel), kernel.mT).view(crops.shape))


def bytes_of(values: Tensor) -> Tensor:
    """0–255 as uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def stability(crops: Tensor) -> Tensor:
    """2 σ(−mean distance of all pairs of five views' embeddings), float32 [n]."""
    views = [crops, *(shifted(crops, 2 * right, 2 * down) for right, down in DIRECTIONS)]
    embeddings = torch.stack([judge().embed(view) for view in views], 1)
    first, second = torch.triu_indices(len(views), len(views), 1)
    return 2 * torch.sigmoid(-(embeddings[:, first] - embeddings[:, second]).norm(dim=2).mean(1))


def main() -> None:
    """Print a line for each way."""
    generator = torch.Generator().manual_seed(0)
    people = ShippedPeople().read()
    names = list(people.photos)
    parts = (
        {p: people.photos[p][PHOTOS] for p in names[:TRIED]},
        {p: people.photos[p][REFERENCE] for p in names[TRIED:]},
    )
    crops, real = (align(replace(people, photos=part))[0].pixels for part in parts)
    noise = torch.randn(crops.shape, generator=generator)
    spoilt = {
        "photos": crops,
        "blurred by 2 pixels": blurred(crops, 2),
        "blurred by 4 pixels": blurred(crops, 4),
        "noise of 20": bytes_of(crops + 20 * noise),
        "noise of 60": bytes_of(crops + 60 * noise),
        "rows shuffled": crops[:, :, torch.randperm(crops.shape[2], generator=generator)],
        "pure noise": torch.randint(256, crops.shape, generator=generator, dtype=torch.uint8),
        "their mean": bytes_of(crops.float().mean(0, keepdim=True)),
    }
    known = features(real).numpy()
    reach = radii(known)
    print(f"{'':20}{'realism':>9}{'stability':>11}{'sharpness':>11}")
    for name, shown in spoilt.items():
        score = realism(features(shown).numpy(), known, reach, np.ones((len(shown), len(known)), bool)).mean()
        print(f"{name:20}{score:9.2f}{float(stability(shown).mean()):11.2f}{float(sharpness(shown).mean()):11.0f}")


if __name__ == "__main__":
    main()
