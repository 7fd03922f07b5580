"""One training of one network, top to bottom: seeded, checkpointed, resumable."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from mitosis_core import ranks
from mitosis_core.atomic_write import atomic_write
from mitosis_core.inference.blobs import BlobSettings, find_blobs
from mitosis_core.inference.runtime import MULTIPLE_PX, crop_padding, pad, torch_engine
from mitosis_core.methods.method import DetectorNet
from mitosis_core.precision import autocast
from mitosis_core.types import Detections, Float32, ProbabilityMap
from train.config import TrainConfig
from train.data.examples import Example
from train.data.patches import Crop, Crops, Tissue, false_detections, prepare
from train.methods import RECIPES
from train.optimise import (
    make_optimiser,
    optimiser_step,
    set_learning_rates,
    training_device,
    update_ema,
    warmup_cosine,
)
from train.parallel import crop_workers, in_parallel, share_network

_WARMUP = 100
_MOST_WORKERS = 8
_MINED_SCORE = 0.2  # a false detection on a training field is worth learning from above this


@dataclass(frozen=True)
class Step:
    """What the loop reports: after every step, and with a score after a validation. of: its last step."""

    step: int
    of: int
    loss: float
    score: float | None = None


def fit_net(
    net: DetectorNet,
    examples: Sequence[Example],
    config: TrainConfig,
    *,
    checkpoint: Path | None = None,
    at_validation: Callable[[DetectorNet, int], float | None] = lambda ema, step: None,
    report: Callable[[Step], None] = lambda step: None,
    device: torch.device | None = None,
    tissues: list[Tissue] | None = None,
    freeze_statistics: bool = False,
) -> DetectorNet:
    """Train `net` on the examples and return the exponential moving average (EMA) of its weights.

    device: the GPU where there is one, unless given. checkpoint: file that is written at every validation and resumed
    from when it exists. at_validation: called with the EMA and the step, every `validate_every` steps and at the
    end; may return a score to report. tissues: the examples, where they were prepared already. freeze_statistics:
    frozen parts keep their statistics of the tissue too. Where several processes train together (train/parallel.py),
    all call this; the first one alone has a checkpoint, validates and reports.

    Raises ValueError when the loss is not a number, or there are more processes than crops in a batch.
    """
    if config.batch < ranks.size():
        raise ValueError(f"A batch of {config.batch} crops cannot be shared by {ranks.size()} processes; start fewer.")
    device = device or training_device()
    share_network(net)
    torch.manual_seed(config.seed + ranks.number())  # what networks drop out at random differs between the processes
    net = net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    _freeze(net, config.frozen_stages, freeze_statistics)
    ema = copy.deepcopy(net).eval()
    optimiser = make_optimiser(net, lr_encoder=config.lr, lr_head=config.lr_head, weight_decay=config.weight_decay)
    tissues = prepare(examples, config.um_per_px, config.stain) if tissues is None else tissues
    start = _load(checkpoint, net, ema, optimiser, tissues)
    learner = in_parallel(_Learner(net, config), idle_parts=RECIPES[config.method].idle_parts)
    batches = _make_batches(tissues, config, net.stride, start, device)
    for step in range(start + 1, config.steps + 1):
        loss = _train_step(learner, next(batches), optimiser, config, step, device)
        if not math.isfinite(loss):
            raise ValueError(f"The loss stopped being a number at step {step}; lower the learning rate.")
        update_ema(ema, net, min(config.ema, (1 + step) / (10 + step)))
        last, score = step == config.steps, None
        if config.mine_every and step % config.mine_every == 0 and not last:
            mine_hard_negatives(ema, tissues, config, device)
            batches = _make_batches(tissues, config, net.stride, step, device)
        if step % config.validate_every == 0 or last:
            score = _at_validation(at_validation, checkpoint, step, net, ema, optimiser, tissues)
        if ranks.is_first():
            report(Step(step, config.steps, loss, score))
    return ema


def _freeze(net: DetectorNet, stages: int, statistics: bool) -> None:
    for part in net.freezable_stages()[:stages]:
        part.requires_grad_(False)
        part.train(not statistics)


class _Learner(nn.Module):
    """A network with the loss of its method: what goes in is a batch, what comes out is to be made smaller."""

    def __init__(self, net: DetectorNet, config: TrainConfig) -> None:
        super().__init__()
        self.net, self.config = net, config

    def forward(self, images: torch.Tensor, labels: torch.Tensor, boxes: Sequence[torch.Tensor]) -> torch.Tensor:
        return RECIPES[self.config.method].loss(self.net, images, labels, boxes, self.config)


def _make_batches(
    tissues: list[Tissue], config: TrainConfig, stride: int, step: int, device: torch.device
) -> Iterator[list[Crop]]:
    """This process's share of the batches from `step` on, whoever cuts them: a GPU would wait for one process, on a CPU
    it is no gain."""
    crops = Crops(tissues, config, stride, (config.steps - step) * config.batch, offset=step * config.batch)
    workers = 0 if device.type == "cpu" else crop_workers(_MOST_WORKERS)
    mine = [[first + i for i in ranks.share_of(config.batch)] for first in range(0, len(crops), config.batch)]
    return iter(DataLoader(crops, batch_sampler=mine, collate_fn=list, num_workers=workers))


def _train_step(
    learner: nn.Module,
    batch: list[Crop],
    optimiser: torch.optim.Optimizer,
    config: TrainConfig,
    step: int,
    device: torch.device,
) -> float:
    """One optimiser step at the scheduled learning rate; returns the loss of the whole batch."""
    share = warmup_cosine(step, config.steps, min(_WARMUP, config.steps / 5))
    set_learning_rates(optimiser, max(share, 0.01))
    images = torch.stack([crop.image for crop in batch]).to(device).float()
    labels = torch.stack([crop.labels for crop in batch]).to(device)
    boxes = [crop.boxes.to(device) for crop in batch]
    with autocast(device):
        loss = learner(images.contiguous(memory_format=torch.channels_last), labels, boxes)
    return ranks.mean(optimiser_step(loss, learner, optimiser))


def mine_hard_negatives(net: DetectorNet, tissues: Sequence[Tissue], config: TrainConfig, device: torch.device) -> None:
    """Find the network's false detections on the fields it learns from; they become hard negatives."""
    engine = torch_engine(copy.deepcopy(net), device)
    settings = BlobSettings(finder="peaks", binarize="fixed", threshold=_MINED_SCORE, min_area_um2=0.0, score="peak")
    stride = float(net.stride)

    def mined(tissue: Tissue) -> Float32:
        output = engine(pad(tissue.pixels))
        if output.boxes is None:
            values = crop_padding(output.values, net.stride, tissue.pixels.shape[:2])
            found = find_blobs(ProbabilityMap(values, (stride, stride), config.um_per_px), settings)
        else:
            middle = (output.boxes[:, :2] + output.boxes[:, 2:4]) / 2 - 0.5 - MULTIPLE_PX
            found = Detections(middle.astype(np.float32), output.boxes[:, 4], np.zeros(len(middle), np.float32)).above(
                _MINED_SCORE
            )
        return false_detections(found, tissue, config.um_per_px)

    fields = [tissue for tissue in tissues if tissue.whole_field]
    for tissue, hard in zip(fields, ranks.each_a_share(mined, fields), strict=True):
        tissue.hard_xy_px = hard


