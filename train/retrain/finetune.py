"""Networks whose head cannot be taught apart from their encoder learn corrected fields by their method's own recipe.

As in train/retrain/head_training.py the encoder stays as it is, one network learns for each part of the fields held out
in turn and is judged there, and what is kept lies between the old weights and the mean of the learned ones.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from mitosis_core.inference.fusion import fuse
from mitosis_core.inference.runtime import torch_engine
from mitosis_core.methods.method import DetectorNet
from mitosis_core.model import Model
from mitosis_core.prediction import candidates, look, verified
from mitosis_core.types import Detections
from train.config import TrainConfig
from train.data.patches import Tissue
from train.loop import Step, fit_net, mine
from train.methods import default_config
from train.optimise import training_device
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.config import RetrainConfig
from train.retrain.head_training import Tell
from train.retrain.heads import mean_head, move_towards, one_thread
from train.retrain.session import Task

_NOWHERE = np.zeros((0, 2), np.float32)
_LOOK_SECONDS = 4.0  # to look at a field once with each network


def trainings(task: Task) -> int:
    """How many times a network is taught: each for each part of the fields held out."""
    return task.base.card.members * len(task.splits)


def finetune(
    task: Task, net: nn.Module, kept: Checkpoint, tell: Callable[[int], Tell]
) -> dict[int, tuple[Detections, Detections]]:
    """Teach the networks of `net` in place. Returns what the new and the old version find in every judging field,
    down to a low score: field -> (new, old). Raises Cancelled, ValueError (the loss is no number)."""
    config, splits = _config(task.base, task.config), len(task.splits)
    found: dict[int, list[tuple[Detections, Detections]]] = {}
    for index, network in enumerate(cast(Sequence[DetectorNet], net.members)):
        taught = []
        for split, (learns, judges) in enumerate(task.splits):
            number = index * splits + split
            if number == len(kept.done):
                kept.add(_learn(task, network, learns, judges, config, tell(number)))
            one = copy.deepcopy(network)
            one.load_state_dict(kept.done[number]["weights"])
            taught.append(one)
            for i, (new, old) in kept.done[number]["found"].items():
                found.setdefault(i, []).append((_detections(new), _detections(old)))
        network.load_state_dict(mean_head(taught).state_dict())
    fused = {i: _together(sides, task.fields[i].um_per_px) for i, sides in found.items()}
    return {i: (_second(task, i, new), _second(task, i, old)) for i, (new, old) in fused.items()}


def _second(task: Task, i: int, found: Detections) -> Detections:
    task.stop_if_cancelled()
    return verified(found, task.fields[i].field, task.base, "cpu")


def _together(sides: list[tuple[Detections, Detections]], um_per_px: float) -> tuple[Detections, Detections]:
    new, old = ([side[which] for side in sides] for which in (0, 1))
    return fuse(new, 5.0 / um_per_px), fuse(old, 5.0 / um_per_px)


def _config(base: Model, config: RetrainConfig) -> TrainConfig:
    """The method's own options for so few steps; its batch and crop, since its network wants them."""
    return default_config(
        base.card.method, variant=base.card.variant, encoder=base.card.encoder, um_per_px=base.card.um_per_px,
        steps=config.steps, validate_every=config.steps, mine_every=0, frozen_stages=4, members=1, share_patch=0.0,
        lr_head=config.lr, share_mitosis=config.share_mitosis, share_lookalike=config.share_lookalike,
        share_hard=config.share_hard, share_anywhere=config.share_anywhere, ema=config.average, seed=config.seed,
    )  # fmt: skip


def _learn(
    task: Task, network: DetectorNet, learns: list[int], judges: list[int], config: TrainConfig, tell: Tell
) -> Parts:
    """One network on the fields it learns from: its weights, and what it and the old one find where it is judged."""
    tissues = [task.tissues[i] for i in learns]
    task.stop_if_cancelled()
    mine(network, tissues, config, training_device())

    def report(step: Step) -> None:
        task.stop_if_cancelled()
        tell(step.step, step.loss, None)

    average = fit_net(copy.deepcopy(network), [], config, tissues=tissues, still=True, report=report).cpu()
    taught = copy.deepcopy(network)
    move_towards(taught, average, task.config.blend)
    found = {i: (_numbers(_find(task, taught, i)), _numbers(_find(task, network, i))) for i in judges}
    return {"weights": taught.state_dict(), "found": found, "step": config.steps}


def _find(task: Task, network: DetectorNet, i: int) -> Detections:
    task.stop_if_cancelled()
    card, field = task.base.card, task.fields[i].field
    seen = look(field, torch_engine(copy.deepcopy(network), training_device()), card.um_per_px, card.stride, card.stain)
    return candidates(seen, field, card.blobs, card.calibration)[0]


def _numbers(found: Detections) -> torch.Tensor:
    """As a checkpoint can keep them: Float32[N, 4], x, y, score, area."""
    return torch.from_numpy(np.column_stack([found.xy_px, found.score, found.area_um2]).astype(np.float32))


def _detections(numbers: torch.Tensor) -> Detections:
    x, y, score, area = numbers.numpy().T
    return Detections(np.column_stack([x, y]), score, area)


def estimate_seconds(base: Model, net: nn.Module, fields: int, config: RetrainConfig) -> float:
    """How long it would take on this machine; a step of `net`, that of the version and changed by it, is measured on a
    few batches of blank tissue."""
    options = dataclasses.replace(_config(base, config), steps=3, validate_every=3)
    network = cast(Sequence[DetectorNet], net.members)[0]
    blank = Tissue(np.full((640, 640, 3), 190, np.uint8), _NOWHERE, _NOWHERE, None, True, _NOWHERE)
    ended = [time.perf_counter()]
    with one_thread():
        fit_net(network, [], options, tissues=[blank], still=True,
                report=lambda step: ended.append(time.perf_counter()))  # fmt: skip
    step = float(np.diff(ended).min())
    parts = min(config.folds, max(2, fields))
    return base.card.members * (parts * config.steps * step + 3 * fields * _LOOK_SECONDS)
