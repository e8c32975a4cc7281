"""The diffusion model that comes with efface, and every other that `efface train configs/train/diffusion.yaml` makes: a
UNet of diffusers with the blocks of Stable Diffusion 1.5 (Rombach et al. 2022, arXiv 2112.10752), so 16 cross-attention
layers of the same names, on latents of 8 × 8, conditioned on the shipped recogniser's embedding."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from efface.errors import EffaceError, line_of
from efface.models.diffusion_model import DiffusionModel, Parts, Window
from efface.models.latents import PatchLatents
from efface.models.layout import filled, part, settings
from efface.models.projector import Projector
from efface.models.schedule import Schedule
from efface.models.weights import save

UNET, PROJECTOR, LATENTS, SCHEDULER = "unet.safetensors", "projector.safetensors", "latents.safetensors", "model.json"
"""Files of a folder; the last holds the UNet's and the scheduler's configuration."""
SCHEDULE = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "num_train_timesteps": 1000,
    "clip_sample": False,
}
"""The cosine schedule (Nichol and Dhariwal 2021, arXiv 2102.09672), and v as what the network predicts."""


def unet_config(channels: tuple[int, ...], latents: int, side: int, width: int) -> dict[str, Any]:
    """diffusers' configuration of a UNet with the blocks of Stable Diffusion 1.5. channels: of its four levels,
    multiples of 16. latents: channels of the latent, `side` its side. width: of a token."""
    cross = ("CrossAttnDownBlock2D",) * 3
    return {
        "sample_size": side,
        "in_channels": latents,
        "out_channels": latents,
        "layers_per_block": 2,
        "block_out_channels": list(channels),
        "down_block_types": [*cross, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *(kind.replace("Down", "Up") for kind in cross)],
        "cross_attention_dim": width,
        "attention_head_dim": [max(1, c // 32) for c in channels],  # heads; diffusers' name misleads
        "norm_num_groups": 16,
    }


def build(config: dict[str, Any]) -> nn.Module:
    """A freshly initialised UNet."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return UNet2DConditionModel(**config)


@dataclass(frozen=True, kw_only=True)
class ShippedDiffusion(DiffusionModel):
    """The diffusion model of efface: 128 px faces of people who never existed, drawn from an embedding; Apache-2.0."""

    shipped: ClassVar = Path(__file__).parent / "weights" if (Path(__file__).parent / "weights").is_dir() else None
    origin: ClassVar = "efface, efface train configs/train/diffusion.yaml, on rendered people"
    licence: ClassVar = "Apache-2.0"
    commercial: ClassVar = "yes"
    embedding_size: ClassVar = 128
    recogniser: ClassVar = "shipped"
    size: ClassVar = 128
    window: ClassVar = Window(left=8, top=12, side=112)
    aligned: ClassVar = True
    steps: ClassVar = 10
    guidance: ClassVar = 2.0
    bf16: ClassVar = True

    def load(self, weights: Path) -> Parts:
        """Read a folder that `save` or a training wrote."""
        told = settings(part(SCHEDULER, [weights]))
        try:
            unet = build(told["unet"])
            projector, latents = Projector(**told["projector"]), PatchLatents(**told["latents"])
        except Exception as error:  # whatever a wrong number makes of it
            raise EffaceError(
                f"{weights / SCHEDULER}: describes no model that efface trained ({line_of(error)}); fetch it again"
            ) from error
        for module, name in ((unet, UNET), (projector, PROJECTOR), (latents, LATENTS)):
            filled(module, part(name, [weights]))
        return Parts(unet, projector, latents, Schedule.of(told.get("scheduler", {}), str(weights / SCHEDULER)))

    def save(self, parts: Parts, folder: Path, source: Path, **extra: str) -> None:
        """Write the whole model, float32: what an unlearning changed is kept exactly."""
        write(parts, folder, False, **extra)


def write(parts: Parts, folder: Path, half: bool = False, **metadata: str) -> list[Path]:
    """Write the model into a folder. half: networks as float16, the latents' few numbers not."""
    told = {
        "unet": {k: v for k, v in parts.unet.config.items() if not k.startswith("_")},
        "projector": parts.projector.sizes,
        "latents": {"patch": parts.autoencoder.patch, "channels": parts.autoencoder.channels},
        "scheduler": dict(parts.schedule.config),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for module, name in ((parts.unet, UNET), (parts.projector, PROJECTOR), (parts.autoencoder, LATENTS)):
        halved = half and module is not parts.autoencoder
        tensors = {k: v.half() if halved else v for k, v in module.state_dict().items()}
        save(folder / name, tensors, metadata)
    (folder / SCHEDULER).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return [folder / name for name in (UNET, PROJECTOR, LATENTS, SCHEDULER)]
