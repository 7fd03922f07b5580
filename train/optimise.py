"""The step that every training here takes, and where it takes it."""

from __future__ import annotations

import math

import torch
from torch import nn

from mitosis_core.inference.runtime import resolve_device


def training_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device(resolve_device("auto"))


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step, 1 to `steps`: a linear warm-up under one cosine cycle."""
    return min(1.0, step / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def descend(loss: torch.Tensor, net: nn.Module, optimiser: torch.optim.Optimizer) -> float:
    """One optimiser step down the loss, its gradient clipped at 1; returns the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())
