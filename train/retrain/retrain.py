"""Retraining a version on corrected fields, in minutes on two cores, without forgetting.

All but the last stages of the encoders are frozen, so every crop goes through those once. What follows is trained; on
background it is held to the old output (distillation), and the result lies between the old weights and the trained ones
(as in WiSE-FT). One head is trained for each fold; its held-out fields say when to stop and where the threshold lies.
What is kept is the mean of their weights, which is better than each. Networks without such heads are fine-tuned instead
(train/retrain/finetune.py).
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import nn

from mitosis_core.errors import ConcentricError
from mitosis_core.model import Model, ModelCard, save_model
from train.data.examples import Example, digest
from train.parallel import wanted
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.config import RetrainConfig
from train.retrain.corrected import check_trainable, split_in_halves
from train.retrain.finetune import finetune, training_count
from train.retrain.head_training import StepReport, train_head
from train.retrain.heads import head_in, member_networks, single_thread
from train.retrain.phases import PhaseReport, report_nothing
from train.retrain.session import RetrainSession
from train.retrain.threshold import ChosenThreshold, choose_threshold, threshold_between

log = logging.getLogger("concentric.train")


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
    progress: Callable[[Progress], None] = lambda state: None,
    phase: PhaseReport = report_nothing,
    checkpoint: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Model:
    """Train `base` on the corrected fields and write the new version to `out` (.safetensors).

    The fields are held out in turn (a single one in halves) to choose step and threshold. phase: told of each phase how
    far it is. checkpoint: file written at every validation and after every network, taken up when it exists and belongs
    to the same run. The same call gives the same weights.
    Raises Cancelled, UnusableData (nothing to learn from), UnusableModel, ConcentricError (the loss is no number, or
    the disk is full).
    """
    check_trainable(examples)
    learned = list(examples) if len(examples) > 1 else split_in_halves(examples[0])
    net = base.net()
    session = RetrainSession(base, learned, config, cancelled, phase)
    kept = Checkpoint(checkpoint, session.identity())
    with single_thread():
        if session.way == "heads":
            if wanted() > 1:
                log.warning("Heads are trained from features that are computed once: one process does it, others wait.")
            threshold = _train_heads(session, net, kept, _step_reporters(session, kept, progress, base.card.members))
        else:
            threshold = _finetune(session, net, kept, _step_reporters(session, kept, progress, training_count(session)))
    return _save(net, _card(session, examples, out.stem, threshold, kept.done), out, base.second_stage())


def _train_heads(
    session: RetrainSession, net: nn.Module, kept: Checkpoint, reporter: Callable[[int], StepReport]
) -> ChosenThreshold:
    for index, member in enumerate(member_networks(net)):
        if index == len(kept.done):
            kept.add_result(train_head(session, index, member, kept, reporter(index)))
        head_in(member).load_state_dict(kept.done[index]["head"])
    session.report_phase("learning", 1.0)  # it may have stopped early
    return choose_threshold(session, kept.done)


def _finetune(
    session: RetrainSession, net: nn.Module, kept: Checkpoint, reporter: Callable[[int], StepReport]
) -> ChosenThreshold:
    found = finetune(session, net, kept, reporter)
    new, old = ([session.scored_field(i, sides[which]) for i, sides in sorted(found.items())] for which in (0, 1))
    return threshold_between(session, new, old)


def _step_reporters(
    session: RetrainSession, kept: Checkpoint, progress: Callable[[Progress], None], members: int
) -> Callable[[int], StepReport]:
    """For each of `members` networks, what its training calls after a step; time left follows from the steps so far."""
    steps, started = session.config.steps, time.perf_counter()
    index = len(kept.done)
    first = index * steps + (kept.in_training(index) or {"step": 0})["step"]

    def of(index: int) -> StepReport:
        def report_step(step: int, loss: float, f1: float | None) -> None:
            done = index * steps + step
            speed = (time.perf_counter() - started) / max(1, done - first)
            session.report_phase("learning", done / (members * steps))
            progress(Progress(done, members * steps, loss, f1, speed * (members * steps - done)))

        return report_step

    return of


def _save(net: nn.Module, card: ModelCard, out: Path, verifier: nn.Module | None) -> Model:
    try:
        return save_model(net, card, out, verifier)
    except (OSError, SafetensorError) as error:
        raise ConcentricError("The new version could not be written; perhaps the disk is full.") from error


def _card(
    session: RetrainSession,
    examples: Sequence[Example],
    version: str,
    threshold: ChosenThreshold,
    done: Sequence[Parts],
) -> ModelCard:
    """The card of the old version with what has changed."""
    data = {
        "sha256": digest(list(examples)),
        "fields": len(examples),
        "slides": sorted({e.slide for e in examples}),
        "mitoses": sum(len(e.mitoses_xy_px) for e in examples),
        "before": session.base.card.data,
    }
    return dataclasses.replace(
        session.base.card,
        version=version,
        parent=session.base.version,
        raw_threshold=round(threshold.raw, 4),
        weights_sha256="",
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data=data,
        split={"held out": "in turn"},
        training={
            "recipe": session.way,
            **session.config.acting(session.way),
            "steps kept": [result["step"] for result in done],
        },
        scores={"validation": dict(threshold.scores)} if threshold.scores else {},
        purpose="",  # it is about the versions that come with the program
    )
