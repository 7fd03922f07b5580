"""One network learns: a head for each part of the fields held out, judged there, and their mean at the best step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from mitosis_core.errors import ConcentricError
from mitosis_core.inference.calibration import logit
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.scoring.evaluation import threshold_curve
from mitosis_core.types import Float32
from train.methods.segmitos import concentric_loss
from train.optimise import descend, one_cycle
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.feature_cache import Seen, look
from train.retrain.heads import answer, mean_head, move_towards, probabilities
from train.retrain.session import Task
from train.selection.evaluation import RADIUS_UM

_WARMUP = 20
_KEPT = ("head", "average", "optimiser")  # of a track, in a checkpoint

Ints = npt.NDArray[np.int64]
Tell = Callable[[int, float, float | None], None]  # step, loss, F1 after a validation


@dataclass(eq=False)
class _Track:
    """One head in training: the crops it learns from, and the fields that judge it."""

    crops: Ints
    judges: list[int]
    head: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer


def teach(task: Task, index: int, member: LiteFCN, checkpoint: Checkpoint, tell: Tell) -> Parts:
    """Train the head of network `index`: its weights ("head"), the "step" kept, and its maps of the judging fields.

    Raises Cancelled, ConcentricError (the loss is no number).
    """
    seen, config = look(task, index, member), task.config
    tracks = [_track(task, seen, *split) for split in task.splits]
    start, best = _resume(tracks, checkpoint.in_training(index))
    for step in range(start + 1, config.steps + 1):
        task.stop_if_cancelled()
        losses = [_step(task, seen, track, index, step) for track in tracks]
        if not all(math.isfinite(loss) for loss in losses):
            raise ConcentricError(f"The loss stopped being a number at step {step}; please lower the learning rate.")
        f1 = None
        if step == config.steps or step % config.validate_every == 0:
            best, f1 = _judge(task, seen, tracks, step, best)
            checkpoint.keep(index, step, [_state(track) for track in tracks], best)
        tell(step, float(np.mean(losses)), f1)
        if best is not None and step - best["step"] >= config.patience * config.validate_every:
            break
    assert best is not None, "the last step is judged"
    return best


def _track(task: Task, seen: Seen, learns: list[int], judges: list[int]) -> _Track:
    count = task.per_field
    rows = np.concatenate([np.arange(i * count, (i + 1) * count) for i in learns])
    head = copy.deepcopy(seen.head).train()
    optimiser = torch.optim.AdamW(head.parameters(), lr=task.config.lr, weight_decay=0.0)
    return _Track(rows, judges, head, copy.deepcopy(seen.head), optimiser)


def _state(track: _Track) -> Parts:
    return {name: getattr(track, name).state_dict() for name in _KEPT}


def _resume(tracks: list[_Track], kept: Parts | None) -> tuple[int, Parts | None]:
    """The step to go on after, and the best so far; the tracks become what they were then."""
    if kept is None:
        return 0, None
    for track, state in zip(tracks, kept["tracks"], strict=True):
        for name in _KEPT:
            getattr(track, name).load_state_dict(state[name])
    return kept["step"], kept["best"]


def _step(task: Task, seen: Seen, track: _Track, index: int, step: int) -> float:
    """One optimiser step at the learning rate of one cosine cycle; returns the loss."""
    config = task.config
    phase = one_cycle(step, config.steps, _WARMUP)
    for group in track.optimiser.param_groups:
        group["lr"] = config.lr * max(phase, 0.02)
    drawn = np.random.default_rng((config.seed, index, step)).integers(2**31, size=config.batch)
    rows = torch.from_numpy(track.crops[drawn % len(track.crops)])
    labels = seen.labels[rows]
    logits = answer(track.head, [maps[rows].contiguous(memory_format=torch.channels_last) for maps in seen.features])
    background, mitosis = logits.unbind(1)
    from_even = torch.stack([background, mitosis - seen.even[rows]], 1)
    loss = concentric_loss(from_even, labels, config.mitosis_weight)
    old = F.kl_div(F.log_softmax(logits, 1), seen.answers[rows], log_target=True, reduction="none").sum(1)
    loss = loss + config.distil * (old * (labels == 0)).mean()
    value = descend(loss, track.head, track.optimiser)
    move_towards(track.average, track.head, 1 - min(config.average, (1 + step) / (10 + step)))
    return value


def _judge(task: Task, seen: Seen, tracks: list[_Track], step: int, best: Parts | None) -> tuple[dict[str, Any], float]:
    """The better of `best` and this step, and the F1 of this step."""
    heads, values = [], {}
    for track in tracks:
        head = copy.deepcopy(seen.head)
        move_towards(head, track.average, task.config.blend)
        heads.append(head)
        for i in track.judges:
            task.stop_if_cancelled()
            values[i] = probabilities(head, seen.whole[i], task.tissues[i], task.base.card.stride)
    curve = threshold_curve(task.scored({i: task.map_of(i, v) for i, v in values.items()}), RADIUS_UM)
    ap = curve.average_precision or 0.0
    if best is None or ap >= best["ap"]:
        best = {"step": step, "ap": ap, "head": mean_head(heads).state_dict(), "maps": _logits(values),
                "old maps": _logits({i: seen.old[i] for i in values})}  # fmt: skip
    return best, float(curve.f1.max(initial=0.0))


def _logits(values: dict[int, Float32]) -> dict[int, torch.Tensor]:
    """Maps as they are kept: the logits, in half precision."""
    return {i: torch.from_numpy(logit(v).astype(np.float16)) for i, v in values.items()}
