"""The last hidden layer of a recogniser, whose channels can be given other work without a change of name or shape.

    producer (dense convolution) [-> BatchNorm] -> activation
    -> what treats each channel alone (depthwise convolution, BatchNorm, activation), if anything does
    -> consumer (dense convolution or linear map) -> what is affine from here on -> embedding before normalisation

Found by following one photo through the network, so a network need not say where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.targets.recognition import RecognitionTarget

CAP = 6.0
"""Where ReLU6 ends."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU)
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
LINEAR = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class _Call:
    """What one module made of a photo."""

    module: nn.Module
    given: Tensor
    made: Tensor


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Channels of the last hidden layer of `target`; writing them changes the target's weights in place."""

    target: RecognitionTarget
    name: str
    """The producer's name in the network."""
    producer: nn.Conv2d
    scale: nn.Module | None
    """BatchNorm behind the producer."""
    activation: nn.Module
    passes: tuple[nn.Module, ...]
    """What stands between activation and consumer and treats each channel alone, in order."""
    consumer: nn.Conv2d | nn.Linear
    sides: tuple[int, int]
    """Height and width of the activation's map."""
    slopes: Tensor
    """d(embedding before normalisation) / d(output of the consumer) [d, out, h, w]; 1 × 1 behind a linear map."""

    @classmethod
    def of(cls, target: RecognitionTarget) -> "HiddenLayer | None":
        """The last hidden layer; None for a network that does not end as the head of this file says."""
        calls = _followed(target)
        for call in reversed([c for c in calls if isinstance(c.module, ACTIVATIONS)]):
            before = _makers(calls, call.given)
            scale = before[0].module if before and isinstance(before[0].module, NORMALISATIONS) else None
            if scale is not None:
                before = _makers(calls, before[0].given)
            producer = before[0].module if before else None
            if not isinstance(producer, nn.Conv2d) or producer.groups != 1 or call.made.dim() != 4:
                continue
            found = _chain(calls, call)
            if found is None:
                break
            passes, consumer = found
            if scale is None and producer.bias is None:
                break
            slopes = _slopes(target, consumer)
            if slopes is None:
                break
            assert isinstance(consumer, LINEAR)
            sides = (call.made.shape[2], call.made.shape[3])
            names = {module: name for name, module in target.network.named_modules()}
            return cls(target, names[producer], producer, scale, call.module, tuple(passes), consumer, sides, slopes)
        return None

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.producer.out_channels

    @property
    def capped(self) -> bool:
        """Whether the activation has an upper end, 6."""
        return isinstance(self.activation, nn.ReLU6)

    @property
    def local(self) -> bool:
        """Whether a written channel acts at its own position alone."""
        return isinstance(self.consumer, nn.Linear) or any(self._whole(module) for module in self.passes)

    @property
    def positions(self) -> int:
        """How many places the activation's map has."""
        return self.sides[0] * self.sides[1]

    @property
    def depth(self) -> int:
        """How many of the network's last blocks hold all from the producer on."""
        groups = self.target.spec.blocks
        return len(groups) - next(i for i, group in enumerate(groups) if any(self._within(name) for name in group))

    def _within(self, group: str) -> bool:
        return f"{self.name}.".startswith(f"{group}.")

    def _whole(self, module: nn.Module) -> bool:
        """Whether it is a depthwise convolution that takes in the whole map at once."""
        return isinstance(module, nn.Conv2d) and module.kernel_size == self.sides and _pair(module.padding) == (0, 0)

    @torch.no_grad()
    def maps(self, tail: nn.Module, features: Tensor, batch: int = 128) -> Tensor:
        """What enters the producer, float32 [n, c, h, w] on the CPU. tail: the network, or its end with the same names;
        features: what enters that."""
        taken: list[Tensor] = []
        handle = tail.get_submodule(self.name).register_forward_pre_hook(lambda _m, given: taken.append(given[0].cpu()))
        try:
            for chunk in features.split(batch):
                tail(chunk.to(self.target.device))
        finally:
            handle.remove()
        return torch.cat(taken)

    def patches(self, maps: Tensor, position: int) -> Tensor:
        """What the producer sees at one position of its output (row by row): maps [n, c, h, w] -> [n, c · kh · kw]."""
        row, column = divmod(position, self.sides[1])
        (kh, kw), (sh, sw), (ph, pw) = (_pair(v) for v in (
            self.producer.kernel_size, self.producer.stride, self.producer.padding
        ))  # fmt: skip
        padded = F.pad(maps, (pw, pw, ph, ph))
        return padded[:, :, row * sh : row * sh + kh, column * sw : column * sw + kw].flatten(1)

    @torch.no_grad()
    def idle(self, maps: Tensor) -> Tensor:
        """The channels, the least used first, int64 [channels]: spread of what enters the activation over photos and
        positions, times the size of the weights behind. Rewired channels are far from the first ones: what enters them
        spreads widely."""
        z = self.producer(maps.to(self.producer.weight.device))
        z = z if self.scale is None else self.scale(z)
        use = z.transpose(0, 1).flatten(1).std(dim=1) * self._columns().flatten(1).norm(dim=1)
        for module in self.passes:
            if isinstance(module, nn.Conv2d):
                use = use * module.weight.flatten(1).norm(dim=1)
            elif isinstance(module, NORMALISATIONS):
                use = use * _gain(module).abs()
        return use.argsort().cpu()

    def _columns(self) -> Tensor:
        """The consumer's weights by channel [channels, out, positions or taps], a view."""
        weight = self.consumer.weight
        if isinstance(self.consumer, nn.Linear):
            return weight.view(len(weight), self.channels, -1).transpose(0, 1)
        return weight.flatten(2).transpose(0, 1)

    @torch.no_grad()
    def silence(self, channels: Tensor) -> None:
        """Let nothing of these channels reach the embedding."""
        self._columns()[channels] = 0

    @torch.no_grad()
    def write(self, channel: int, weight: Tensor, bias: float, position: int, step: Tensor) -> None:
        """Make a channel's activation act(weight · patch + bias), and let it move the embedding before normalisation by
        itself times `step` [d], or the multiple of what lies nearest to it in reach.

        weight: over `patches` at `position`. Behind a convolution the channel moves it at other positions too.
        """
        self.producer.weight[channel] = weight.view_as(self.producer.weight[channel])
        if self.scale is None:
            assert self.producer.bias is not None
            self.producer.bias[channel] = bias
        else:
            _straighten(self.scale, channel, bias - (0 if self.producer.bias is None else self.producer.bias[channel]))
        if isinstance(self.activation, nn.PReLU) and len(self.activation.weight) > 1:
            self.activation.weight[channel] = 0
        chosen = position
        for module in self.passes:
            if isinstance(module, nn.Conv2d):
                kernel = torch.zeros_like(module.weight[channel, 0])
                if self._whole(module):
                    kernel.view(-1)[position], chosen = 1, 0
                else:
                    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
                module.weight[channel, 0] = kernel
                if module.bias is not None:
                    module.bias[channel] = 0
            elif isinstance(module, NORMALISATIONS):
                _straighten(module, channel, 0)
        self._aim(channel, chosen, step)

    def _aim(self, channel: int, position: int, step: Tensor) -> None:
        """The consumer's weights for which the channel, where it is 1 at `position`, moves the embedding by `step`."""
        slopes = self.slopes
        columns = self._columns()
        if isinstance(self.consumer, nn.Linear):
            reach = slopes.flatten(1)
            columns[channel] = 0
            columns[channel, :, position] = _reached(reach, step)
            return
        (kh, kw), (sh, sw), (ph, pw) = (_pair(v) for v in (
            self.consumer.kernel_size, self.consumer.stride, self.consumer.padding
        ))  # fmt: skip
        width = 1 if slopes.shape[2:] == (1, 1) and (kh, kw) == (1, 1) else self.sides[1]
        row, column = divmod(position, width)
        reach = slopes.new_zeros(*slopes.shape[:2], kh, kw)
        for s in range(kh):
            for t in range(kw):
                (i, r), (j, q) = divmod(row + ph - s, sh), divmod(column + pw - t, sw)
                if not r and not q and 0 <= i < slopes.shape[2] and 0 <= j < slopes.shape[3]:
                    reach[:, :, s, t] = slopes[:, :, i, j]
        columns[channel] = _reached(reach.flatten(1), step).view_as(columns[channel])

    def leak(self) -> float:
        """What the activation lets through of a negative value: its factor where a written channel cannot have 0."""
        if isinstance(self.activation, nn.PReLU):
            return 0.0 if len(self.activation.weight) > 1 else float(self.activation.weight)
        return float(self.activation.negative_slope) if isinstance(self.activation, nn.LeakyReLU) else 0.0


