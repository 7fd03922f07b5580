"""Networks whose head cannot be taught apart from their encoder learn corrected fields by their method's own recipe.

As in train/teach.py the encoder stays as it is, one network learns for each part of the fields held out in turn and is
judged there, and what is kept lies between the old weights and the mean of the learned ones.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from mitosis_core.fusion import fuse
from mitosis_core.methods.method import DetectorNet
from mitosis_core.model import Model
from mitosis_core.prediction import candidates, look
from mitosis_core.runtime import torch_engine
from mitosis_core.types import Detections
from train.checkpoint import Checkpoint, Parts
from train.config import TrainConfig
from train.heads import mean_head, move_towards
from train.loop import Step, fit_net, mine
from train.recipes import default_config
from train.retrain_config import RetrainConfig
from train.task import Task

Tell = Callable[[int, float], None]  # steps done of all, loss
_DEVICE = torch.device("cpu")


def steps_of(base: Model, config: RetrainConfig, splits: int) -> int:
    """Optimiser steps of a whole retraining."""
    return base.card.members * splits * config.steps


def finetune(task: Task, net: nn.Module, kept: Checkpoint, tell: Tell) -> dict[int, tuple[Detections, Detections]]:
    """Teach the networks of `net` in place. Returns what the new and the old version find in every judging field,
    down to a low score: field -> (new, old). Raises Cancelled, ValueError (the loss is no number)."""
    config, splits = _config(task.base, task.config), len(task.splits)
    networks = cast(Sequence[DetectorNet], net.members)
    found: dict[int, list[tuple[Detections, Detections]]] = {}
    for index, network in enumerate(networks):
        taught = []
        for split, (learns, judges) in enumerate(task.splits):
            number = index * splits + split
            if number == len(kept.done):
                kept.add(_learn(task, network, learns, judges, config, lambda step, loss, n=number: tell(  # type: ignore[misc]
                    n * config.steps + step, loss)))  # fmt: skip
            one = copy.deepcopy(network)
            one.load_state_dict(kept.done[number]["weights"], strict=False)
            taught.append(one)
            for i, (new, old) in kept.done[number]["found"].items():
                found.setdefault(i, []).append((_detections(new), _detections(old)))
        network.load_state_dict(mean_head(taught).state_dict())
    return {i: _together(sides, task.fields[i].um_per_px) for i, sides in found.items()}


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
    mine(network, tissues, config, _DEVICE)

    def report(step: Step) -> None:
        task.stop_if_cancelled()
        tell(step.step, step.loss)

    average = fit_net(copy.deepcopy(network), [], config, tissues=tissues, still=True, report=report, device=_DEVICE)
    taught = copy.deepcopy(network)
    move_towards(taught, average, task.config.blend)
    found = {i: (_numbers(_find(task, taught, i)), _numbers(_find(task, network, i))) for i in judges}
    return {"weights": taught.state_dict(), "found": found, "step": config.steps}


def _find(task: Task, network: DetectorNet, i: int) -> Detections:
    task.stop_if_cancelled()
    card, field = task.base.card, task.fields[i].field
    seen = look(field, torch_engine(copy.deepcopy(network), _DEVICE), card.um_per_px, card.stride)
    return candidates(seen, field, card.blobs, card.calibration)[0]


def _numbers(found: Detections) -> torch.Tensor:
    """As a checkpoint can keep them: Float32[N, 4], x, y, score, area."""
    return torch.from_numpy(np.column_stack([found.xy_px, found.score, found.area_um2]).astype(np.float32))


def _detections(numbers: torch.Tensor) -> Detections:
    x, y, score, area = numbers.numpy().T
    return Detections(np.column_stack([x, y]), score, area)


def seconds_per_step(base: Model, config: RetrainConfig) -> float:
    """Measured on a batch of blank tissue, in a few seconds."""
    options = _config(base, config)
    networks = cast(Sequence[DetectorNet], base.net().members)
    taken: list[float] = []
    last = time.perf_counter()

    def report(step: Step) -> None:
        nonlocal last
        taken.append(time.perf_counter() - last)
        last = time.perf_counter()

    from dataclasses import replace

    fit_net(networks[0], [], replace(options, steps=3, validate_every=3), tissues=[_blank()], still=True,
            report=report, device=_DEVICE)  # fmt: skip
    return min(taken)


def _blank() -> Any:
    from train.patches import Tissue

    none = np.zeros((0, 2), np.float32)
    return Tissue(np.full((640, 640, 3), 190, np.uint8), none + 0, none, None, True, none)
