"""What gradient methods train, and on what: the last blocks of a network, and the seen photos as they enter them."""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import training
from efface.errors import EffaceError
from efface.methods.unlearner import Request
from efface.targets.recognition import RecognitionTarget

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Features [b, ...] as they enter the trained blocks; labels int64 [b], −1 for the retained; frozen unit embeddings
[b, d] of the retained, zeros for the forgotten; bool [b], false where the features are a variation of a photo's."""

CHECKED = 4
"""Photos on which the trained part is compared with the whole network."""


class LastBlocks(nn.Module):
    """The last `count` blocks of a clone of a target (0: the whole network), to be trained.

    What enters them does not change while they are trained, so `entering` computes it once per photo and the forward
    pass starts there: features -> unit embeddings [n, d]. BatchNorm keeps its statistics (`fit` trains in evaluation
    mode; photos of a handful of people would spoil them), and what the network holds fixed stays fixed.
    """

    def __init__(self, target: RecognitionTarget, count: int) -> None:
        super().__init__()
        groups = target.spec.blocks
        if count not in range(len(groups) + 1):
            raise EffaceError(f"blocks: found {count}, expected 0 (all) to {len(groups)}, the blocks of this network")
        self.count = count
        self.clone = target.clone()
        trained = self.clone.last_blocks(count)
        for parameter in trained:
            parameter.requires_grad_(True)
        network = self.clone.network
        self.first = groups[-count][0] if 0 < count < len(groups) else None
        self.tail = network
        if self.first is not None:
            shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
            self.tail = copy.deepcopy(network, shared)  # the same tensors, so training the tail trains the clone
            for name in (name for group in groups[:-count] for name in group):
                self.tail.set_submodule(name, nn.Identity())

    def trained(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [p for p in self.tail.parameters() if p.requires_grad]

    @torch.no_grad()
    def entering(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Crops uint8 [n, 3, 112, 112] -> (features [n, ...] as they enter the first trained block, unit embeddings
        [n, d] of the network as it stands), both float32 on the CPU.

        Raises EffaceError where the trained part does not make the whole network's embeddings out of these features: a
        network may compute something between its blocks.
        """
        if self.first is None:
            return pixels.float(), self.clone.embed(pixels)
        if len(pixels):
            self._check(self.first, pixels[:CHECKED])
        return self._entering(self.first, pixels)

    def _entering(self, first: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
        taken: list[Tensor] = []
        module = self.clone.network.get_submodule(first)
        handle = module.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0].cpu()))
        try:
            embeddings = self.clone.embed(pixels)
        finally:
            handle.remove()
        return torch.cat(taken) if taken else torch.empty(0), embeddings

    def _check(self, first: str, pixels: Tensor) -> None:
        features, whole = self._entering(first, pixels)  # the same batch, so that the same kernels compute both
        try:
            part = self(features.to(self.clone.device)).float().cpu()
            same = part.shape == whole.shape and torch.allclose(part, whole, atol=1e-4)
        except Exception:  # shapes that do not fit raise many kinds
            same = False
        if not same:
            raise EffaceError(
                f"blocks: the last {self.count} of {len(self.clone.spec.blocks)} blocks of {self.clone.spec.name} do "
                "not make the embeddings of the whole network, expected them to; train all blocks: blocks 0"
            )

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.outputs(features), dim=-1)

    def outputs(self, features: Tensor) -> Tensor:
        """The embeddings before normalisation [n, d]."""
        return training.spread(self._outputs, features)

    def _outputs(self, features: Tensor) -> Tensor:
        return self.tail(self.clone.inputs(features) if self.first is None else features)

    def result(self) -> RecognitionTarget:
        """The clone with what was trained, requiring no gradient any more."""
        for parameter in self.trained():
            parameter.grad = None
            parameter.requires_grad_(False)
        return self.clone


@dataclass(frozen=True)
class Seen:
    """The seen photos of a request, as training draws them."""

    forget: Tensor
    """Features [n, ...] of the forgotten."""
    labels: Tensor
    """int64 [n]: position of each one's person among the people to forget."""
    given: Tensor
    """Unit embeddings [n, d] of the forgotten under the original model."""
    retain: Tensor
    """Features [m, ...] of the retained, photos of one person next to each other."""
    before: Tensor
    """Unit embeddings [m, d] of the retained under the original model, computed once."""
    start: Tensor
    """int64 [m]: position of the first photo of the same retained person."""
    count: Tensor
    """int64 [m]: how many photos that person has."""

    @classmethod
    def of(cls, blocks: LastBlocks, request: Request) -> "Seen":
        order = request.retain.labels().argsort(stable=True)
        retained = request.retain.take(order)
        sizes = retained.labels().bincount()
        forget, given = blocks.entering(request.forget.pixels)
        retain, before = blocks.entering(retained.pixels)
        start = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        return cls(forget, request.forget.labels(), given, retain, before, start, sizes.repeat_interleave(sizes))

    def draw(
        self, generator: torch.Generator, *, people: int, photos: int, retained: int, variations: int = 0
    ) -> Batch:
        """Up to `people` of the forgotten with up to `photos` photos each, then up to `retained` retained photos.

        variations: how often each photo of the forgotten is repeated with the difference between two photos of one
        retained person added to its features, as a guess at what an unseen photo would look like. More than 0 needs
        a retained person with two photos.
        """
        chosen = _some(torch.arange(int(self.labels.max()) + 1), people, generator)
        rows = torch.cat([_some((self.labels == p).nonzero().flatten(), photos, generator) for p in chosen])
        kept = _some(torch.arange(len(self.retain)), retained, generator)
        features = [self.forget[rows]]
        features += [self.forget[rows] + self._difference(len(rows), generator) for _ in range(variations)]
        forgotten = len(rows) * (variations + 1)
        labels = torch.cat([self.labels[rows].repeat(variations + 1), torch.full((len(kept),), -1)])
        before = torch.cat([self.before.new_zeros(forgotten, self.before.shape[1]), self.before[kept]])
        real = torch.ones(len(labels), dtype=torch.bool)
        real[len(rows) : forgotten] = False
        return torch.cat([*features, self.retain[kept]]), labels, before, real

    def _difference(self, number: int, generator: torch.Generator) -> Tensor:
        """`number` differences [number, ...] between the features of two photos of one retained person."""
        several = (self.count > 1).nonzero().flatten()
        one = several[torch.randint(len(several), (number,), generator=generator)]
        step = 1 + (torch.rand(number, generator=generator) * (self.count[one] - 1)).long()
        other = self.start[one] + (one - self.start[one] + step) % self.count[one]
        return self.retain[one] - self.retain[other]


def _some(candidates: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """All of them in random order, or `most` of them."""
    return candidates[torch.randperm(len(candidates), generator=generator)[:most]]


def drift(embeddings: Tensor, before: Tensor) -> Tensor:
    """The retain term: mean of 1 − cos between unit embeddings [n, d] now and before; 0 for none."""
    return (1 - (embeddings * before).sum(-1)).sum() / max(len(embeddings), 1)


def same_person(labels: Tensor) -> Tensor:
    """bool [n, n]: pairs of different photos of one person; labels int64 [n]."""
    return (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
