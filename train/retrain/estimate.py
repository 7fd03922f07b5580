"""How long a run will take on this machine, phase by phase: from an earlier run, or else from a moment's measuring."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from mitosis_core.model import Model, ModelCard
from train.retrain import finetune
from train.retrain.config import RetrainConfig, way_of
from train.retrain.heads import encode, head_logits, head_of, member_networks, single_thread
from train.retrain.phases import Phase

_DRAW_SECONDS = 0.008  # to cut out and augment a crop
_START_SECONDS = 12.0  # until a process has its libraries and its fields
_ENGINE_SECONDS, _DETECT_SECONDS = 8.0, 4.0  # to make ready one version, and for one field by it
_AREA_MM2 = 0.26  # of one field; a whole high-power field has 0.2 to 0.3

Seconds = Mapping[Phase, float]


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


def kind_of(card: ModelCard) -> str:
    """Versions of one kind take the same time for the same work."""
    return " ".join([card.method, card.variant, card.encoder, str(card.verifier is not None)])


def work_of(card: ModelCard, fields: int, held_out: int, config: RetrainConfig) -> dict[Phase, float]:
    """How much there is to do in each phase, in units of its own; twice as much takes twice as long.

    fields: that train. held_out: that judge.
    """
    parts, heads = min(config.folds, max(2, fields)), way_of(card) == "heads"
    crops, whole = _crops(card, fields, config)
    return {
        "starting": 1.0,
        "preparing": card.members * (crops + whole) if heads else 0.0,
        "learning": float(card.members * parts * config.steps * (config.batch if heads else 1)),
        "choosing": float(fields),
        "comparing": _ENGINE_SECONDS / _DETECT_SECONDS + held_out,
    }


def seconds_by_work(work: Mapping[Phase, float], earlier: Mapping[Phase, float], took: Seconds) -> dict[Phase, float]:
    """Seconds of each phase, from the work of an earlier run and what its phases took."""
    return {
        phase: took[phase] * work[phase] / earlier[phase] if earlier.get(phase) else 0.0
        for phase in work
        if phase in took
    }


def measured_seconds(base: Model, fields: int, held_out: int, config: RetrainConfig) -> dict[Phase, float]:
    """Seconds of each phase where no run has been yet: encoding and learning are measured for a moment, the rest is
    what it took elsewhere."""
    preparing, learning = _encode_and_learn(base, fields, config)
    comparing = 2 * (_ENGINE_SECONDS + held_out * _DETECT_SECONDS) if held_out else 0.0
    return {
        "starting": _START_SECONDS,
        "preparing": preparing,
        "learning": learning,
        "choosing": 0.2 * fields,
        "comparing": comparing,
    }


def _encode_and_learn(base: Model, fields: int, config: RetrainConfig) -> tuple[float, float]:
    net = base.net()
    if way_of(base.card) == "finetune":
        return 0.0, finetune.estimate_seconds(base, net, fields, config)
    measured = measure_speed(net, config)
    fields = max(2, fields)  # a single one is split in halves
    crops, whole = _crops(base.card, fields, config)
    encoding = crops * (measured.encode_s + _DRAW_SECONDS) + whole * measured.encode_s
    steps = min(config.folds, fields) * config.steps * config.batch * measured.train_s
    validation = math.ceil(config.steps / config.validate_every) * whole * measured.train_s / 2  # no backward pass
    return base.card.members * encoding, base.card.members * (steps + validation)


def _crops(card: ModelCard, fields: int, config: RetrainConfig) -> tuple[float, float]:
    """Crops drawn from all fields, and the fields themselves in crops."""
    drawn = fields * max(1, min(config.crops_per_field, config.most_crops // max(1, fields)))
    return drawn, fields * _AREA_MM2 * 1e6 / (config.crop_px * card.um_per_px) ** 2