def _followed(target: RecognitionTarget) -> list[_Call]:
    """The calls of all modules without children on one photo, in order."""
    calls: list[_Call] = []

    def note(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        if given and isinstance(given[0], Tensor) and isinstance(made, Tensor):
            calls.append(_Call(module, given[0], made))

    leaves = [m for m in target.network.modules() if not next(m.children(), None)]
    handles = [m.register_forward_hook(note) for m in leaves]
    try:
        with torch.no_grad():
            target.network(_example(target))
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _example(target: RecognitionTarget) -> Tensor:
    """A photo of nothing, as the network wants it."""
    return target.inputs(torch.full((1, 3, 112, 112), 128, dtype=torch.uint8))


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether both are the same values in memory, however shaped."""
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() and a.numel() == b.numel()


def _makers(calls: Sequence[_Call], made: Tensor) -> list[_Call]:
    return [c for c in calls if _same(c.made, made) and not _same(c.given, made)]


def _takers(calls: Sequence[_Call], given: Tensor) -> list[_Call]:
    return [c for c in calls if _same(c.given, given) and not _same(c.made, given)]


def _chain(calls: Sequence[_Call], activation: _Call) -> tuple[list[nn.Module], nn.Module] | None:
    """From an activation through what treats each channel alone to the dense map that follows; None where there is
    none."""
    passes: list[nn.Module] = []
    made = activation.made
    while True:
        takers = _takers(calls, made)
        if len(takers) != 1:
            return None
        (call,) = takers
        module = call.module
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            return passes, module
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels
        if not (depthwise or isinstance(module, (*NORMALISATIONS, *ACTIVATIONS))):
            return None
        passes.append(module)
        made = call.made


def _slopes(target: RecognitionTarget, consumer: nn.Module) -> Tensor | None:
    """`HiddenLayer.slopes`; None where the embedding is no affine function of the consumer's output."""
    taken: list[Tensor] = []
    moved: list[Tensor] = []

    def take(_module: nn.Module, _given: Any, made: Tensor) -> Tensor:
        leaf = made.detach() + (moved[0] if moved else 0)
        taken.append(leaf.requires_grad_())
        return leaf

    handle = consumer.register_forward_hook(take)
    try:
        with torch.enable_grad():
            outcome = target.network(_example(target))[0]
            rows = [torch.autograd.grad(one, taken[0], retain_graph=True)[0][0] for one in outcome]
        slopes = torch.stack(rows)
        moved.append(torch.randn(taken[0].shape, generator=torch.Generator().manual_seed(0)).to(slopes.device))
        with torch.no_grad():
            there = target.network(_example(target))[0]
    finally:
        handle.remove()
    expected = outcome.detach() + slopes.flatten(1) @ moved[0].flatten()
    if not torch.allclose(there, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        return None
    return slopes.view(len(slopes), slopes.shape[1], *(slopes.shape[2:] or (1, 1)))


def _reached(reach: Tensor, step: Tensor) -> Tensor:
    """The smallest weights [k] by which reach [d, k] comes nearest to the direction of step [d], made as long."""
    found = torch.linalg.lstsq(reach.double().cpu(), step.double().cpu()[:, None], driver="gelsd").solution[:, 0]
    length = (reach.double().cpu() @ found).norm()
    return (found * step.norm().cpu() / length.clamp(min=1e-12)).to(reach)


def _gain(normalisation: nn.Module) -> Tensor:
    """What a BatchNorm at rest multiplies each channel by."""
    assert isinstance(normalisation, NORMALISATIONS) and normalisation.running_var is not None
    return normalisation.weight / (normalisation.running_var + normalisation.eps).sqrt()


def _straighten(normalisation: nn.Module, channel: int, shift: Any) -> None:
    """Make a BatchNorm at rest add `shift` to a channel and do nothing else."""
    assert isinstance(normalisation, NORMALISATIONS)
    assert normalisation.running_mean is not None and normalisation.running_var is not None
    normalisation.weight[channel] = (normalisation.running_var[channel] + normalisation.eps).sqrt()
    normalisation.bias[channel] = normalisation.running_mean[channel] + shift


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))
