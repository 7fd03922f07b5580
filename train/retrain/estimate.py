"""How long a retraining will take on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mitosis_core.model import Model
from train.retrain import finetune
from train.retrain.config import RetrainConfig, way_of
from train.retrain.heads import encode, head_logits, head_of, member_networks, single_thread

_DRAW_SECONDS = 0.008  # to cut out and augment a crop


@dataclass(frozen=True)
class MeasuredSpeed:
    """Seconds that this machine needs for one crop: to encode it, and to train the head on it."""

    encode_s: float
    train_s: float


def measure_speed(net: nn.Module, config: RetrainConfig) -> MeasuredSpeed:
    """Measured on a few crops with a network of which the heads are trained, in a second or two."""
    member = member_networks(net)[0].to(memory_format=torch.channels_last).eval()
    head, images = head_of(member), torch.zeros((16, 3, config.crop_px, config.crop_px), dtype=torch.uint8)
    seconds: list[tuple[float, float]] = []
    with single_thread():
        for _ in range(3):  # the first time is always slow
            started = time.perf_counter()
            features = encode(member, images)
            encoded = time.perf_counter()
            head_logits(head, features).sum().backward()  # type: ignore[no-untyped-call]
            seconds.append((encoded - started, time.perf_counter() - encoded))
    encode_s, train_s = np.min(seconds, axis=0) / len(images)
    return MeasuredSpeed(float(encode_s), float(train_s))


def estimate_seconds(
    base: Model, fields: int, config: RetrainConfig, *, area_mm2: float = 0.26, measured: MeasuredSpeed | None = None
) -> float:
    """How long a retraining without validation fields would take on this machine.

    area_mm2: of one field; a whole high-power field has 0.2 to 0.3. measured: `measure_speed`, where known already.
    """
    net = base.net()
    if way_of(base.card) == "finetune":
        return finetune.estimate_seconds(base, net, fields, config)
    measured = measured or measure_speed(net, config)
    fields = max(2, fields)  # a single one is split in halves
    crops = fields * max(1, min(config.crops_per_field, config.most_crops // fields))
    whole = fields * area_mm2 * 1e6 / (config.crop_px * base.card.um_per_px) ** 2  # all fields, in crops
    encoding = crops * (measured.encode_s + _DRAW_SECONDS) + whole * measured.encode_s
    steps = min(config.folds, fields) * config.steps * config.batch * measured.train_s
    validation = math.ceil(config.steps / config.validate_every) * whole * measured.train_s / 2  # no backward pass
    return base.card.members * (encoding + steps + validation)
