"""Fine-tuning: networks whose head cannot be trained apart from their encoder, by their method's own recipe.

As in train/retrain/head_training.py the encoder is frozen, one network is trained for each fold and validated on its
held-out fields, and what is kept lies between the old weights and the mean of the trained ones.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from mitosis_core import ranks
from mitosis_core.inference.calibration import calibration_shift
from mitosis_core.inference.fusion import fuse
from mitosis_core.inference.runtime import torch_engine
from mitosis_core.methods.method import DetectorNet
from mitosis_core.model import Model
from mitosis_core.prediction import apply_verifier, find_candidates, infer
from mitosis_core.types import Detections
from mitosis_core.vocabulary import SAME_CELL_UM
from train.config import TrainConfig
from train.data.examples import Example
from train.data.patches import Tissue
from train.loop import Step, fit_net, mine_hard_negatives
from train.methods import default_config
from train.optimise import training_device
from train.parallel import RankLost, lost_as_sentence
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.config import RetrainConfig
from train.retrain.head_training import StepReport
from train.retrain.heads import interpolate_weights, mean_weights, single_thread
from train.retrain.session import RetrainSession

_NOWHERE = np.zeros((0, 2), np.float32)
_BATCH = 16  # crops per step: someone waits, and few fields have no more to show
_DETECT_SECONDS = 4.0  # for one field and network


def training_count(session: RetrainSession) -> int:
    """How many networks are trained: every member once for each fold."""
    return session.base.card.members * len(session.splits)


def finetune(
    session: RetrainSession, net: nn.Module, kept: Checkpoint, reporter: Callable[[int], StepReport]
) -> dict[int, tuple[Detections, Detections]]:
    """Train the networks of `net` in place. Returns what the new and the old version find in every validation field,
    down to a low score: field -> (new, old). Under torchrun the other processes help (`follow`). Raises Cancelled,
    ValueError (the loss is no number)."""
    with lost_as_sentence(), ranks.together():
        if ranks.size() > 1:
            ranks.from_first(lambda: _Task(session.base, session.fields, session.config, net, kept.done))
        found = _train_members(session, net, kept, reporter)
    fused = {i: _fuse_members(sides, session.fields[i].um_per_px) for i, sides in found.items()}
    return {i: (_verify(session, i, new), _verify(session, i, old)) for i, (new, old) in fused.items()}


@dataclass(frozen=True)
class _Task:
    """What the first process tells the others of a fine-tuning; done: the networks that were trained before."""

    base: Model
    fields: list[Example]
    config: RetrainConfig
    net: nn.Module
    done: list[Parts]


def follow() -> None:
    """Help the first process to fine-tune what it says, until there is `no_more`. The store is no business of this one:
    fields and networks are sent to it. Raises RankLost when the first process ends in the middle of one."""
    with lost_as_sentence(), single_thread():
        while (task := _next_task()) is not None:
            session = RetrainSession(task.base, task.fields, task.config, lambda: False)
            kept = Checkpoint(None, "")
            kept.done = list(task.done)
            _train_members(session, task.net, kept, lambda index: lambda step, loss, f1: None)


def _next_task() -> _Task | None:
    try:
        with lost_as_sentence():
            return ranks.from_first(lambda: None)
    except RankLost:  # the first process has ended, and has said why
        return None


def no_more() -> None:
    """The others may go home; called by the first process."""
    ranks.from_first(lambda: None)


def _train_members(
    session: RetrainSession, net: nn.Module, kept: Checkpoint, reporter: Callable[[int], StepReport]
) -> dict[int, list[tuple[Detections, Detections]]]:
    """Every network of every fold, and what each finds in its held-out fields."""
    config, splits = _config(session.base, session.config), len(session.splits)
    found: dict[int, list[tuple[Detections, Detections]]] = {}
    for index, network in enumerate(cast(Sequence[DetectorNet], net.members)):
        trained = []
        for split, (train, held_out) in enumerate(session.splits):
            number = index * splits + split
            if number == len(kept.done):
                kept.add_result(_train_member(session, network, train, held_out, config, reporter(number)))
            one = copy.deepcopy(network)
            one.load_state_dict(kept.done[number]["weights"])
            trained.append(one)
            for i, (new, old) in kept.done[number]["found"].items():
                found.setdefault(i, []).append((_from_tensor(new), _from_tensor(old)))
        network.load_state_dict(mean_weights(trained).state_dict())
    return found


def _verify(session: RetrainSession, i: int, found: Detections) -> Detections:
    session.stop_if_cancelled()
    return apply_verifier(found, session.fields[i].field, session.base, "cpu")


def _fuse_members(sides: list[tuple[Detections, Detections]], um_per_px: float) -> tuple[Detections, Detections]:
    new, old = ([side[which] for side in sides] for which in (0, 1))
    return fuse(new, SAME_CELL_UM / um_per_px), fuse(old, SAME_CELL_UM / um_per_px)


def _config(base: Model, config: RetrainConfig) -> TrainConfig:
    """The method's own options for so few steps; its crop, since its network wants it."""
    return default_config(
        base.card.method,
        variant=base.card.variant,
        encoder=base.card.encoder,
        um_per_px=base.card.um_per_px,
        batch=_BATCH,
        steps=config.steps,
        validate_every=config.steps,
        mine_every=0,
        frozen_stages=4,
        members=1,
        share_patch=0.0,
        lr_head=config.lr,
        share_mitosis=config.share_mitosis,
        share_lookalike=config.share_lookalike,
        share_hard=config.share_hard,
        share_anywhere=config.share_anywhere,
        ema=config.average,
        seed=config.seed,
    )


