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
from train.retrain.heads import answer, head_of, members, one_thread, see

_DRAW_SECONDS = 0.008  # to cut out and augment a crop


@dataclass(frozen=True)
class Pace:
    """Seconds this machine needs: for the encoder to see one crop, and for the head to learn from one."""

    see: float
    learn: float


def pace(net: nn.Module, config: RetrainConfig) -> Pace:
    """Measured on a few crops with a network of which the heads are trained, in a second or two."""
    member = members(net)[0].to(memory_format=torch.channels_last).eval()
    head, images = head_of(member), torch.zeros((16, 3, config.crop_px, config.crop_px), dtype=torch.uint8)
    seconds: list[tuple[float, float]] = []
    with one_thread():
        for _ in range(3):  # the first time is always slow
            started = time.perf_counter()
            features = see(member, images)
            seen = time.perf_counter()
            answer(head, features).sum().backward()  # type: ignore[no-untyped-call]
            seconds.append((seen - started, time.perf_counter() - seen))
    to_see, to_learn = np.min(seconds, axis=0) / len(images)
    return Pace(float(to_see), float(to_learn))


def estimate_seconds(
    base: Model, fields: int, config: RetrainConfig, *, area_mm2: float = 0.26, measured: Pace | None = None
) -> float:
    """How long a retraining without validation fields would take on this machine.

    area_mm2: of one field; a whole high-power field has 0.2 to 0.3. measured: `pace`, where it is known already.
    """
    net = base.net()
    if way_of(base.card) == "finetune":
        return finetune.estimate_seconds(base, net, fields, config)
    measured = measured or pace(net, config)
    fields = max(2, fields)  # a single one is learned from in halves
    crops = fields * max(1, min(config.crops_per_field, config.most_crops // fields))
    whole = fields * area_mm2 * 1e6 / (config.crop_px * base.card.um_per_px) ** 2  # all fields, in crops
    look = crops * (measured.see + _DRAW_SECONDS) + whole * measured.see
    steps = min(config.folds, fields) * config.steps * config.batch * measured.learn
    judge = math.ceil(config.steps / config.validate_every) * whole * measured.learn / 2  # no way back to go
    return base.card.members * (look + steps + judge)
