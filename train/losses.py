"""Losses on label maps where 255 contributes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from mitosis_core.errors import UnusableData
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


def check_boxes(boxes: Sequence[torch.Tensor]) -> None:
    """Raises UnusableData unless every box has an area. boxes: any number of [N, 4] as x0, y0, x1, y1."""
    for one in boxes:
        if bool(((one[:, 2:] - one[:, :2]) <= 0).any()):
            raise UnusableData("A box of a mitosis has no area; please check the masks or boxes it comes from.")
