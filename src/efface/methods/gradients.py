"""Updates that are made of several losses' gradients and are no loss's gradient themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor


def with_gradient(value: Tensor, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """`value` [], whose gradient by each parameter is the given one: for updates that are no loss's gradient."""
    through = torch.stack([(p * g).sum() for p, g in zip(parameters, gradients, strict=True)]).sum()
    return value.detach() + (through - through.detach())  # 0, exactly


def length(gradients: Sequence[Tensor]) -> Tensor:
    """The norm [] of all of them together."""
    return torch.stack([g.norm() for g in gradients]).norm()
