"""Weights held where they were, each as firmly as it matters to what the generator draws (elastic weight consolidation,
EWC; Kirkpatrick et al. 2017, arXiv 1612.00796).

Of a GAN's generator there is no likelihood to take the Fisher information of. Ours: of pictures G(w) with unit normal
noise on every number it is Jᵀ J, where J are the derivatives of all numbers by the weights. Its diagonal is the mean of
(∂ Σ n·G(w) / ∂θ)² over unit normal n, one for each latent; here it is divided by the numbers of a picture. So
λ/2 Σ F (θ − θ*)² is to second order λ/2 times the MSE between the pictures drawn after and before.

SUGAR's official code takes λ Σ F (θ − θ*)², and for F the mean squared gradient of .01·MSE between the planes of a copy
and of the source, at two latents for each person to forget, w_avg + 40·(w_r − w_u) / ‖w_r − w_u‖ with one norm over
both (64 latents are named and not used: their loops are commented out). At equal weights that gradient is 0 but for
random noise in the passes; the copy climbs away by a step of Adam after each latent. None of it is taken over.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from efface.methods.rebuilding_losses import Views
from efface.targets.gan import GanTarget


class Consolidation:
    """EWC around a student's weights as they are now."""

    def __init__(
        self,
        student: GanTarget,
        trained: Sequence[nn.Parameter],
        views: Views,
        latents: int,
        generator: torch.Generator,
    ) -> None:
        """latents: how many people who never existed the Fisher information is the mean over, each from one camera."""
        self.trained = trained
        self.before = [p.detach().clone() for p in trained]
        self.fisher = fisher(student, trained, views, latents, generator)

    def loss(self) -> Tensor:
        """½ Σ F (θ − θ*)², []."""
        terms = zip(self.fisher, self.trained, self.before, strict=True)
        return torch.stack([(f * (p - b).square()).sum() for f, p, b in terms]).sum() / 2


def fisher(
    student: GanTarget, trained: Sequence[nn.Parameter], views: Views, latents: int, generator: torch.Generator
) -> list[Tensor]:
    """F of the header, a tensor for each of `trained`."""
    total = [torch.zeros_like(p) for p in trained]
    cameras = views.cameras(student)
    for w in student.sample(latents, generator).split(1):
        view = torch.randint(len(cameras), (1,), generator=generator)
        picture = student.synthesize(w, cameras[view])
        noise = torch.randn(picture.shape, generator=generator).to(picture)
        gradients = torch.autograd.grad((picture * noise).sum(), list(trained), materialize_grads=True)
        for sums, gradient in zip(total, gradients, strict=True):
            sums += gradient.square() / (latents * picture.numel())
    return total
