"""A frozen teacher, the model as it is given, and a student, its clone, that learns from it row by row."""

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from efface.methods.scopes import Scope, scope_names, train_only
from efface.models.unet_tail import SharedStart
from efface.precision import native_bf16
from efface.targets.diffusion import DiffusionTarget

Precision = Literal["fp32", "bf16", "auto"]
"""Of the passes; weights, losses and the optimiser are float32. auto: bf16 where the device multiplies it natively."""
SMALL = 16
"""Side of a latent up to which plain attention, whose backward pass is sooner done in bf16 on a CPU, needs little
memory."""


class Lesson(nn.Module):
    """Teacher and student of one UNet. As a module it holds what is trained, and nothing else."""

    def __init__(
        self, target: DiffusionTarget, scope: Scope, *, precision: Precision = "fp32", checkpointing: bool = False
    ) -> None:
        super().__init__()
        student = target.clone()
        names = scope_names(student.parts.unet, scope)
        self.learned = nn.ParameterList(train_only(student.parts.unet, names))
        start = SharedStart(target.parts.unet, student.parts.unet, names)
        if checkpointing:
            start.tail.enable_gradient_checkpointing()
        self._parts = (student, start)  # in a tuple, so that they are no submodules
        self._bf16 = precision == "bf16" or (precision == "auto" and native_bf16(target.device))
        if self._bf16 and target.device.type == "cpu" and max(target.latent_shape()[1:]) <= SMALL:
            _attend_plainly(start.tail)

    def both(self, z: Tensor, t: Tensor, tokens: Tensor, learning: int) -> tuple[Tensor, Tensor]:
        """(the teacher's noise [n, c, h, w], no graph; the student's of the first `learning` rows, with graph)."""
        student, start = self._parts
        with torch.autocast(z.device.type, torch.bfloat16) if self._bf16 else nullcontext():
            taught, learnt = start.both(z, t, tokens, learning)
        noise = student.parts.schedule.noise
        return noise(taught.float(), z, t), noise(learnt.float(), z[:learning], t[:learning])

    def result(self) -> DiffusionTarget:
        """The student, requiring no gradient any more."""
        student, _ = self._parts
        for parameter in self.learned:
            parameter.grad = None
            parameter.requires_grad_(False)
        return student


def _attend_plainly(unet: Any) -> None:
    """Attention written out, where it was torch's fused one; decoupled attention stays."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    plain = {n: AttnProcessor() if type(p) is AttnProcessor2_0 else p for n, p in unet.attn_processors.items()}
    unet.set_attn_processor(plain)