def _at_validation(
    validate: Callable[[DetectorNet, int], float | None],
    checkpoint: Path | None,
    step: int,
    net: nn.Module,
    ema: DetectorNet,
    optimiser: torch.optim.Optimizer,
    tissues: Sequence[Tissue],
) -> float | None:
    """In the first process: validate and keep a checkpoint. The others go on when it has."""

    def work() -> float | None:
        score = validate(ema, step)
        if checkpoint:
            _save(checkpoint, step, net, ema, optimiser, tissues)
        return score

    return ranks.from_first(work)


def _save(
    path: Path, step: int, net: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, tissues: Sequence[Tissue]
) -> None:
    parts = {
        "step": step,
        "net": net.state_dict(),
        "average": ema.state_dict(),
        "optimiser": optimiser.state_dict(),
        "mined": [torch.from_numpy(t.hard_xy_px) for t in tissues],
    }
    with atomic_write(path) as file:
        torch.save(parts, file)


def _load(
    path: Path | None, net: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer, tissues: Sequence[Tissue]
) -> int:
    """Take up a checkpoint where there is one; returns the step it was written after, else 0."""
    parts = ranks.from_first(
        lambda: torch.load(path, map_location="cpu", weights_only=True) if path and path.exists() else None
    )
    if parts is None:
        return 0
    net.load_state_dict(parts["net"])
    ema.load_state_dict(parts["average"])
    optimiser.load_state_dict(parts["optimiser"])
    for tissue, hard in zip(tissues, parts["mined"], strict=True):
        tissue.hard_xy_px = hard.numpy()
    return int(parts["step"])
