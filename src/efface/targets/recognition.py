"""A face recogniser as methods, metrics and attacks see it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface.models.recogniser import Recogniser


@dataclass
class RecognitionTarget:
    """A network with its input convention. Methods work on a `clone()` and leave the original alone."""

    spec: Recogniser
    network: nn.Module
    device: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.network.to(self.device).eval()

    def clone(self) -> "RecognitionTarget":
        """An independent copy with the same weights, every parameter requiring no gradient yet."""
        twin = RecognitionTarget(self.spec, copy.deepcopy(self.network), self.device)
        twin.network.requires_grad_(False)
        return twin

    def inputs(self, pixels: Tensor) -> Tensor:
        """Aligned crops uint8 [n, 3, 112, 112] RGB -> what the network wants, float32 [n, 3, size, size]."""
        convention = self.spec.convention
        x = pixels.to(self.device, torch.float32)
        if x.shape[-1] != convention.size:
            x = F.interpolate(x, (convention.size,) * 2, mode="bilinear", antialias=True, align_corners=False)
        if convention.channels == "BGR":
            x = x.flip(1)
        mean, std = (torch.tensor(v, device=self.device).view(3, 1, 1) for v in (convention.mean, convention.std))
        return (x - mean) / std

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit embeddings [n, d] of crops uint8 [n, 3, 112, 112], with gradient where parameters require it."""
        return F.normalize(self.network(self.inputs(pixels)), dim=-1)

    @torch.no_grad()
    def embed(self, pixels: Tensor, batch: int = 128, tick: Callable[[int], None] | None = None) -> Tensor:
        """Unit embeddings float32 [n, d] on the CPU, without gradient, in evaluation mode; one crop, no flip
        (protocol, line 4). `tick` is told the number of crops after each batch."""
        self.network.eval()
        parts = []
        for chunk in pixels.split(batch):
            parts.append(self.forward(chunk).float().cpu())
            if tick is not None:
                tick(len(chunk))
        return torch.cat(parts) if parts else torch.empty(0, self.spec.embedding_size)

    @contextmanager
    def tapped(self, layer: str) -> Iterator[list[Tensor]]:
        """Collect the outputs of the module named `layer` during the block: one tensor a forward pass."""
        taken: list[Tensor] = []
        handle = self.network.get_submodule(layer).register_forward_hook(lambda _m, _i, out: taken.append(out))
        try:
            yield taken
        finally:
            handle.remove()

    def last_blocks(self, count: int) -> list[nn.Parameter]:
        """Parameters of the last `count` of the network's blocks; 0 means all of them."""
        names = self.spec.blocks[-count:] if count else self.spec.blocks
        return [p for n in names for p in self.network.get_submodule(n).parameters()]

    @torch.no_grad()
    def compose_output(self, matrix: Tensor, offset: Tensor | None = None) -> None:
        """Make the network return `y @ matrix.T + offset` where it returned y, in the same tensors (names and shapes
        stay). matrix [d, d], offset [d]."""
        linear_name, last_name = self.spec.output
        last = self.network.get_submodule(last_name)
        a = matrix.to(self.device, torch.float64)
        c = torch.zeros(len(a), dtype=torch.float64, device=self.device) if offset is None else offset.to(a)
        if linear_name is None:  # a linear map without normalisation
            assert isinstance(last, nn.Linear | nn.Conv2d)
            weight, shift = last.weight, last.bias
            scale = torch.ones(len(a), dtype=torch.float64, device=self.device)
            assert shift is not None
        else:  # linear, then BatchNorm: y = scale · (W x + b) + shift
            linear = self.network.get_submodule(linear_name)
            assert isinstance(linear, nn.Linear | nn.Conv2d) and isinstance(last, nn.BatchNorm1d | nn.BatchNorm2d)
            assert last.running_mean is not None and last.running_var is not None
            weight, shift = linear.weight, last.bias
            inverse = (last.running_var.double() + last.eps).rsqrt()
            scale = inverse * (last.weight.double() if last.weight is not None else 1.0)
            bias = linear.bias.double() if linear.bias is not None else torch.zeros_like(scale)
            centre = bias - last.running_mean.double()  # y = scale · (W x + centre) + shift
            old_shift = shift.double().clone()
            # wanted: a (scale·(Wx + centre) + shift) + c = scale·(W'x + centre) + shift'
            new_shift = a @ (scale * centre + old_shift) + c - scale * centre
            flat = weight.double().flatten(1)
            weight.copy_(((a @ (scale[:, None] * flat)) / scale[:, None]).view_as(weight))
            shift.copy_(new_shift)
            return
        flat = weight.double().flatten(1)
        weight.copy_((a @ flat).view_as(weight))
        shift.copy_(a @ shift.double() + c)
