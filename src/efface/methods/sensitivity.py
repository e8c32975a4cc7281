"""Which cross-attention layers of a UNet tell people apart, and so which ones are worth training.

PIU trains the cross-attention of the blocks "where identity separation is highest"; its statistic is not known to us.
This one is ours. Many photos of several people condition the network on the same noise z at the same timesteps t, so
that whatever differs comes from the embedding alone. y_pk is what a layer adds to its stream h for photo k of person p:
    between     variance over people of the mean over a person's photos, without what photos contribute to that
    within      variance over a person's photos
    separation  √between / √E h²               how far people move the stream apart, in units of the stream
    share       between / (between + within)   how much of a photo's difference is the person's: the intraclass
                                               correlation ICC(1) (Shrout and Fleiss 1979)
Variances are per position and channel, then averaged over both and over (z, t). The proposed scope is every block whose
layers' mean separation is at least the mean over all layers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean

import torch
from torch import Tensor

from efface.errors import EffaceError
from efface.methods.conditions import Faces
from efface.methods.scopes import block_of, cross_attention_layers
from efface.progress import Tick
from efface.targets.diffusion import DiffusionTarget

ROWS = 16
"""Conditions in a pass, about."""


@dataclass(frozen=True)
class Layer:
    """What was measured of one cross-attention layer."""

    name: str
    separation: float
    """0 or more, in units of the stream."""
    share: float
    """0 … 1; 0 where people are no further apart than photos."""

    @property
    def block(self) -> str:
        """The block that it lies in."""
        return block_of(self.name)


@torch.no_grad()
def sensitivity(
    target: DiffusionTarget,
    faces: Faces,
    generator: torch.Generator,
    *,
    people: int = 16,
    photos: int = 4,
    draws: int = 16,
    tick: Tick | None = None,
) -> tuple[Layer, ...]:
    """Every cross-attention layer, in the network's order.

    people: of `faces`, at most, the first with so many photos. draws: noises, each at a timestep of its own. tick: told
    1 after each draw. Raises EffaceError for fewer than two people or photos.
    """
    labels = faces.labels()
    members = [
        rows[:photos] for p in range(len(faces.people())) if len(rows := (labels == p).nonzero()[:, 0]) >= photos
    ]
    if len(members) < 2 or photos < 2:
        raise EffaceError(
            f"found {len(members)} people with {photos} photos, expected at least 2 people with 2 photos or more; "
            "add photos, or ask for fewer of each"
        )
    conditions = faces.embeddings[torch.stack(members[:people])]  # [people, photos, d]
    names = cross_attention_layers(target.parts.unet)
    sums = {name: torch.zeros(3, dtype=torch.float64) for name in names}
    for _ in range(draws):
        z = target.draw(1, generator)
        t = torch.randint(len(target.parts.schedule.alphas), (1,), generator=generator).to(target.device)
        for name, found in _of_one_draw(target, names, conditions, z, t).items():
            sums[name] += found
        if tick:
            tick(1)
    return tuple(_layer(name, *sums[name].tolist()) for name in names)


def proposed_scope(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Names of the blocks that the header proposes, in the network's order."""
    level = mean(layer.separation for layer in layers)
    blocks = dict.fromkeys(layer.block for layer in layers)
    return tuple(b for b in blocks if mean(layer.separation for layer in layers if layer.block == b) >= level)


def _layer(name: str, between: float, within: float, stream: float) -> Layer:
    between = max(between, 0.0)
    return Layer(name, (between / stream) ** 0.5, between / (between + within) if between else 0.0)


def _of_one_draw(
    target: DiffusionTarget, names: Sequence[str], conditions: Tensor, z: Tensor, t: Tensor
) -> dict[str, Tensor]:
    """(between, within, E h²) of each layer."""
    people, photos, _ = conditions.shape
    totals: dict[str, Tensor] = {}
    scalars = {name: torch.zeros(3, dtype=torch.float64) for name in names}
    for some in conditions.split(max(1, ROWS // photos)):
        rows = len(some) * photos
        with _heard(target, names) as heard:
            target.noise(z.expand(rows, -1, -1, -1), t.expand(rows), target.condition(some.flatten(0, 1)))
        for name in names:
            added, stream = heard[name]
            means = added.unflatten(0, (len(some), photos)).mean(1)
            spread = added.unflatten(0, (len(some), photos)) - means[:, None]
            size = means[0].numel()
            totals[name] = totals.get(name, torch.zeros_like(means[0])) + means.sum(0)
            scalars[name] += torch.tensor(
                [
                    float(means.square().sum()) / size,
                    float(spread.square().sum()) / size / (photos - 1),
                    float(stream.square().mean()) * len(some),
                ],
                dtype=torch.float64,
            )
    found = {}
    for name, (squares, within, stream) in ((n, s.tolist()) for n, s in scalars.items()):
        of_means = (squares - float(totals[name].square().mean()) / people) / (people - 1)
        found[name] = torch.tensor([of_means - within / people / photos, within / people, stream / people]).double()
    return found


@contextmanager
def _heard(target: DiffusionTarget, names: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """What each layer adds to its stream, and the stream, float64 [n, positions, channels], after a pass within."""
    unet, added, streams = target.parts.unet, {}, {}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    handles = []
    for name in names:
        handles.append(
            unet.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: added.__setitem__(name, output.double())
            )
        )
        norm = f"{name.removesuffix('attn2')}norm2"
        handles.append(
            unet.get_submodule(norm).register_forward_pre_hook(
                lambda _module, inputs, name=name: streams.__setitem__(name, inputs[0].double())
            )
        )
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
    found.update({name: (added[name], streams[name]) for name in names})
