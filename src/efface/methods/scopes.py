"""Which of a UNet's parameters a method for diffusion models trains."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from efface.errors import EffaceError

Scope = Literal["surgical", "cross_attention", "full"] | tuple[str, ...]
"""`surgical`: every cross-attention layer of SURGICAL; `cross_attention`: every one there is; `full`: all; or the
cross-attention layers below these names, for example ("mid_block", "up_blocks.1"), as `efface layers` proposes them."""
SURGICAL = ("down_blocks.2", "mid_block", "up_blocks.1", "up_blocks.2")
"""Blocks whose cross-attention PIU trains in Stable Diffusion 1.5 (official implementation)."""


def scope_names(unet: nn.Module, scope: Scope) -> tuple[str, ...]:
    """Names of the parameters in a scope, in the network's order; those of decoupled attention (to_k_ip, to_v_ip) lie
    within attn2 and belong to it. Raises EffaceError where a name holds no cross-attention."""
    names = [name for name, _ in unet.named_parameters()]
    if scope == "full":
        return tuple(names)
    crossing = [name for name in names if ".attn2." in name]
    if scope == "cross_attention":
        return tuple(crossing)
    blocks = SURGICAL if scope == "surgical" else tuple(scope)
    for block in blocks:
        if not any(_below(name, block) for name in crossing):
            found = ", ".join(cross_attention_blocks(unet)) or "none"
            raise EffaceError(f"scope: found no cross-attention in {block!r}, expected blocks among: {found}")
    return tuple(name for name in crossing if any(_below(name, block) for block in blocks))


def cross_attention_layers(unet: nn.Module) -> tuple[str, ...]:
    """Names of the cross-attention layers, in the order in which a pass reaches them."""
    names = (name for name, _ in unet.named_modules() if name.endswith(".attn2"))
    return tuple(sorted(names, key=lambda name: ("down", "mid_", "up_b").index(name[:4])))


def cross_attention_blocks(unet: nn.Module) -> tuple[str, ...]:
    """Names of the blocks that hold them: `down_blocks.0` …, `mid_block`."""
    return tuple(dict.fromkeys(block_of(name) for name in cross_attention_layers(unet)))


def block_of(name: str) -> str:
    """`down_blocks.0` of down_blocks.0.attentions.1.…; `mid_block` of mid_block.attentions.0.…"""
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if second.isdigit() else first


def train_only(unet: nn.Module, names: Sequence[str]) -> list[nn.Parameter]:
    """Let the parameters of these names require a gradient, and no other; returns them."""
    wanted = set(names)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(name in wanted)
    return [p for p in unet.parameters() if p.requires_grad]


def _below(name: str, block: str) -> bool:
    return name.startswith(f"{block}.")
