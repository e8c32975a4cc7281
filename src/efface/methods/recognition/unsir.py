"""Learn noise that is nothing like a person, teach the network that it is that person, then repair the rest.

Paper: UNSIR, "Fast Yet Effective Machine Unlearning" (Tarun et al., TNNLS 2023, arXiv 2111.08947), and its official
code. It never looks at the photos to forget; here the class of a forgotten person is the mean of their photos, so only
that mean does.
    noise    minimise −CE(original(n), class to forget) + λ·mean_n Σ n²    over the pixels n ~ N(0, 1)
    impair   CE(noise, class to forget) and CE(retained, true label), in one mean
    repair   CE(retained, true label)

paper's value / ours: λ 0.1, Adam 0.1 on the noise, 40 steps / the same, 25 steps (as the official code of SSD has it);
256 images of noise per class / 5; in units of standardised pixels / of half the pixel range around mid-grey; impair:
Adam, learning rate 0.02, 1 epoch; repair: Adam, half of that, 1 epoch / see the fields; batches of the mixture / up to
64 of either side in one mean; besides the retained cross-entropy also their drift (ours, see `retain_weight`); the
network's own head, trained / a fixed CosFace head from class means, margin on, since the checkpoint has none; all
weights / the last block. BatchNorm is frozen.

Mistakes avoided: the official code labels the noise of every class to forget as class 0; here each as its own. Not
avoided, it is the method: where the head cannot move, the person's photos need not leave what now is the noise's class.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from efface import training
from efface.faces.crops import SIZE
from efface.methods.classes import BATCH, Photos, class_head, mixture_loss, retained_photos, train_on_both
from efface.methods.seen import LastBlocks, Seen, drift
from efface.methods.unlearner import Request, Unlearner
from efface.models.heads import MarginHead
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Unsir(Unlearner):
    """Teach noise as the forgotten people, then repair the rest (UNSIR)."""

    paper: ClassVar = "UNSIR, Tarun et al., TNNLS 2023, arXiv 2111.08947"
    objective: ClassVar = "head_accuracy"

    images: PositiveInt = 5
    """Images of noise per person; paper: 256."""
    noise_weight: NonNegativeFloat = 0.1
    """λ: weight of the noise's size, no unit; paper: 0.1."""
    noise_rate: PositiveFloat = 0.1
    """Learning rate of Adam on the noise; paper: 0.1."""
    noise_steps: PositiveInt = 25
    """Optimiser steps on the noise; paper: 40."""
    learning_rate: PositiveFloat = 0.02
    """Of Adam in the impair step; paper: 0.02."""
    repair: PositiveFloat = 0.5
    """Rate of the repair step as a share of `learning_rate`; paper: 0.5."""
    steps: PositiveInt = 50
    """Optimiser steps of the impair step, and of the repair step; paper: 1 epoch each."""
    retain_weight: NonNegativeFloat = 100.0
    """Weight of the retained embeddings' drift in both, no unit; paper: 0 (no such term)."""
    blocks: NonNegativeInt = 1
    """How many of the network's last blocks are trained; 0: all; paper: all."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        part = LastBlocks(target, self.blocks)
        seen = Seen.of(part, request)
        head = class_head(seen).to(target.device)
        classes = torch.arange(int(seen.labels.max()) + 1).repeat_interleave(self.images)
        noise = self.learned_noise(target, part, head, classes, generator)

        def loss(noise: Photos, retained: Photos) -> dict[str, Tensor]:
            return {
                "mixture": mixture_loss(head, noise, retained),
                "retain": self.retain_weight * drift(retained.x, retained.before),
            }

        for rate, batch in ((self.learning_rate, (BATCH, BATCH)), (self.repair * self.learning_rate, (0, BATCH))):
            train_on_both(
                part,
                noise,
                retained_photos(seen),
                loss,
                optimiser=torch.optim.Adam(part.trained(), lr=rate),
                steps=self.steps,
                generator=generator,
                batch=batch,
            )
        return part.result()

    def learned_noise(
        self, target: RecognitionTarget, part: LastBlocks, head: MarginHead, classes: Tensor, generator: torch.Generator
    ) -> Photos:
        """Noise for each of these classes (int64 [n]), as it enters the trained part."""
        original = target.clone()
        drawn = torch.randn(len(classes), 3, SIZE, SIZE, generator=generator)
        noise = nn.ParameterList([nn.Parameter(drawn.to(target.device))])

        def loss(classes: Tensor) -> dict[str, Tensor]:
            return noise_terms(head, original.forward(pixels_of(noise[0])), classes, noise[0], self.noise_weight)

        optimiser = torch.optim.Adam(noise.parameters(), lr=self.noise_rate)
        training.fit(
            noise, lambda _: (classes,), loss, optimiser=optimiser, steps=self.noise_steps, generator=generator
        )
        features, embeddings = part.entering(pixels_of(noise[0].detach()))
        return Photos(features, classes, embeddings)


def pixels_of(noise: Tensor) -> Tensor:
    """Noise [n, 3, 112, 112] in units of half the pixel range around mid-grey -> pixels on the 0–255 scale."""
    return 127.5 * (1 + noise)


def noise_terms(
    head: MarginHead, embeddings: Tensor, classes: Tensor, noise: Tensor, weight: float
) -> dict[str, Tensor]:
    """The header's terms of the noise, whose embeddings [n, d] these are."""
    return {
        "error": -F.cross_entropy(head(embeddings, classes), classes),
        "size": weight * noise.square().flatten(1).sum(1).mean(),
    }
