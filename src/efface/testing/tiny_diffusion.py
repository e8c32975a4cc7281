"""A tiny diffusion model with random weights and the drawn people that it is tried on; built in a second."""

import torch
from torch import Tensor

from efface.faces.datasets.drawn import Drawn
from efface.faces.framing import frame
from efface.methods.conditions import DrawRequest, Faces
from efface.models.diffusion.shipped import SCHEDULE, ShippedDiffusion, build, unet_config
from efface.models.diffusion_model import Parts
from efface.models.latents import PatchLatents
from efface.models.projector import Projector
from efface.models.recognition.shipped import ShippedRecogniser
from efface.models.schedule import Schedule
from efface.targets.diffusion import DiffusionTarget
from efface.targets.recognition import RecognitionTarget

CHANNELS, LATENTS, WIDTH, TOKENS = (16, 16, 32, 32), 4, 16, 4
"""Of the UNet's levels (the innermost has 1 × 1 positions, so a group needs two channels), of a latent, of a token;
tokens of a face."""


def tiny_parts(seed: int = 0) -> Parts:
    """The blocks of the shipped model (16 cross-attention layers of the same names), with random weights; the latents
    are the principal components of random pictures."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build(unet_config(CHANNELS, LATENTS, 8, WIDTH))
        projector = Projector(128, TOKENS, WIDTH, layers=1, heads=2)
        noise = torch.randn(8, 3, 8, 8)
    smooth = torch.nn.functional.interpolate(noise, (128, 128), mode="bilinear").clamp(-1, 1)
    latents = PatchLatents(16, LATENTS).fit([smooth])
    return Parts(unet, projector, latents, Schedule.of(SCHEDULE, "tiny"))


def tiny_target(seed: int = 0) -> DiffusionTarget:
    """The tiny model with the recogniser that comes with efface (128-d)."""
    weights = ShippedRecogniser.shipped
    assert weights is not None
    recogniser = RecognitionTarget.load("shipped", weights)
    return DiffusionTarget(ShippedDiffusion(), tiny_parts(seed), recogniser)


def tiny_faces(target: DiffusionTarget, people: int = 8, photos: int = 4) -> Faces:
    """Drawn people as the model sees them: `person-000` …, each with as many photos."""
    spec = target.spec
    place = spec.window
    crops, _ = frame(Drawn(people=people, photos=photos).read(), spec.size, place.left, place.top, place.side)
    embeddings = target.recogniser.embed(target.window(crops.pixels).round().clamp(0, 255).to(torch.uint8))
    return Faces(crops.pixels, embeddings, crops.identities)


def tiny_request(faces: Faces, forget: int = 1, anchors: Tensor | None = None) -> DrawRequest:
    """To forget the first `forget` people; the anchor of each, where none is given, is the centroid of the last people
    in turn."""
    people = faces.people()
    gone = people[:forget]
    kept = faces.take([i for i, name in enumerate(faces.identities) if name not in gone])
    if anchors is None:
        anchors = kept.centroids().flip(0)[:forget]
    return DrawRequest(faces.take([i for i, name in enumerate(faces.identities) if name in gone]), kept, anchors)
