"""Pictures by which a trained face generator is looked at."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from efface.moments import Moments
from efface.targets.gan import GanTarget


def sheet(rows: list[Tensor]) -> Image.Image:
    """Rows of pictures uint8 [n, 3, s, s] of one size, below one another."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    return Image.fromarray(torch.cat(lines, dim=1).permute(1, 2, 0).contiguous().numpy())


def turntable(model: GanTarget, others: Moments, people: int = 4, frames: int = 21) -> list[Image.Image]:
    """Pictures of an animation: photos of the first people of `others`, beside them the model's inversion, turning from
    45° on one side to 45° on the other."""
    first = torch.tensor([int((others.labels == i).nonzero()[0]) for i in range(min(people, len(others.people)))])
    w = model.invert(others.photos[first])
    found = []
    for yaw in np.linspace(-45, 45, frames):
        drawn = model.draw(w, model.camera(np.radians(yaw)).expand(len(w), -1))
        found.append(sheet([others.photos[first], drawn]))
    return found


def samples(model: GanTarget, count: int = 30) -> Image.Image:
    """People who never existed."""
    w = model.sample(count, torch.Generator().manual_seed(0), truncation=0.8)
    drawn = model.draw(w, model.camera().expand(count, -1))
    return sheet(list(drawn.split(10)))
