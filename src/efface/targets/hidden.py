"""The last hidden layer of a recogniser, whose channels can be given other work without a change of name or shape.

    producer (dense convolution) [-> BatchNorm] -> activation
    -> what treats each channel alone (depthwise convolution, BatchNorm, activation), if anything does
    -> consumer (linear map, or 1 × 1 convolution of what is 1 × 1) -> what is affine from here on -> embedding before
       normalisation

Found by following one photo through the network, so a network need not say where it is. It is one only where a channel
can act at one position of its map alone: where the consumer has a weight for each position, or a depthwise convolution
before it takes in the whole map (IResNet's last hidden layer shares its weights over positions).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.targets.recognition import RecognitionTarget

CAP = 6.0
"""Where ReLU6 ends."""
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU)
LINEAR = 0.9
"""Slope for negative values from which an activation is no ramp."""
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)


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
    """d(embedding before normalisation) / d(output of the consumer) [d, out]."""

    @classmethod
    def of(cls, target: RecognitionTarget) -> "HiddenLayer | None":
        """The last hidden layer; None for a network that does not end as the head of this file says."""
        calls = _followed(target)
        for call in reversed([c for c in calls if isinstance(c.module, ACTIVATIONS)]):
            before = _makers(calls, call.given)
            scale = before[0].module if before and _rests(before[0].module) else None
            if scale is not None:
                before = _makers(calls, before[0].given)
            producer = before[0].module if before else None
            if not _plain(producer) or producer.groups != 1 or call.made.dim() != 4:
                continue
            found = _chain(calls, call)
            if found is None or (scale is None and producer.bias is None):
                return None
            passes, consumer = found
            own = {producer, scale, call.module, *passes, consumer}
            if sum(c.module in own for c in calls) > len(own - {None}):
                return None  # what is written for this layer would change another
            slopes = _slopes(target, call.module, consumer)
            if slopes is None:
                return None
            names = {module: name for name, module in target.network.named_modules()}
            sides = (call.made.shape[2], call.made.shape[3])
            layer = cls(target, names[producer], producer, scale, call.module, tuple(passes), consumer, sides, slopes)
            return layer if layer.leak() < LINEAR else None
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
        spreads widely. maps: what enters the producer [n, c, h, w]."""
        count, total, squares = 0, torch.zeros(self.channels, dtype=torch.float64), torch.zeros(())
        for chunk in maps.split(128):
            z = self.producer(chunk.to(self.producer.weight.device))
            z = (z if self.scale is None else self.scale(z)).cpu().double().transpose(0, 1).flatten(1)
            count, total, squares = count + z.shape[1], total + z.sum(1), squares + z.square().sum(1)
        use = (squares / count - (total / count).square()).clamp(min=0).sqrt()
        use = use * self._columns().flatten(1).norm(dim=1).cpu()
        for module in self.passes:
            if isinstance(module, nn.Conv2d):
                use = use * module.weight.flatten(1).norm(dim=1).cpu()
            elif isinstance(module, NORMALISATIONS):
                use = use * _gain(module).abs().cpu()
        return use.argsort()

    def _columns(self) -> Tensor:
        """The consumer's weights by channel [channels, out, positions], a view."""
        weight = self.consumer.weight
        return weight.view(len(weight), self.channels, -1).transpose(0, 1)

    @torch.no_grad()
    def silence(self, channels: Tensor) -> None:
        """Let nothing of these channels reach the embedding."""
        self._columns()[channels] = 0

    @torch.no_grad()
    def write(self, channel: int, weight: Tensor, bias: float, position: int, step: Tensor) -> None:
        """Make a channel's activation act(weight · patch + bias), and let it move the embedding before normalisation by
        itself times `step` [d], or the multiple of what lies nearest to it in reach.

        weight: over `patches` at `position`.
        """
        self.producer.weight[channel] = weight.view_as(self.producer.weight[channel])
        if self.scale is None:
            assert self.producer.bias is not None
            self.producer.bias[channel] = bias
        else:
            _straighten(self.scale, channel, bias - (0 if self.producer.bias is None else self.producer.bias[channel]))
        if isinstance(self.activation, nn.PReLU) and len(self.activation.weight) > 1:
            self.activation.weight[channel] = 0
        place = position
        for module in self.passes:
            if isinstance(module, nn.Conv2d):
                kernel = module.weight[channel, 0]
                row, column = (side // 2 for side in kernel.shape)
                if module.kernel_size == self.sides and _pair(module.padding) == (0, 0):  # it takes in the whole map
                    row, column, place = *divmod(place, kernel.shape[1]), 0
                kernel.zero_()
                kernel[row, column] = 1
                if module.bias is not None:
                    module.bias[channel] = 0
            elif isinstance(module, NORMALISATIONS):
                _straighten(module, channel, 0)
        columns = self._columns()
        columns[channel] = 0
        columns[channel, :, place] = self._reached(step).to(columns)

    def _reached(self, step: Tensor) -> Tensor:
        """The smallest move of the consumer's output [out] by which the embedding comes nearest to the direction of
        step [d], made as long; float64 on the CPU."""
        given = step.cpu().double()
        found = self._inverse @ given
        return found * given.norm() / (self.slopes.cpu().double() @ found).norm().clamp(min=1e-12)

    @cached_property
    def _inverse(self) -> Tensor:
        """The pseudo-inverse of the slopes [out, d], float64 on the CPU."""
        return torch.linalg.pinv(self.slopes.cpu().double())

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
    """A photo of noise, as the network wants it: nothing that it passes through leaves it as it was by chance."""
    generator = torch.Generator().manual_seed(0)
    return target.inputs(torch.randint(256, (1, 3, 112, 112), generator=generator, dtype=torch.uint8))


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether both are the same values in the same order, however shaped and wherever: flattened, a map whose channels
    stand next to each other in memory is copied."""
    return a.numel() == b.numel() and torch.equal(a.flatten(), b.flatten())


def _makers(calls: Sequence[_Call], made: Tensor) -> list[_Call]:
    return [c for c in calls if _same(c.made, made) and not _same(c.given, made)]


def _takers(calls: Sequence[_Call], given: Tensor) -> list[_Call]:
    return [c for c in calls if _same(c.given, given) and not _same(c.made, given)]


def _chain(calls: Sequence[_Call], activation: _Call) -> tuple[list[nn.Module], nn.Conv2d | nn.Linear] | None:
    """From an activation through what treats each channel alone to the consumer; None where there is none."""
    passes: list[nn.Module] = []
    made = activation.made
    channels = made.shape[1]
    while True:
        takers = _takers(calls, made)
        if len(takers) != 1:
            return None
        (call,) = takers
        module = call.module
        if type(module) is nn.Linear and module.in_features == made[0].numel():
            return passes, module
        if _plain(module):
            sides, kernel, around = call.given.shape[2:], module.kernel_size, _pair(module.padding)
            if module.groups == 1:
                return (passes, module) if kernel == sides == (1, 1) and around == (0, 0) else None
            whole = kernel == sides and around == (0, 0)
            centred = call.made.shape[2:] == sides and all(k == 2 * p + 1 for k, p in zip(kernel, around, strict=True))
            if module.groups != channels or module.out_channels != channels or not (whole or centred):
                return None
        elif _rests(module):
            if module.num_features != channels:
                return None
        elif not isinstance(module, ACTIVATIONS):
            return None
        passes.append(module)
        made = call.made


def _plain(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution that only multiplies, adds and pads with zeros, and does not skip pixels between its
    taps."""
    return (
        type(module) is nn.Conv2d
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _rests(module: nn.Module) -> TypeGuard[nn.BatchNorm1d | nn.BatchNorm2d]:
    """Whether it is a BatchNorm with weights and kept statistics."""
    return isinstance(module, NORMALISATIONS) and module.affine and module.running_var is not None


def _slopes(target: RecognitionTarget, activation: nn.Module, consumer: nn.Module) -> Tensor | None:
    """`HiddenLayer.slopes`; None where the embedding is no affine function of the consumer's output, or where the
    activation gets to it by another way too."""
    generator = torch.Generator().manual_seed(0)
    taken: list[Tensor] = []
    moved: list[Tensor] = []

    def disturb(_module: nn.Module, _given: Any, made: Tensor) -> Tensor:
        noise = torch.randn(made.shape, generator=generator).to(made)
        return made + noise if moved else made

    def take(_module: nn.Module, _given: Any, made: Tensor) -> Tensor:
        if moved:
            return taken[0].detach() + moved[0]
        taken.append(made.detach().requires_grad_())
        return taken[0]

    handles = [activation.register_forward_hook(disturb), consumer.register_forward_hook(take)]
    try:
        with torch.enable_grad():
            outcome = target.network(_example(target))[0]
            each = torch.eye(len(outcome), device=outcome.device)
            slopes = torch.autograd.grad(outcome, taken[0], each, is_grads_batched=True)[0].flatten(1)
        moved.append(torch.randn(taken[0].shape, generator=generator).to(slopes))
        with torch.no_grad():
            there = target.network(_example(target))[0]
    finally:
        for handle in handles:
            handle.remove()
    expected = outcome.detach() + slopes @ moved[0].flatten()
    return slopes if torch.allclose(there, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())) else None


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
