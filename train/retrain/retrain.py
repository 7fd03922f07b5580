"""A version learns from corrected fields, in minutes on two cores, without forgetting.

The encoders stay as they are, so every crop goes through them once. Only the heads learn; on background they are held
to the old answer (distillation), and the result lies between the old weights and the learned ones (as in WiSE-FT).
One head is taught for each part of the fields held out in turn: there it says when to stop and where the threshold
lies. What is kept is the mean of their weights, which is better than each. Networks without such heads learn by
train/retrain/finetune.py.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model, ModelCard, save_model
from train.data.examples import Example, digest
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.config import RetrainConfig
from train.retrain.corrected import check, halves
from train.retrain.finetune import finetune, trainings
from train.retrain.head_training import Tell, teach
from train.retrain.heads import members, one_thread
from train.retrain.session import Task
from train.retrain.threshold import choose_threshold, threshold_between


@dataclass(frozen=True)
class Progress:
    """What a retraining reports after every step, of all `steps` over all networks of the version.

    f1: on held-out fields, after a validation.
    """

    step: int
    steps: int
    loss: float
    f1: float | None
    seconds_left: float


def retrain(
    base: Model,
    examples: Sequence[Example],
    config: RetrainConfig,
    out: Path,
    *,
    validation: Sequence[Example] = (),
    progress: Callable[[Progress], None] = lambda state: None,
    checkpoint: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Model:
    """Teach `base` the corrected fields and write the new version to `out` (.safetensors).

    validation: fields that choose step and threshold; without them the examples are held out in turn (a single one in
    halves). checkpoint: file written at every validation and after every network, taken
    up when it exists and belongs to the same run. The same call gives the same weights.
    Raises Cancelled, UnusableData (nothing to learn from), UnusableModel, ConcentricError (the loss is no number, or
    the disk is full).
    """
    check(examples)
    learned = list(examples) if validation or len(examples) > 1 else halves(examples[0])
    net = base.net()
    task = Task(base, [*learned, *validation], len(learned), config, cancelled)
    kept = Checkpoint(checkpoint, task.identity())
    with one_thread():
        if task.way == "heads":
            threshold, scores = _heads(task, net, kept, _teller(task, kept, progress, base.card.members))
        else:
            threshold, scores = _whole(task, net, kept, _teller(task, kept, progress, trainings(task)))
    return _save(net, _card(task, examples, out.stem, threshold, scores, kept.done), out, base.second_stage())


def _heads(task: Task, net: nn.Module, kept: Checkpoint, tell: Callable[[int], Tell]) -> tuple[float, dict[str, Any]]:
    for index, member in enumerate(members(net)):
        if index == len(kept.done):
            kept.add(teach(task, index, member, kept, tell(index)))
        member.load_state_dict(kept.done[index]["head"], strict=False)
    return choose_threshold(task, kept.done)


def _whole(task: Task, net: nn.Module, kept: Checkpoint, tell: Callable[[int], Tell]) -> tuple[float, dict[str, Any]]:
    found = finetune(task, net, kept, tell)
    new, old = ([task.judged(i, sides[which]) for i, sides in sorted(found.items())] for which in (0, 1))
    return threshold_between(task, new, old)


def _teller(task: Task, kept: Checkpoint, progress: Callable[[Progress], None], members: int) -> Callable[[int], Tell]:
    """For each training of `members`, what it calls after a step; the time left follows from the steps done here."""
    steps, started = task.config.steps, time.perf_counter()
    index = len(kept.done)
    first = index * steps + (kept.in_training(index) or {"step": 0})["step"]

    def of(index: int) -> Tell:
        def tell(step: int, loss: float, f1: float | None) -> None:
            done = index * steps + step
            speed = (time.perf_counter() - started) / max(1, done - first)
            progress(Progress(done, members * steps, loss, f1, speed * (members * steps - done)))

        return tell

    return of


def _save(net: nn.Module, card: ModelCard, out: Path, verifier: nn.Module | None) -> Model:
    try:
        return save_model(net, card, out, verifier)
    except (OSError, SafetensorError) as error:
        for part in out.parent.glob(f"{out.stem}.*.part"):
            part.unlink(missing_ok=True)
        raise ConcentricError("The new version could not be written; perhaps the disk is full.") from error


def _card(
    task: Task,
    examples: Sequence[Example],
    version: str,
    threshold: float,
    scores: dict[str, Any],
    done: Sequence[Parts],
) -> ModelCard:
    """The card of the old version with what has changed."""
    judges = task.fields[task.learning :]
    data = {
        "sha256": digest(list(examples)),
        "fields": len(examples),
        "slides": sorted({e.slide for e in examples}),
        "mitoses": sum(len(e.mitoses_xy_px) for e in examples),
        "before": task.base.card.data,
    }
    return dataclasses.replace(
        task.base.card,
        version=version,
        parent=task.base.version,
        raw_threshold=round(threshold, 4),
        weights_sha256="",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data=data,
        split={"validation": sorted({e.slide for e in judges}), "unit": "slide"} if judges else {"held out": "in turn"},
        training={
            "recipe": task.way,
            **task.config.acting(task.way),
            "steps kept": [result["step"] for result in done],
        },
        scores={"validation": scores} if scores else {},
    )
