"""The threshold of a retrained version, between that of the old one and the best on the corrected fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mitosis_core.inference.calibration import logit, probability
from mitosis_core.scoring.evaluation import ScoredField, threshold_curve
from mitosis_core.types import ProbabilityMap
from train.retrain.checkpoint import Parts
from train.retrain.session import Task
from train.selection.evaluation import RADIUS_UM, steady_threshold


def choose_threshold(task: Task, done: Sequence[Parts]) -> tuple[float, dict[str, Any]]:
    """`threshold_between` for networks of which the maps were kept."""
    scored = task.scored(_together(task, [result["maps"] for result in done]))
    return threshold_between(task, scored, task.scored(_together(task, [result["old maps"] for result in done])))


def threshold_between(
    task: Task, scored: Sequence[ScoredField], before: Sequence[ScoredField]
) -> tuple[float, dict[str, Any]]:
    """The raw threshold of the new version, and its scores on the fields that judged it.

    scored, before: what the new and the old version find there, down to a low score. The threshold begins where the new
    one finds as many figures as the old one did, so that a change of scale, which other slides share, does no harm; and
    goes, on the scale of logits, the nearer to the best one on these fields the more mitoses they hold.
    """
    same, mitoses = _as_many(scored, before, task.base.card.raw_threshold), sum(len(f.true_xy_px) for f in scored)
    curve = threshold_curve(scored, RADIUS_UM)
    if not curve.tp.any():
        return same, {}
    trust = mitoses / (mitoses + task.config.trust)
    low, high = logit(np.array([same, steady_threshold(scored)], np.float32))
    at = float(probability(np.array([low + trust * (high - low)], np.float32))[0])
    scores = curve.at(at)
    note = "step and threshold were chosen on these fields, so this flatters"
    return at, {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall, "radius_um": RADIUS_UM,
                "note": note}  # fmt: skip


def _as_many(scored: Sequence[ScoredField], before: Sequence[ScoredField], threshold: float) -> float:
    """The threshold at which `scored` has as many detections as `before` has at `threshold`."""
    count = sum(len(f.detections.above(threshold)) for f in before)
    scores = np.sort(np.concatenate([f.detections.score for f in scored]))[::-1]
    if not 0 < count < len(scores):
        return threshold
    return float(probability(logit(scores[count - 1 : count + 1]).mean(keepdims=True))[0])


def _together(task: Task, by_member: Sequence[dict[int, torch.Tensor]]) -> dict[int, ProbabilityMap]:
    """The maps of several networks as one: the mean of their logits, as mitosis_core.methods.ensemble has it."""
    maps = {}
    for i in by_member[0]:
        mean = np.mean([logits[i].float().numpy() for logits in by_member], axis=0)
        maps[i] = task.map_of(i, probability(mean))
    return maps