def _train_member(
    session: RetrainSession,
    network: DetectorNet,
    train: list[int],
    held_out: list[int],
    config: TrainConfig,
    report_step: StepReport,
) -> Parts:
    """Train one network: its weights, and what it and the old one find on the held-out fields."""
    tissues = [session.tissues[i] for i in train]
    session.stop_if_cancelled()
    mine_hard_negatives(network, tissues, config, training_device())

    def report(step: Step) -> None:
        session.stop_if_cancelled()
        report_step(step.step, step.loss, None)

    ema = fit_net(copy.deepcopy(network), [], config, tissues=tissues, freeze_statistics=True, report=report).cpu()
    trained = copy.deepcopy(network)
    interpolate_weights(trained, ema, session.config.blend)

    def sides(i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return _to_tensor(_detect(session, trained, i)), _to_tensor(_detect(session, network, i))

    found = dict(zip(held_out, ranks.each_a_share(sides, held_out), strict=True))
    return {"weights": trained.state_dict(), "found": found, "step": config.steps}


def _detect(session: RetrainSession, network: DetectorNet, i: int) -> Detections:
    session.stop_if_cancelled()
    card, field = session.base.card, session.fields[i].field
    output = infer(
        field, torch_engine(copy.deepcopy(network), training_device()), card.um_per_px, card.stride, card.stain
    )
    return find_candidates(output, field, card.blobs, calibration_shift(output.map, card.calibration))[0]


def _to_tensor(found: Detections) -> torch.Tensor:
    """As a checkpoint can keep them: Float32[N, 4], x, y, score, area."""
    return torch.from_numpy(np.column_stack([found.xy_px, found.score, found.area_um2]).astype(np.float32))


def _from_tensor(numbers: torch.Tensor) -> Detections:
    x, y, score, area = numbers.numpy().T
    return Detections(np.column_stack([x, y]), score, area)


def estimate_seconds(base: Model, net: nn.Module, fields: int, config: RetrainConfig) -> float:
    """How long it would take on this machine; a step of `net`, that of the version and changed by it, is measured on a
    few batches of blank tissue."""
    options = dataclasses.replace(_config(base, config), steps=3, validate_every=3)
    network = cast(Sequence[DetectorNet], net.members)[0]
    blank = Tissue(np.full((640, 640, 3), 190, np.uint8), _NOWHERE, _NOWHERE, None, True, _NOWHERE)
    ended = [time.perf_counter()]
    with single_thread():
        fit_net(
            network,
            [],
            options,
            tissues=[blank],
            freeze_statistics=True,
            report=lambda step: ended.append(time.perf_counter()),
        )
    step = float(np.diff(ended).min())
    parts = min(config.folds, max(2, fields))
    return base.card.members * (parts * config.steps * step + 3 * fields * _DETECT_SECONDS)
