"""The step that every training here takes, and where it takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mitosis_core.inference.runtime import resolve_device


def training_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device(resolve_device("auto"))


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step, 1 to `steps`: linear warm-up, then half a cosine down to 0."""
    return min(1.0, step / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))


def make_optimiser(net: nn.Module, *, lr_encoder: float, lr_head: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW for what of a network is not frozen. The learning rates are peaks: of the encoder, and of all after it."""
    trained = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    encoder = [p for name, p in trained if name.startswith("encoder.")]
    head = [p for name, p in trained if not name.startswith("encoder.")]
    groups = [{"params": encoder, "peak": lr_encoder}, {"params": head, "peak": lr_head}]
    return torch.optim.AdamW(groups, lr=lr_encoder, weight_decay=weight_decay)


def set_learning_rates(optimiser: torch.optim.Optimizer, share: float) -> None:
    """The learning rates of `make_optimiser` at this share of their peaks."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def optimiser_step(loss: torch.Tensor, net: nn.Module, optimiser: torch.optim.Optimizer) -> float:
    """One step of the optimiser on the loss, its gradient clipped at 1; returns the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())


@torch.no_grad()
def update_ema(ema: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the exponential moving average of a network's weights towards it; what is no float is copied."""
    for kept, new in zip(ema.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def mean_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of networks that were trained from the same first weights: as good as all of them together, for the time
    of one (model soups, Wortsman et al., ICML 2022). Counts are the first one's."""
    first = states[0]
    return {
        name: torch.stack([one[name] for one in states]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }
