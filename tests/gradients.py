"""Gradients of a whole network against finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

STEP = 1e-6


def check_gradients(network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """The gradient of loss(x) with respect to x and to every parameter of a float64 network is, along a direction drawn
    for each, what two values of the loss say."""
    x = x.detach().requires_grad_()
    names, values = ["input"], [x]
    for name, parameter in network.named_parameters():
        names.append(name)
        values.append(parameter)
    gradients = torch.autograd.grad(loss(x), values, allow_unused=True)
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value, gradient in zip(names, values, gradients, strict=True):
            assert gradient is not None and gradient.isfinite().all(), f"{name} has no gradient"
            direction = torch.randn(value.shape, generator=drawn, dtype=value.dtype)
            value += STEP * direction
            above = loss(x)
            value -= 2 * STEP * direction
            below = loss(x)
            value += STEP * direction
            expected, found = (above - below) / (2 * STEP), (gradient * direction).sum()
            assert abs(found - expected) <= 1e-5 * (abs(expected) + abs(gradient).sum() + 1e-6), name
