"""How SegMitos learns: cross-entropy over disc and background, the ring between them ignored (section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from mitosis_core import ranks
from mitosis_core.methods.method import DetectorNet
from train.config import ACROSS_SCANNERS, TrainConfig
from train.data.labels import IGNORED

DEFAULTS: dict[str, Any] = {
    **ACROSS_SCANNERS,
    "steps": 600,
    "validate_every": 600,
    "members": 1,
    "averaged": 3,
    "second_steps": 300,
}


def concentric_loss(logits: torch.Tensor, labels: torch.Tensor, mitosis_weight: float) -> torch.Tensor:
    """Equation 1 of SegMitos: softmax cross-entropy over disc and background; the ring contributes nothing.

    logits: [B, 2, H, W]; labels: [B, H, W] in {0, 1, 255}. Returns the mean over contributing pixels
    (the paper sums; the mean makes the step size independent of the crop), 0 when there is none.
    The L2 term of the equation is the optimiser's weight decay. mitosis_weight multiplies disc pixels.
    """
    weight = torch.tensor([1.0, mitosis_weight], device=logits.device)
    per_pixel = F.cross_entropy(logits.float(), labels.long(), weight, ignore_index=IGNORED, reduction="none")
    return per_pixel.sum() / ranks.divisor((labels != IGNORED).sum())


def loss(
    net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor], config: TrainConfig
) -> torch.Tensor:
    """`concentric_loss` of the network's logits; see `train.methods.Loss`."""
    return concentric_loss(net(images), labels, config.mitosis_weight)
