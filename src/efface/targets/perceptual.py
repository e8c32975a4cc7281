"""How different two pictures look, by what the recogniser that comes with efface sees in them.

LPIPS's form (Zhang et al. 2018, arXiv 1801.03924, equation 1: features of every stage, of unit length at each place,
squared difference, mean over the places, sum over the stages) on another network and without its learned weights, which
are ours to say: numbers are not those of LPIPS.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.targets.recognition import RecognitionTarget


class FeatureDistance:
    """Distance of pictures by the convolutional stages of a recogniser."""

    def __init__(self, recogniser: RecognitionTarget) -> None:
        self.recogniser = recogniser
        self.blocks: list[nn.Module] = [
            recogniser.network.get_submodule(name) for (name,) in recogniser.spec.blocks[:-1]
        ]

    def features(self, pictures: Tensor) -> list[Tensor]:
        """What the last block of each size sees, of unit length at each place, of pictures float32 [n, 3, h, w] of
        −1 … 1; with gradient."""
        convention = self.recogniser.spec.convention
        mean, std = (torch.tensor(v, device=pictures.device).view(3, 1, 1) for v in (convention.mean, convention.std))
        x = ((pictures + 1) * 127.5 - mean) / std
        found: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            if x.dim() < 4:  # the judge pools before its last map
                break
            if found and found[-1].shape == x.shape:
                found.pop()
            found.append(x)
        return [F.normalize(one, dim=1, eps=1e-6) for one in found]

    def __call__(self, first: Tensor, second: Tensor | list[Tensor]) -> Tensor:
        """Distances [n], from 0, of pictures [n, 3, h, w] of −1 … 1. second: pictures, or what `features` gave."""
        others = self.features(second) if isinstance(second, Tensor) else second
        stages = zip(self.features(first), others, strict=True)
        return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in stages]).sum(0)
