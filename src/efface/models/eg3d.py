"""EG3D (Chan et al. 2022, arXiv 2112.07945): a StyleGAN2 generator draws three planes of features, rays are rendered
through them, and a super-resolution makes the picture.

State-dict names and numbers are those of the official code. Everything is deterministic unless a torch.Generator is
given.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models import rays, stylegan2, volume
from efface.models.rendering import Rendering
from efface.models.stylegan2 import Noise, check_shape
from efface.models.superresolution import SuperResolution


class View(NamedTuple):
    """What a camera sees. Pictures are of about −1 … 1."""

    picture: Tensor
    """[n, 3, resolution, resolution]."""
    raw: Tensor
    """[n, 3, r, r]: before super-resolution; r is the neural resolution."""
    depth: Tensor
    """[n, 1, r, r]: distance from the camera, world units."""


class Generator(nn.Module):
    """z [n, z_dim] and the camera that conditions it -> w [n, count, w_dim] -> planes -> views from any camera.

    The defaults are those of FFHQ at 512 pixels, rendered at 128; the published networks have plane_resolution 256 and
    32 plane channels. start, super_channels: see SuperResolution. clamp: of the planes' network, super_clamp: of the
    super-resolution. Cameras are [n, 25], see models/rays.py. Its weights are drawn from torch's global generator.
    """

    def __init__(
        self,
        resolution: int = 512,
        *,
        z_dim: int = 512,
        w_dim: int = 512,
        layers: int = 2,
        channel_base: int = 32768,
        channel_max: int = 512,
        plane_resolution: int = 256,
        plane_channels: int = 32,
        start: int = 128,
        super_channels: tuple[int, int] = (256, 128),
        clamp: float | None = None,
        super_clamp: float | None = 256.0,
        rendering: Rendering = Rendering(),
    ) -> None:
        super().__init__()
        self.sizes = {
            "resolution": resolution, "z_dim": z_dim, "w_dim": w_dim, "layers": layers, "channel_base": channel_base,
            "channel_max": channel_max, "plane_resolution": plane_resolution, "plane_channels": plane_channels,
            "start": start, "super_channels": super_channels, "clamp": clamp, "super_clamp": super_clamp,
        }  # fmt: skip
        """What it was made with, but for the rendering."""
        self.rendering, self.plane_channels = rendering, plane_channels
        self.backbone = stylegan2.Generator(
            plane_resolution,
            z_dim=z_dim,
            c_dim=25,
            w_dim=w_dim,
            layers=layers,
            colours=3 * plane_channels,
            channel_base=channel_base,
            channel_max=channel_max,
            clamp=clamp,
        )
        self.superresolution = SuperResolution(plane_channels, w_dim, start, resolution, super_channels, super_clamp)
        self.decoder = volume.Decoder(plane_channels, plane_channels)

    def camera(self, yaw: Tensor | float = 0.0, pitch: Tensor | float = 0.0) -> Tensor:
        """Cameras [n, 25] around this network's pivot at its radius; angles in radians, see rays.camera."""
        pivot, radius = self.rendering.pivot, self.rendering.radius
        return rays.camera(yaw, pitch, pivot=pivot, radius=radius).to(self.backbone.mapping.w_avg)

    def mapping(self, z: Tensor, c: Tensor, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """w [n, count, w_dim]. c: the camera that conditions it; the front for pictures from several sides."""
        rays.check(c)
        return self.backbone.mapping(z, c * self.rendering.conditioning, truncation, cutoff)

    def planes(self, w: Tensor, noise: Noise = "const", generator: torch.Generator | None = None) -> Tensor:
        """[n, 3, plane channels, side, side]: all that does not depend on the camera."""
        planes = self.backbone.synthesis(w, noise, generator)
        return planes.unflatten(1, (3, self.plane_channels))

    def render(
        self,
        planes: Tensor,
        w: Tensor,
        cameras: Tensor,
        resolution: int | None = None,
        generator: torch.Generator | None = None,
    ) -> View:
        """Views of planes from cameras [n, 25]. w: that of the planes, for the super-resolution.

        resolution: neural, where it is not that of the rendering. generator: draws where along the rays samples lie.
        Raises EffaceError where a camera does not see the head.
        """
        features, depth, _ = self.features(planes, cameras, resolution, generator)
        picture = self.superresolution(features, w[:, -1], self.rendering.noise, generator)
        return View(picture, features[:, :3], depth)

    def features(
        self, planes: Tensor, cameras: Tensor, resolution: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features [n, plane channels, r, r] before super-resolution, depth [n, 1, r, r] and how much of each ray was
        stopped [n, 1, r, r]."""
        rays.check(cameras)
        check_shape("planes", planes, len(cameras), 3, self.plane_channels, "side", "side")
        side = self.rendering.neural_resolution if resolution is None else resolution
        if side < 1:
            raise EffaceError(f"found the neural resolution {side}, expected at least 1")
        origins, directions = rays.rays(cameras.to(planes), side)
        folded = volume.folded(planes)
        seen, depth, stopped = volume.render(folded, self.decoder, origins, directions, self.rendering, generator)
        return (
            seen.unflatten(-1, (side, side)),
            depth.unflatten(-1, (side, side)).unsqueeze(1),
            stopped.unflatten(-1, (side, side)).unsqueeze(1),
        )

    def densities(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Densities [n, m], before their softplus, and colours [n, plane channels, m] at points [n, m, 3]."""
        return self.decoder(volume.look_up(volume.folded(planes), points, self.rendering.box))

    def synthesis(
        self, w: Tensor, cameras: Tensor, noise: Noise = "const", generator: torch.Generator | None = None
    ) -> View:
        """Views of w [n, count, w_dim] from cameras [n, 25]."""
        return self.render(self.planes(w, noise, generator), w, cameras, generator=generator)

    def forward(self, z: Tensor, cameras: Tensor, truncation: float = 1.0) -> View:
        """Views of z, conditioned on the same cameras, as in training."""
        return self.synthesis(self.mapping(z, cameras, truncation), cameras)
