"""Half precision where the processor computes in it; elsewhere it would only be emulated, at a tenth of the speed."""

from __future__ import annotations

import torch


def has_half(device: torch.device) -> bool:
    """Whether a device computes in half precision itself: every GPU, and CPUs from AVX-512 on."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(
    device: torch.device, dtype: torch.dtype = torch.bfloat16, *, half: bool = True
) -> torch.amp.autocast_mode.autocast:
    """Mixed precision on a device that `has_half`, else (or with half=False) float32 throughout."""
    return torch.autocast(device.type, dtype, enabled=half and has_half(device))
