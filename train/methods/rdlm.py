"""How RDLM learns: every anchor is a figure, background or nobody's, and the focal loss weighs them (section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from mitosis_core import ranks
from mitosis_core.methods.method import DetectorNet
from mitosis_core.methods.rdlm import FOCAL, RDLMNet, anchors, flatten_levels
from train.config import ACROSS_SCANNERS, TrainConfig
from train.data.labels import BACKGROUND
from train.data.patches import check_boxes

ALPHA = 0.5  # of the paper; gamma goes with the variant

# The paper: crops of 1040 px shrunk to 600, stochastic gradient descent at 0.001 for 20,000 steps.
# The learning rates are the usual ones; with them some hundred steps suffice to find most figures.
DEFAULTS: dict[str, Any] = {**ACROSS_SCANNERS, "steps": 600, "validate_every": 300, "members": 2}

_matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)  # the last: every figure has an anchor


def loss(
    net: DetectorNet, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor], config: TrainConfig
) -> torch.Tensor:
    """Focal loss (cross-entropy in the variants without it) of all anchors plus smooth L1 of the figures' deltas.

    images: Float32[B, 3, c, c] RGB in 0..255; labels: UInt8[B, c / 4, c / 4] in {0, 1, 255}; boxes: B times
    Float32[N, 4] as x0, y0, x1, y1 in pixels of the crop. Both sums are divided by the number of figures' anchors, by B
    when there are fewer, so that a batch without a figure is no leap. Raises TypeError for a network of another method,
    UnusableData for a box without area.
    """
    if not isinstance(net, RDLMNet):
        raise TypeError(f"{type(net).__name__} has no anchors to score")
    check_boxes(boxes)
    logits, deltas = flatten_levels(net.head_outputs(images))
    with torch.autocast(images.device.type, enabled=False):
        places = anchors(images.shape[-2], images.shape[-1], images.device)
        aims = [_aim(places, label, known) for label, known in zip(labels, boxes, strict=True)]
        truth = torch.stack([aim for aim, _ in aims])
        positive = truth == 1
        crops = ranks.total(torch.tensor(len(images), device=images.device))
        scale = ranks.divisor(positive.sum(), crops)
        wanted = truth[truth >= 0]
        if net.variant in FOCAL:
            scores = focal_loss(logits[truth >= 0], wanted, FOCAL[net.variant])
        else:
            scores = F.binary_cross_entropy_with_logits(logits[truth >= 0], wanted, reduction="none")
        around = torch.cat([known[index] for known, (_, index) in zip(boxes, aims, strict=True)])
        per_image = [places[aim == 1] for aim, _ in aims]
        exact = net.coder.encode_single(around, torch.cat(per_image))
        placing = F.smooth_l1_loss(deltas[positive], exact, beta=1 / 9, reduction="sum")
        return (scores.sum() + placing) / scale


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, gamma: float, alpha: float = ALPHA) -> torch.Tensor:
    """Equation 7 for each element: -alpha (z - p)^gamma log p where z = 1, -(1 - alpha) p^gamma log(1 - p) where z = 0.

    p is the sigmoid of the logits, z the targets, 0 or 1. As printed, both terms would always count; the text says that
    the back one is 0 for a positive and the front one for a negative, so z chooses between them, and in the front one
    z - p is 1 - p, as in equation 6. Powers are taken of logarithms: their gradient is finite at p = 0 and p = 1.
    """
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    front = -alpha * (gamma * log_not_p).exp() * log_p
    back = -(1 - alpha) * (gamma * log_p).exp() * log_not_p
    return targets * front + (1 - targets) * back


def _aim(places: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the anchors [N, 4] of one crop should say, Float[N] (1 figure, 0 background, -1 nobody's), and which of the
    boxes each figure's anchor is of, in the order of the anchors.

    From an overlap (IoU) of 0.5 an anchor is a figure's, below 0.4 background. Background counts only where the labels
    say so: not on unknown tissue, nor on a figure whose centroid lies outside the crop.
    """
    cells = ((places[:, :2] + places[:, 2:]) / 2 / RDLMNet.stride).long()
    truth = torch.where(labels[cells[:, 1], cells[:, 0]] == BACKGROUND, 0.0, -1.0)
    if not len(boxes):
        return truth, torch.zeros(0, dtype=torch.long, device=places.device)
    matched = _matcher(box_iou(boxes, places))
    truth[matched == Matcher.BETWEEN_THRESHOLDS] = -1
    truth[matched >= 0] = 1
    return truth, matched[matched >= 0]
