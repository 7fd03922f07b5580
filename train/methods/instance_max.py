"""How instance-max learns: which crops hold a mitosis, and nothing of where (Fernandez-Martín et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from mitosis_core import ranks
from mitosis_core.methods.instance_max import InstanceNet
from mitosis_core.methods.method import DetectorNet
from train.config import ACROSS_SCANNERS, TrainConfig
from train.data.labels import BACKGROUND

# The paper: crops of 500 px at 0.25 µm/px, 32 a batch, 40 epochs at 1e-4, the two kinds of crops equally often. Small
# crops say more of where a figure is: with these it is learned in minutes on a CPU.
DEFAULTS: dict[str, Any] = {
    **ACROSS_SCANNERS,
    "steps": 600,
    "validate_every": 600,
    "labels": "circle15",  # a ring would only make more crops doubtful, for there is no border to be unsure of
    "members": 1,
}


def loss(
    net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor], config: TrainConfig
) -> torch.Tensor:
    """Equation 1: binary cross-entropy of the image's score, the mean over the crops of which the answer is known.

    Of the boxes (B times [N, 4]) only their number is used. Raises TypeError for a network without a score for images.
    """
    if not isinstance(net, InstanceNet):
        raise TypeError(f"{type(net).__name__} has no score for a whole image")
    truth, known = image_labels(labels, boxes)
    each = F.binary_cross_entropy_with_logits(net.image_logit(images).float(), truth, reduction="none")
    return (each * known).sum() / ranks.divisor(known.sum())


def image_labels(labels: torch.Tensor, boxes: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Float[B] whether a crop holds a mitosis, and Float[B] whether that is known (1) or not (0).

    labels: UInt8[B, h, w]; boxes: one per mitosis whose centroid lies in the crop. A crop with a box holds one; a crop
    of nothing but background holds none. The outermost cells must be background in both: else a figure is cut there, or
    the crop reaches beyond the field or the reviewed tissue, and if that were let through in one kind of crop alone,
    it would be what the network learns.
    """
    background = labels == BACKGROUND
    holds = torch.tensor([len(one) > 0 for one in boxes], device=labels.device)
    frame = torch.ones_like(background)
    frame[:, 1:-1, 1:-1] = False
    whole = (background | ~frame).all(2).all(1)
    known = torch.where(holds, whole, background.all(2).all(1))
    return holds.float(), known.float()
