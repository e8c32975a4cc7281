"""A face recogniser as methods, metrics and attacks see it."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from efface import registry
from efface.errors import EffaceError
from efface.models import scatter
from efface.models.recogniser import Recogniser
from efface.models.weights import header, load, save, save_as

CPU = torch.device("cpu")


@dataclass
class RecognitionTarget:
    """A network with its input convention. Methods work on a `clone()` and leave the original alone."""

    spec: Recogniser
    network: nn.Module
    device: torch.device = CPU
    weights: Path | None = None
    """The file that the weights came from; `save` writes in its format too."""

    def __post_init__(self) -> None:
        # numbers of one pixel next to each other, which is faster (docs/speed.md)
        self.network.to(self.device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]

    @classmethod
    def load(cls, name: str, weights: Path, device: torch.device = CPU, **fields: Any) -> "RecognitionTarget":
        """The registered recogniser `name` (its fields: a depth, say) with the weights of a file. Raises EffaceError
        as `models.weights.load` does."""
        spec = registry.get("models.recognition", name)(**fields).of(weights)
        return cls(spec, load(spec, weights), device, weights)

    def save(self, folder: Path, **extra: str) -> list[Path]:
        """Write `folder/<name>.safetensors`, whose header also holds `extra`, and the same weights in the format and
        under the name of the file they came from, where that was not safetensors and can hold all of them. Returns the
        paths."""
        tensors = self.network.state_dict()
        paths = [folder / f"{self.spec.name}.safetensors"]
        save(paths[0], tensors, header(self.spec, self.weights, **self.facts(), **extra))
        if self.weights is not None and self.weights.suffix != ".safetensors" and not self.only_safetensors():
            paths.append(folder / self.weights.name)
            save_as(paths[1], tensors, self.spec, self.weights)
        return paths

    @property
    def module(self) -> scatter.Scatter | None:
        """The module behind the recogniser that hides people, if there is one."""
        return scatter.attached(self.network)

    def facts(self) -> dict[str, str]:
        """What files and reports say of that module: `module`, `module_sizes`, `module_statement`; empty without."""
        return {} if self.module is None else self.module.facts()

    def only_safetensors(self) -> str:
        """Why the weights are not written in the format that they came in, in one line; empty where they are."""
        if self.module is None or self.weights is None or self.weights.suffix in (".safetensors", ".onnx"):
            return ""
        return (
            f"written as safetensors alone: whoever reads a file like {self.weights.name} knows no tensors "
            f"{scatter.PREFIX}* and would recognise the people"
        )

    def clone(self) -> "RecognitionTarget":
        """An independent copy with the same weights, every parameter requiring no gradient yet."""
        twin = RecognitionTarget(self.spec, copy.deepcopy(self.network), self.device, self.weights)
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
    def embed(self, pixels: Tensor, batch: int = 32, tick: Callable[[int], None] | None = None) -> Tensor:
        """Unit embeddings float32 [n, d] on the CPU, without gradient, in evaluation mode; one crop, no flip
        (protocol, line 4). `tick` is told the number of crops after each batch."""
        self.network.eval()
        parts = []
        for chunk in pixels.split(batch):
            parts.append(self.forward(chunk).float().cpu())
            if tick is not None:
                tick(len(chunk))
        return torch.cat(parts) if parts else torch.empty(0, self.spec.embedding_size)

    def last_blocks(self, count: int) -> list[nn.Parameter]:
        """Parameters of the last `count` of the network's blocks, but for those that the network holds fixed; 0 means
        all blocks."""
        groups = self.spec.blocks[-count:] if count else self.spec.blocks
        named = [
            (f"{module}.{name}", parameter)
            for group in groups
            for module in group
            for name, parameter in self.network.get_submodule(module).named_parameters()
        ]
        return [parameter for name, parameter in named if name not in self.spec.fixed]

    @torch.no_grad()
    def compose_output(self, matrix: Tensor, offset: Tensor | None = None) -> None:
        """Make the network return `matrix @ y + offset` where it returned y, in the same tensors (names and shapes
        stay). matrix [d, d], offset [d] (0 where None).

        The network ends in y = g·(W x + b − μ) + β with g = γ/√(σ² + ε) of its BatchNorm. W becomes g⁻¹ A g W and β
        takes the rest, in float64 on the CPU (not every device has it); γ stays (the identity changes nothing) but
        where it is too near 0 to divide by.
        """
        if self.module is not None:
            raise EffaceError(
                f"{self.spec.name}: found the module {scatter.NAME} behind the last linear map, expected nothing there "
                "to compose with; use the method scatter again, or one that trains"
            )
        linear_name, last_name = self.spec.output
        last = self.network.get_submodule(last_name)
        linear = last if linear_name is None else self.network.get_submodule(linear_name)
        assert isinstance(linear, nn.Linear | nn.Conv2d)
        a = _exact(matrix)
        c = torch.zeros_like(a[0]) if offset is None else _exact(offset)
        flat = _exact(linear.weight).flatten(1)
        bias = torch.zeros_like(c) if linear.bias is None else _exact(linear.bias)
        if isinstance(last, nn.BatchNorm1d | nn.BatchNorm2d):
            assert last.running_mean is not None and last.running_var is not None
            deviation = (_exact(last.running_var) + last.eps).sqrt()
            gain = _exact(last.weight) / deviation
            new_gain = torch.where(gain.abs() > 1e-6 * gain.abs().max(), gain, 1.0)
            centre = bias - _exact(last.running_mean)
            linear.weight.copy_((a @ (gain[:, None] * flat) / new_gain[:, None]).view_as(linear.weight))
            last.bias.copy_(a @ (gain * centre + _exact(last.bias)) + c - new_gain * centre)
            last.weight.copy_(new_gain * deviation)
        else:
            linear.weight.copy_((a @ flat).view_as(linear.weight))
            if linear.bias is not None:
                linear.bias.copy_(a @ bias + c)
            elif c.any():
                raise EffaceError(f"{self.spec.name}: found no bias behind the last linear map, expected one to shift")


def _exact(tensor: Tensor) -> Tensor:
    """float64 on the CPU: moved first, as a device may not have float64."""
    return tensor.detach().cpu().double()
