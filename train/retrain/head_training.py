"""Training of one network: a head for each fold, validated on its held-out fields, and their mean at the best step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

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
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.methods.segmitos import concentric_loss
from train.optimise import make_optimiser, optimiser_step, set_learning_rates, update_ema, warmup_cosine
from train.retrain.checkpoint import Checkpoint, Parts
from train.retrain.feature_cache import CachedFeatures, cache_features
from train.retrain.heads import field_probabilities, head_logits, interpolate_weights, mean_weights
from train.retrain.session import RetrainSession

_WARMUP = 20

Ints = npt.NDArray[np.int64]
StepReport = Callable[[int, float, float | None], None]  # step, loss, F1 after a validation


@dataclass(eq=False)
class _Fold:
    """One head in training: the crops it learns from, the fields held out to validate it, and its EMA."""

    crops: Ints
    held_out: list[int]
    head: nn.Module
    ema: nn.Module
    optimiser: torch.optim.Optimizer

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint keeps, by its name there."""
        return {"head": self.head, "average": self.ema, "optimiser": self.optimiser}


def train_head(
    session: RetrainSession, index: int, member: LiteFCN, checkpoint: Checkpoint, report_step: StepReport
) -> Parts:
    """Train the head of network `index`: its weights ("head"), the "step" kept, and its maps of the validation fields.

    Raises Cancelled, ConcentricError (the loss is no number).
    """
    cached, config = cache_features(session, index, member), session.config
    folds = [_make_fold(session, cached, *split) for split in session.splits]
    start, best = _resume(folds, checkpoint.in_training(index))
    for step in range(start + 1, config.steps + 1):
        session.stop_if_cancelled()
        losses = [_train_step(session, cached, fold, index, step) for fold in folds]
        if not all(math.isfinite(loss) for loss in losses):
            raise ConcentricError(f"The loss stopped being a number at step {step}; please lower the learning rate.")
        f1 = None
        if step == config.steps or step % config.validate_every == 0:
            best, f1 = _validate(session, cached, folds, step, best)
            checkpoint.save_progress(index, step, [_state(fold) for fold in folds], best)
        report_step(step, float(np.mean(losses)), f1)
        if best is not None and step - best["step"] >= config.patience * config.validate_every:
            break
    assert best is not None, "the last step is validated"
    return best


def _make_fold(session: RetrainSession, cached: CachedFeatures, learns: list[int], held_out: list[int]) -> _Fold:
    count = session.crops_per_field
    rows = np.concatenate([np.arange(i * count, (i + 1) * count) for i in learns])
    head = copy.deepcopy(cached.head)
    optimiser = make_optimiser(head, lr_encoder=session.config.lr_encoder, lr_head=session.config.lr, weight_decay=0.0)
    return _Fold(rows, held_out, head, copy.deepcopy(cached.head), optimiser)


def _state(fold: _Fold) -> Parts:
    return {name: part.state_dict() for name, part in fold.parts().items()}


def _resume(folds: list[_Fold], kept: Parts | None) -> tuple[int, Parts | None]:
    """The step to go on after, and the best so far; the folds become what they were then."""
    if kept is None:
        return 0, None
    for fold, state in zip(folds, kept["tracks"], strict=True):
        for name, part in fold.parts().items():
            part.load_state_dict(state[name])
    return kept["step"], kept["best"]


def _train_step(session: RetrainSession, cached: CachedFeatures, fold: _Fold, index: int, step: int) -> float:
    """One optimiser step at the scheduled learning rate; returns the loss."""
    config = session.config
    share = warmup_cosine(step, config.steps, _WARMUP)
    set_learning_rates(fold.optimiser, max(share, 0.02))
    drawn = np.random.default_rng((config.seed, index, step)).integers(2**31, size=config.batch)
    rows = torch.from_numpy(fold.crops[drawn % len(fold.crops)])
    labels = cached.labels[rows]
    logits = head_logits(
        fold.head, [maps[rows].contiguous(memory_format=torch.channels_last) for maps in cached.features]
    )
    background, mitosis = logits.unbind(1)
    from_even = torch.stack([background, mitosis - cached.even_odds_logit[rows]], 1)
    loss = concentric_loss(from_even, labels, config.mitosis_weight)
    old = F.kl_div(F.log_softmax(logits, 1), cached.old_log_probabilities[rows], log_target=True, reduction="none").sum(
        1
    )
    loss = loss + config.distil * (old * (labels == 0)).mean()
    value = optimiser_step(loss, fold.head, fold.optimiser)
    update_ema(fold.ema, fold.head, min(config.average, (1 + step) / (10 + step)))
    return value


def _validate(
    session: RetrainSession, cached: CachedFeatures, folds: list[_Fold], step: int, best: Parts | None
) -> tuple[Parts, float]:
    """The better of `best` and this step, and the F1 of this step."""
    heads, values = [], {}
    for fold in folds:
        head = copy.deepcopy(cached.head)
        interpolate_weights(head, fold.ema, session.config.blend)
        heads.append(head)
        for i in fold.held_out:
            session.stop_if_cancelled()
            values[i] = field_probabilities(
                head, cached.field_features[i], session.tissues[i], session.base.card.stride
            )
    curve = threshold_curve(
        session.scored_fields({i: session.probability_map(i, v) for i, v in values.items()}), HIT_RADIUS_UM
    )
    ap = curve.average_precision or 0.0
    if best is None or ap >= best["ap"]:
        best = {
            "step": step,
            "ap": ap,
            "head": mean_weights(heads).state_dict(),
            "maps": _logits(values),
            "old maps": _logits({i: cached.old_probabilities[i] for i in values}),
        }
    return best, float(curve.f1.max(initial=0.0))


def _logits(values: dict[int, Float32]) -> dict[int, torch.Tensor]:
    """Maps as they are kept: the logits, in half precision."""
    return {i: torch.from_numpy(logit(v).astype(np.float16)) for i, v in values.items()}
