"""A small network behind a recogniser's embedding that scatters the embeddings of some people and passes all others.

For the embedding y of a photo, before normalisation, e = y / |y|, one gate for each person p, n waves:
    g(e)  = min(1, Σ_p max(0, a_p·e + b_p))      0 for everybody else: then y' = y to the bit
    r(e)  = m + V sin(W e + φ)                   a direction that another photo of the same person does not share
    y'    = y + g · (|y| r(e) − y)

The recogniser keeps its own tensors under their own names; the module's stand under `efface_scatter.` beside them. So
it **hides rather than erases**: without these tensors the recogniser is the one that it was, and the person is back.
The gate itself tells who: a_p points to the person's mean embedding.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import EffaceError

NAME = "scatter"
"""What the header of a file calls the module."""
CHILD = "efface_scatter"
"""The module's name in the network."""
PREFIX = f"{CHILD}."
"""What the names of its tensors begin with."""
TINY = 1e-12
"""Added to |y|, which may be 0."""
STATEMENT = (
    f"hides rather than erases: the network inside is untouched; remove the tensors {PREFIX}* and the people are back "
    "(the gate also holds their mean directions)"
)
"""What every file and report with the module says."""


class Scatter(nn.Module):
    """Embeddings float32 [n, size] -> embeddings [n, size], neither normalised; `people` gates, `waves` waves.

    Its tensors require no gradient: nothing that trains the recogniser changes them.
    """

    def __init__(self, size: int, people: int, waves: int) -> None:
        super().__init__()
        self.gate = nn.Linear(size, people)
        self.waves = nn.Linear(size, waves)
        self.mix = nn.Linear(waves, size)
        self.requires_grad_(False)

    def forward(self, y: Tensor) -> Tensor:
        length = y.norm(dim=-1, keepdim=True)
        unit = y / (length + TINY)
        opened = self.opened(unit)
        return y + opened * (length * self.mix(self.waves(unit).sin()) - y)

    def opened(self, unit: Tensor) -> Tensor:
        """g of unit embeddings [n, size] -> [n, 1], 0 to 1."""
        return self.gate(unit).relu().sum(-1, keepdim=True).clamp(max=1)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Scatter":
        """The module that holds these tensors, by their names in it. Raises EffaceError, in one line, where they do not
        fit together."""
        found = {name: list(tensor.shape) for name, tensor in tensors.items()}
        size, people, waves = ((found.get(n) or [0])[0] for n in ("mix.weight", "gate.weight", "waves.weight"))
        gate, wave, mix = [people, size], [waves, size], [size, waves]
        expected = {"gate": gate, "waves": wave, "mix": mix}
        if not size * people * waves or found != {
            name: shape[:length]
            for part, shape in expected.items()
            for name, length in ((f"{part}.weight", 2), (f"{part}.bias", 1))
        }:
            shapes = ", ".join(f"{name} {shape}" for name, shape in sorted(found.items())) or "nothing"
            raise EffaceError(
                f"found a module of {shapes}, expected weight and bias of gate, waves and mix, of sizes that fit; give "
                "the file as efface wrote it"
            )
        module = cls(size, people, waves)
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return module

    def extended(self, directions: Tensor, offsets: Tensor) -> "Scatter":
        """The same waves behind the gates so far and further ones: directions [people, size], offsets [people]."""
        own = self.state_dict()
        gate = {"gate.weight": directions, "gate.bias": offsets}
        return Scatter.of(own | {name: torch.cat([own[name], more.to(own[name])]) for name, more in gate.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their names in a file."""
        return {PREFIX + name: tensor for name, tensor in self.state_dict().items()}

    def facts(self) -> dict[str, str]:
        """What the header of a file says of the module, and audit.json too."""
        sizes = f"{self.mix.out_features} dimensions, {self.gate.out_features} gates, {self.mix.in_features} waves"
        return {"module": NAME, "module_sizes": sizes, "module_statement": STATEMENT}


def attach(network: nn.Module, module: Scatter) -> nn.Module:
    """Put the module behind the network, in place; the network's own tensors keep their names. Returns the network."""
    if hasattr(network, CHILD):
        raise EffaceError(f"found a network that has a part {CHILD} already, expected none; detach it first")
    network.add_module(CHILD, module)
    if type(network).forward is not nn.Sequential.forward:  # that of a Sequential calls all its children in order
        network.__class__ = _followed(type(network))
    return network


def attached(network: nn.Module) -> Scatter | None:
    """The module behind the network, if there is one."""
    found = getattr(network, CHILD, None)
    return found if isinstance(found, Scatter) else None


def detach(network: nn.Module) -> Scatter | None:
    """Take the module away, in place, and return it; None where there was none."""
    module = attached(network)
    if module is not None:
        delattr(network, CHILD)
        network.__class__ = getattr(type(network), "_without", type(network))
    return module


def own_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The module's tensors among those of a file, by their names in the module."""
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}


@cache
def _followed(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of networks with the module behind them."""

    class Followed(kind):
        _without = kind

        def forward(self, x: Tensor) -> Tensor:
            return getattr(self, CHILD)(super().forward(x))

        def __reduce__(self) -> tuple[Any, ...]:
            return _empty, (kind,), self.__getstate__()

    Followed.__name__ = Followed.__qualname__ = f"{kind.__name__}WithScatter"
    return Followed


def _empty(kind: type[nn.Module]) -> nn.Module:
    """A bare object of the class above, for copies and other processes."""
    followed = _followed(kind)
    return followed.__new__(followed)
