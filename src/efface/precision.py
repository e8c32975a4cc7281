"""Which numbers a device computes with."""

import torch


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 numbers itself, and so faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
