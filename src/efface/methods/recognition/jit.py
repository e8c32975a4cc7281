"""Make the network answer a photo to forget as it answers the same photo under noise.

Paper: JiT, "An Information Theoretic Approach to Machine Unlearning" (first "Zero-Shot Machine Unlearning at Scale via
Lipschitz Regularization"), Foster et al. 2024, arXiv 2402.01401, and its official code.
    loss   mean over noisy copies of ‖f(x) − sg f(x + n)‖ / ‖n‖,  n ~ N(0, σ²),  sg: no gradient

paper's value / ours: SGD without momentum / the same; one pass over the photos, learning rate 3e-4 (VGG), 1.5 (ViT) /
100 steps, 3, chosen on the tiny model; sum over the photos of a batch / mean; 25 fresh copies / 8 copies of each
photo, drawn once, so that what does not train is computed once; σ 0.5 (VGG), 0.8 (ViT) standard deviations of the
inputs / 0.125 of the pixel range, the same as 0.5 of them; f the logits / the unit embedding, of which a classifier's
logits would be a linear map, so no head is needed; photos to forget only / plus a retain term (ours, see
`retain_weight`); all weights / the last block, BatchNorm frozen.

Mistakes avoided: noise is cut off at the range of pixels, not at what the batch happens to hold, and ‖n‖ is measured
after that.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.classes import BATCH, Photos, train_on_both
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Jit(Unlearner):
    """Smooth the network around the photos to forget (JiT, Lipschitz regularisation)."""

    paper: ClassVar = "JiT, Foster et al. 2024, arXiv 2402.01401"
    objective: ClassVar = "head_accuracy"

    noise: PositiveFloat = 0.125
    """σ as a share of the pixel range 0 … 255; paper: 0.5 to 0.8 standard deviations of the inputs."""
    copies: PositiveInt = 8
    """Noisy copies of each photo; paper: 25."""
    learning_rate: PositiveFloat = 3.0
    """Of SGD without momentum; paper: 3e-4 (VGG), 1.5 (ViT)."""
    steps: PositiveInt = 100
    """Optimiser steps; paper: one pass over the photos."""
    retain_weight: NonNegativeFloat = 0.3
    """Weight of the retained embeddings' drift, no unit; paper: 0 (no retain term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        noisy, lengths = self._noisy(part, request.forget.pixels, generator)

        def loss(forgotten: Photos, retained: Photos) -> dict[str, Tensor]:
            rows = forgotten.classes.cpu()
            with torch.no_grad():
                moved = part(noisy[rows].flatten(0, 1).to(target.device)).unflatten(0, (len(rows), self.copies))
            return {
                "forget": roughness(forgotten.x, moved, lengths[rows].to(target.device)),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        train_on_both(
            part,
            Photos(seen.forget, torch.arange(len(seen.forget)), seen.given),  # a photo's position for its class
            Photos(seen.retain, seen.start, seen.before),
            loss,
            optimiser=torch.optim.SGD(part.trained(), lr=self.learning_rate),
            steps=self.steps,
            generator=generator,
            batch=(BATCH, BATCH if self.retain_weight else 0),
        )
        return part.result()

    def _noisy(self, part: LastBlocks, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features [n, copies, ...] of noisy copies of crops uint8 [n, 3, 112, 112], and ‖n‖ [n, copies] in units of
        the pixel range."""
        features, lengths = [], []
        for crops in pixels.float().split(BATCH):
            copies = crops[:, None].expand(-1, self.copies, -1, -1, -1)
            drawn = (copies + 255 * self.noise * torch.randn(copies.shape, generator=generator)).clamp(0, 255)
            lengths.append((drawn - copies).flatten(2).norm(dim=-1) / 255)
            features.append(part.entering(drawn.flatten(0, 1))[0].unflatten(0, (len(crops), self.copies)))
        return torch.cat(features), torch.cat(lengths)


def roughness(embeddings: Tensor, moved: Tensor, lengths: Tensor) -> Tensor:
    """The loss of the header: embeddings [n, d], those of the noisy copies [n, c, d], ‖n‖ [n, c]."""
    return ((embeddings[:, None] - moved).norm(dim=-1) / lengths.clamp(min=1e-6)).mean()
