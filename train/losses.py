"""Losses on label maps where 255 contributes nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from train.labels import IGNORED


def concentric_loss(logits: torch.Tensor, labels: torch.Tensor, mitosis_weight: float = 1.0) -> torch.Tensor:
    """Equation 1 of SegMitos: softmax cross-entropy over disc and background; the ring contributes nothing.

    logits: [B, 2, H, W]; labels: [B, H, W] in {0, 1, 255}. Returns the mean over contributing pixels
    (the paper sums; the mean makes the step size independent of the crop), 0 when there is none.
    The L2 term of the equation is the optimiser's weight decay. mitosis_weight multiplies disc pixels.
    """
    weight = torch.tensor([1.0, mitosis_weight], device=logits.device)
    per_pixel = F.cross_entropy(logits.float(), labels.long(), weight, ignore_index=IGNORED, reduction="none")
    return per_pixel.sum() / (labels != IGNORED).sum().clamp_min(1)
