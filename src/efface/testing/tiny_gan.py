"""Tiny GAN face generators with random weights, each with an encoder; built in a moment. They draw coloured blots, of
which some differ from latent to latent as faces would."""

from typing import Literal

import torch
from torch import Tensor, nn

from efface.methods.rebuilding import RebuildRequest
from efface.models import eg3d, rays, stylegan2
from efface.models.encoder import Encoder
from efface.models.gan.eg3d import Eg3d
from efface.models.gan.stylegan2 import StyleGan2
from efface.models.gan_model import GanModel, Generator, Parts
from efface.models.recognition.shipped import ShippedRecogniser
from efface.models.rendering import Rendering
from efface.targets.gan import GanTarget, template_face
from efface.targets.recognition import RecognitionTarget

Kind = Literal["eg3d", "stylegan2"]

WIDTH, SIDE = 16, 32
"""Of a latent's row and of the noise; of a picture in pixels."""
PIVOT = (0.0, 0.0, 0.15)
"""What the tri-plane generator's cameras look at; the average face lies there."""


def tiny_parts(kind: Kind, seed: int = 0) -> Parts:
    """A generator, with the average latent of its mapping, and an encoder, with random weights."""
    sizes = {"z_dim": WIDTH, "w_dim": WIDTH, "layers": 2, "channel_base": 256, "channel_max": 8, "clamp": None}
    rendering = Rendering(
        neural_resolution=8, near=None, far=None, samples=4, importance_samples=4, pivot=PIVOT, conditioning=0.0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator: Generator
        if kind == "eg3d":
            generator = eg3d.Generator(
                SIDE, plane_resolution=16, plane_channels=4, start=16, super_channels=(8, 4), rendering=rendering,
                **sizes,
            )  # fmt: skip
            mapping = generator.backbone.mapping
        else:
            generator = stylegan2.Generator(SIDE, **sizes)
            mapping = generator.mapping
        encoder = Encoder(SIDE, ShippedRecogniser().embedding_size, mapping.count, WIDTH, width=4, hidden=16)
        nn.init.normal_(encoder.each.weight, std=0.1)
        with torch.no_grad():
            z = torch.randn(256, WIDTH)
            mapping.w_avg.copy_(mapping(z, torch.zeros(256, 25) if mapping.c_dim else None)[:, 0].mean(0))
    return Parts(generator, encoder, _face(kind))


def tiny_target(kind: Kind = "eg3d", seed: int = 0) -> GanTarget:
    """The tiny model with the recogniser that comes with efface (128-d), without a detector."""
    weights = ShippedRecogniser.shipped
    assert weights is not None
    spec: GanModel = Eg3d() if kind == "eg3d" else StyleGan2()
    return GanTarget(spec, tiny_parts(kind, seed), RecognitionTarget.load("shipped", weights))


def tiny_request(target: GanTarget, people: int = 1, retain: int = 4, seed: int = 0) -> RebuildRequest:
    """To forget `people` people who never existed, of latents drawn at random; as many as `retain` others stay."""
    latents = target.sample(people + retain, torch.Generator().manual_seed(seed))
    return RebuildRequest(tuple(f"person-{i:03d}" for i in range(people)), latents[:people], latents[people:])


def _face(kind: Kind) -> Tensor:
    """Landmarks where the ArcFace template lies in a framed photo; of the tri-plane generator on the plane through the
    pivot that faces the front."""
    place = GanModel.window
    flat = template_face(place.left, place.top, place.side, GanModel.size)
    if kind == "stylegan2":
        return flat
    camera = rays.camera(pivot=PIVOT)[0]
    pose, inner = camera[:16].view(4, 4), camera[16:].view(3, 3)
    ways = torch.linalg.solve(inner, torch.cat([flat, torch.ones(5, 1)], 1).T).T @ pose[:3, :3].T
    distances = (PIVOT[2] - pose[2, 3]) / ways[:, 2]
    return pose[:3, 3] + distances[:, None] * ways
