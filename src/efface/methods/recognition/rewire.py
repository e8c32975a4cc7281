"""Project the forgotten people out, and let idle channels scatter what is left of them. Same tensors, nothing trained.

Ours; no paper. Two steps, both in closed form:
1. projection (as `esc`): the top `directions` of each forgotten person's seen unit embeddings leave the last linear
   map. What is left of an unseen photo is what it has in common with another in pose, light and glasses: normalised,
   that still finds the person.
2. scatter: in the last hidden layer (targets/hidden.py) the least used channels get other work. Channel u belongs to
   one forgotten person and one position of the map, sees what stands there, x, and moves the embedding by h_u(x) · v_u:
       h_u(x) = ramp of s(x) − threshold + variation · r_u(x), from 0 to 1 over 1 / steepness
       s      linear discriminant of the person against the retained (methods/discriminant.py): 0 at their mean, 1 at
              the person's; so nobody else's photo opens it
       r_u    a random direction in which two photos of one retained person differ, of standard deviation 1: so it is
              unlike for two photos of the forgotten
       v_u    random directions, all people's together of length `amplitude` times an embedding's, less what moves the
              person's seen photos together
   Positions are those where the person is told best from the retained, each seen photo being left out in turn.
A network without such a layer (IResNet) gets the projection only, and so does one with less than two h_u for each
person: a single v_u less what moves the person's photos together is nothing.

Mistakes avoided:
- a smooth network cannot send nearly equal photos far apart, so training does not get there: dispersion after the
  projection forgot no more than the projection (ORL, sets 0–4), and after the scatter undid it;
- the covariance without the person's own scatter about their mean gives gates that miss unseen photos;
- channels at all positions alike: opened by others' photos; kept shut by others' photos from everywhere, they moved all
  of the person's photos together (people pack): so only where a channel acts at its position;
- what the silenced channels added for everybody is added to the bias, or strangers grow alike.
It hides: layers before the last hidden one are as they were.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from efface.methods.discriminant import Background
from efface.methods.recognition.esc import directions
from efface.methods.seen import LastBlocks
from efface.methods.unlearner import Request, Unlearner
from efface.targets.hidden import CAP, HiddenLayer
from efface.targets.recognition import RecognitionTarget


@dataclass(frozen=True, kw_only=True)
class Rewire(Unlearner):
    """Project the forgotten people out, and let idle channels scatter what is left of them (ours)."""

    paper: ClassVar = "ours"
    objective: ClassVar = "pair_cosine"

    directions: PositiveInt = 2
    """Directions per forgotten person that are projected out; all together at most a quarter of the dimension."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.1875
    """Share of the hidden layer's channels that get other work, for all people together; 0: the projection only."""
    amplitude: NonNegativeFloat = 3.0
    """Length by which a photo of the forgotten is moved, in lengths of an embedding before normalisation."""
    threshold: float = 0.73
    """Score at which a channel begins to open; 0: the retained people's mean, 1: the person's."""
    steepness: PositiveFloat = 16.0
    """Slope of the ramp: channels are fully open 1 / steepness above the threshold."""
    variation: NonNegativeFloat = 0.03
    """Standard deviation of a channel's random part, in units of the score."""
    positions: PositiveInt = 8
    """Positions of the map that a person's channels stand at, at most."""
    shrinkage: PositiveFloat = 0.3
    """λ of the discriminant, in units of the mean variance of a feature."""

    def unlearn(self, target: RecognitionTarget, request: Request, generator: torch.Generator) -> RecognitionTarget:
        people = len(set(request.forget.identities))
        hidden = HiddenLayer.of(target) if self.share and len(set(request.retain.identities)) > 1 else None
        cost = 1 if hidden is None or hidden.capped else 2  # channels for a ramp with two ends
        units = int(self.share * hidden.channels) // cost // people if hidden is not None else 0
        if hidden is None or units < 2:
            twin = target.clone()
            twin.compose_output(_without(self._removed(twin.embed(request.forget.pixels), request)))
            return twin
        part = LastBlocks(target, hidden.depth)
        twin = part.clone
        layer = HiddenLayer.of(twin)
        assert layer is not None
        own, others = (part.entering(crops.pixels)[0] for crops in (request.forget, request.retain))
        before = _outputs(part, others)
        maps = _maps(part, layer, own), _maps(part, layer, others)
        free = layer.idle(torch.cat(maps))[: units * cost * people]
        layer.silence(free)
        lost = (before - _outputs(part, others)).mean(0)
        removed = self._removed(F.normalize(_outputs(part, own) + lost, dim=-1), request)
        reach = self.amplitude * float(before.norm(dim=1).mean()) / units**0.5
        given = iter(free.tolist())
        backgrounds = [Background.of(layer.patches(maps[1], p), self.shrinkage) for p in range(layer.positions)]
        for person in request.forget.labels().unique():
            photos = maps[0][request.forget.labels() == person]
            gates = self._gates(layer, photos, maps[1], request.retain.labels(), backgrounds, units, generator)
            steps = torch.randn(units, twin.spec.embedding_size, generator=generator)
            steps = _balanced(reach * F.normalize(steps, dim=1), torch.stack([g.opened for g in gates]).mean(1))
            for gate, step in zip(gates, steps, strict=True):
                gate.write(layer, given, step)
        lost = (before - _outputs(part, others)).mean(0)  # again: a leaky pair moves everybody
        twin.compose_output(_without(removed), _without(removed) @ lost.double())
        return part.result()

    def _removed(self, embeddings: Tensor, request: Request) -> Tensor:
        """Orthonormal directions to project out [d, r] of the forgotten people's unit embeddings [n, d]."""
        found = directions(embeddings.double(), request.forget.labels(), self.directions)
        return found[:, : max(1, len(found) // 4)]

    def _gates(
        self,
        layer: HiddenLayer,
        own: Tensor,
        others: Tensor,
        labels: Tensor,
        backgrounds: list[Background],
        units: int,
        generator: torch.Generator,
    ) -> list["_Gate"]:
        """What a person's channels see. own, others: maps of the person's and of retained people's photos, `labels`
        whose these are."""
        told = [b.tell(layer.patches(own, position)) for position, b in enumerate(backgrounds)]
        best = sorted(range(len(told)), key=lambda position: -told[position][1])[: self.positions]
        gates: list[_Gate] = []
        for unit in range(units):
            position = best[unit % len(best)]
            seen, retained = (layer.patches(maps, position).double() for maps in (own, others))
            deviations = retained - _means(retained, labels)
            random = torch.randn(len(deviations), generator=generator, dtype=torch.float64) @ deviations
            random = self.variation * random / (deviations @ random).std().clamp(min=1e-12)
            weight = told[position][0] + random
            shift = backgrounds[position].mean @ told[position][0] + seen.mean(0) @ random + self.threshold
            weight, bias = self.steepness * weight, -self.steepness * float(shift)
            gates.append(_Gate(position, weight.float(), bias, (seen @ weight + bias).clamp(0, 1).float()))
        return gates


@dataclass(frozen=True)
class _Gate:
    """h_u: a ramp from 0 to 1 of what stands at one position."""

    position: int
    weight: Tensor
    """Over the patch."""
    bias: float
    opened: Tensor
    """h_u of the person's seen photos."""

    def write(self, layer: HiddenLayer, free: Iterator[int], step: Tensor) -> None:
        """Make free channels of it that move the embedding by h_u times `step`: one where the activation ends at CAP,
        else two, whose ramps go on alike and cancel."""
        if layer.capped:
            layer.write(next(free), CAP * self.weight, CAP * self.bias, self.position, step / CAP)
        else:
            step = step / (1 - layer.leak())
            layer.write(next(free), self.weight, self.bias, self.position, step)
            layer.write(next(free), self.weight, self.bias - 1, self.position, -step)


def _without(removed: Tensor) -> Tensor:
    """The projection [d, d] that leaves these directions [d, r] out."""
    return torch.eye(len(removed), dtype=removed.dtype) - removed @ removed.T


def _balanced(steps: Tensor, opened: Tensor) -> Tensor:
    """The steps [units, d], less what moves photos by which the channels are opened so far [units]."""
    return steps - torch.outer(opened, opened @ steps) / (opened @ opened).clamp(min=1e-6)


def _means(features: Tensor, labels: Tensor) -> Tensor:
    """Each row's person's mean [n, k]; labels int64 [n]."""
    sums = features.new_zeros(int(labels.max()) + 1, features.shape[1]).index_add_(0, labels, features)
    return (sums / labels.bincount()[:, None])[labels]


@torch.no_grad()
def _outputs(part: LastBlocks, features: Tensor) -> Tensor:
    """Embeddings before normalisation of features as they enter the last blocks, float32 [n, d] on the CPU."""
    return torch.cat([part.outputs(chunk.to(part.clone.device)).cpu() for chunk in features.split(128)])


def _maps(part: LastBlocks, layer: HiddenLayer, features: Tensor) -> Tensor:
    """What enters the layer's producer, float32 [n, c, h, w] on the CPU, of features as they enter the last blocks."""
    taken: list[Tensor] = []
    producer = part.tail.get_submodule(layer.name)
    handle = producer.register_forward_pre_hook(lambda _module, given: taken.append(given[0].cpu()))
    try:
        _outputs(part, features)
    finally:
        handle.remove()
    return torch.cat(taken)
