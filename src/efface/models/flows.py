"""Small flows between the layers of a StyleGAN2 synthesis: LEGATO's adapters (arXiv 2601.04282).

After each resolution but the first, on the maps x before they become colours and go on to the next resolution, a flow
dx/dt = f(x) is followed from t = 0 to `until` in Euler steps; f is a 1×1 convolution to 256 channels, a leaky ReLU of
slope .2 and a 1×1 convolution back, whose weights are 0 at first. How far the flow is followed is the strength of what
the adapters learned, and can be turned at any time: at 0 the generator is what it was without them.

Where on the maps they work, and that 4×4 has none, is ours: so many numbers as the paper's 1.25 M active parameters
follow from EG3D's channels without one of the first five resolutions.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models.stylegan2 import Synthesis

NAME = "flows"
"""What audit.json calls them."""
STATEMENT = (
    "hides rather than erases: turn the flows between the layers to t = 0, or remove the tensors *.flow.*, and whoever "
    "they hide is back"
)
"""What the audit and the report of a generator with flows say."""


@dataclass(frozen=True, kw_only=True)
class Flows:
    """What the flows of a generator are; the defaults are the paper's."""

    hidden: int = 256
    """Channels inside."""
    step: float = 0.4
    """Of t."""
    until: float = 1.6
    """t at the end."""

    def __post_init__(self) -> None:
        check_until(self.until)
        if self.hidden < 1 or not (math.isfinite(self.step) and self.step > 0):
            raise EffaceError(f"flows: found {asdict(self)}, expected at least 1 channel and a step above 0")


class Flow(nn.Module):
    """Maps [n, channels, h, w] -> maps of the same shape."""

    def __init__(self, channels: int, flows: Flows) -> None:
        super().__init__()
        self.step, self.until = flows.step, flows.until
        self.velocity = nn.Sequential(
            nn.Conv2d(channels, flows.hidden, 1), nn.LeakyReLU(0.2), nn.Conv2d(flows.hidden, channels, 1)
        )
        for parameter in self.velocity[2].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        whole = int(self.until / self.step + 1e-6)
        rest = self.until - whole * self.step
        for step in [self.step] * whole + [rest] * (rest > 1e-6):
            x = x + step * self.velocity(x)
        return x


def attach(synthesis: Synthesis, flows: Flows, generator: torch.Generator | None = None) -> None:
    """Give the synthesis flows, which change nothing yet; their first convolutions are drawn from `generator` (CPU), or
    torch's global one, for weights that are read afterwards."""
    with torch.random.fork_rng(devices=[], enabled=generator is not None):
        if generator is not None:
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        for size in synthesis.resolutions[1:]:
            block: Any = synthesis.get_submodule(f"b{size}")
            bias = block.conv1.bias
            block.flow = Flow(len(bias), flows).to(bias).requires_grad_(False)


def attached(synthesis: Synthesis) -> Flows | None:
    """What its flows are; None where it has none."""
    for flow in of(synthesis):
        return Flows(hidden=len(flow.velocity[0].get_parameter("bias")), step=flow.step, until=flow.until)
    return None


def facts(synthesis: Synthesis) -> dict[str, str]:
    """What audit.json says of its flows, as of the module behind a recogniser: `module`, `module_sizes`,
    `module_statement`; empty where it has none."""
    found = attached(synthesis)
    if found is None:
        return {}
    sizes = f"{found.hidden} channels, t = {found.until:g} in steps of {found.step:g}"
    return {"module": NAME, "module_sizes": sizes, "module_statement": STATEMENT}


def turn(synthesis: Synthesis, until: float) -> None:
    """Follow the flows of a synthesis to t = until: 0 undoes them, 1.6 is what LEGATO trains. Raises EffaceError where
    it has none, or the number is out of range."""
    check_until(until)
    flows = of(synthesis)
    if not flows:
        raise EffaceError(
            "found no flows in this generator, expected those of the method legato; unlearn with it first"
        )
    for flow in flows:
        flow.until = until


def check_until(until: float) -> None:
    """Raise EffaceError where a number is no time to follow a flow to."""
    if not (math.isfinite(until) and until >= 0):
        raise EffaceError(f"until: found {until:g}, expected a time from 0 (as if there were no flows) upwards")


def of(synthesis: Synthesis) -> list[Flow]:
    """Its flows, from the lowest resolution up."""
    return [module for module in synthesis.modules() if isinstance(module, Flow)]
