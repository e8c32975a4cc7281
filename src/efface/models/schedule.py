"""How much noise a diffusion model's timestep stands for, and what its network predicts (Ho et al. 2020, arXiv
2006.11239, equation 4; v: Salimans and Ho 2022, arXiv 2202.00512, section 4)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.progress import Tick

SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers of diffusers that differ in how they sample, not in what a timestep means."""
PREDICTIONS = ("epsilon", "v_prediction")
"""What networks predict that efface reads."""


@dataclass(frozen=True)
class Schedule:
    """z_t = √ᾱ_t · x + √(1 − ᾱ_t) · ε for t = 0 … T − 1."""

    config: Mapping[str, Any]
    """As diffusers' scheduler_config.json holds it."""
    alphas: Tensor
    """ᾱ, float32 [T], falling."""

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> "Schedule":
        """From a scheduler_config.json. Raises EffaceError where it is of another kind; `where` names the file."""
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        name, predicts = config.get("_class_name"), config.get("prediction_type", "epsilon")
        if name not in SCHEDULERS:
            raise EffaceError(
                f"{where}: found the scheduler {name!r}, expected one of a noise-predicting model: "
                f"{', '.join(SCHEDULERS)}; give the scheduler that the model was trained for"
            )
        if predicts not in PREDICTIONS:
            raise EffaceError(
                f"{where}: found prediction_type {predicts!r}, expected one of: {', '.join(PREDICTIONS)}; give the "
                "scheduler that the model was trained for"
            )
        if config.get("rescale_betas_zero_snr"):
            raise EffaceError(
                f"{where}: found rescale_betas_zero_snr, expected a schedule that keeps some of the picture at its "
                "last timestep: without any, noise does not say what the picture is; give another model"
            )
        known = {k: v for k, v in config.items() if k in DDIMScheduler().config}
        same: Any = DDIMScheduler.from_config(known)
        return cls(dict(config), same.alphas_cumprod.float())

    def parts(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(√ᾱ_t, √(1 − ᾱ_t)) of timesteps int64 [n], shaped to be multiplied with `like` [n, ...]."""
        alpha = self.alphas.to(like.device)[t].view(-1, *(1,) * (like.dim() - 1))
        return alpha.sqrt(), (1 - alpha).sqrt()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """z_t [n, ...] of clean x and unit noise."""
        signal, sigma = self.parts(t, x)
        return signal * x + sigma * noise

    def noise(self, output: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """ε of the network's output at z_t."""
        if self.config.get("prediction_type", "epsilon") == "epsilon":
            return output
        signal, sigma = self.parts(t, z)
        return signal * output + sigma * z

    def clean(self, noise: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """x of the predicted ε at z_t, in one step."""
        signal, sigma = self.parts(t, z)
        return (z - sigma * noise) / signal.clamp(min=1e-4)

    @torch.no_grad()
    def sample(
        self,
        noise: Callable[[Tensor, Tensor], Tensor],
        z: Tensor,
        steps: int,
        strength: float = 1.0,
        tick: Tick | None = None,
    ) -> Tensor:
        """Latents from z by DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095), which draws nothing.

        noise: noise(z, t int64 [n]) -> ε. steps: of a whole run. strength: above 0, at most 1; z is noise of the
        timestep at that share of the way (1: pure noise; less: a noised picture, `first` says its timestep).
        tick: told 1 after each step.
        """
        solver = self._solver(steps)
        begin = self._begin(steps, strength)
        solver.set_begin_index(begin)
        for t in solver.timesteps[begin:]:
            predicted = noise(z, t.to(z.device).expand(len(z)))
            z = solver.step(predicted, t, z).prev_sample
            if tick:
                tick(1)
        return z

    def first(self, steps: int, strength: float) -> int:
        """The timestep at which `sample` begins."""
        return int(self._solver(steps).timesteps[self._begin(steps, strength)])

    @staticmethod
    def _begin(steps: int, strength: float) -> int:
        return min(steps - 1, steps - max(1, round(steps * strength)))

    def _solver(self, steps: int) -> Any:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        known = {k: v for k, v in self.config.items() if k in DDIMScheduler().config and k != "timestep_spacing"}
        known |= {"prediction_type": "epsilon", "timestep_spacing": "trailing"}
        for fixed in ("clip_sample", "thresholding", "rescale_betas_zero_snr"):
            known.pop(fixed, None)
        solver: Any = DPMSolverMultistepScheduler.from_config(known)
        solver.set_timesteps(steps)
        return solver
