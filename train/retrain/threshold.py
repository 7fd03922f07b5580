"""The threshold of a retrained version, between that of the old one and the best on the corrected fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mitosis_core.inference.calibration import logit, sigmoid
from mitosis_core.scoring.evaluation import ScoredField, threshold_curve
from mitosis_core.scoring.matching import match
from mitosis_core.types import ProbabilityMap
from mitosis_core.vocabulary import HIT_RADIUS_UM
from train.retrain.checkpoint import Parts
from train.retrain.session import RetrainSession
from train.selection.evaluation import false_alarm_threshold, robust_threshold


@dataclass(frozen=True)
class ChosenThreshold:
    """The raw threshold, and its scores on the validation fields, for the card; none where nothing was found."""

    raw: float
    scores: Mapping[str, float | str]


def choose_threshold(session: RetrainSession, done: Sequence[Parts]) -> ChosenThreshold:
    """`threshold_between` from the maps that head training kept."""
    scored = session.scored_fields(_mean_maps(session, [result["maps"] for result in done]))
    session.report_phase("choosing", 0.5)
    before = session.scored_fields(_mean_maps(session, [result["old maps"] for result in done]))
    chosen = threshold_between(session, scored, before)
    session.report_phase("choosing", 1.0)
    return chosen


def threshold_between(
    session: RetrainSession, scored: Sequence[ScoredField], before: Sequence[ScoredField]
) -> ChosenThreshold:
    """The raw threshold of the new version, and its scores on the validation fields.

    scored, before: what the new and the old version find there, down to a low score. The threshold begins where the new
    one finds as many figures as the old one did, so that a change of scale, which other slides share, does no harm; and
    goes, on the scale of logits, the nearer to the best one on these fields the more mitoses they hold. With the option
    `false_alarms` it is where so many false detections are made on these fields.
    """
    same = _same_count_threshold(scored, before, session.base.card.raw_threshold)
    curve = threshold_curve(scored, HIT_RADIUS_UM)
    if not curve.tp.any():
        return ChosenThreshold(same, {})
    if session.config.false_alarms:
        at = _false_alarm_threshold(scored, session.config.false_alarms)
    else:
        mitoses = sum(len(f.true_xy_px) for f in scored)
        trust = mitoses / (mitoses + session.config.trust)
        low, high = logit(np.array([same, robust_threshold(scored)], np.float32))
        at = float(sigmoid(np.array([low + trust * (high - low)], np.float32))[0])
    scores = curve.at(at)
    note = "step and threshold were chosen on these fields, so this flatters"
    ratios = {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    return ChosenThreshold(at, {**ratios, "radius_um": HIT_RADIUS_UM, "note": note})


def _false_alarm_threshold(scored: Sequence[ScoredField], per_mm2: float) -> float:
    """The lowest threshold with no more than so many false detections per mm², never 0 or 1."""
    false = []
    for one in scored:
        found = one.detections
        extra = match(found.xy_px, one.true_xy_px, HIT_RADIUS_UM / one.um_per_px, found.score).extra
        false.append(dataclasses.replace(one, detections=found.select(np.isin(np.arange(len(found)), extra))))
    return float(np.clip(false_alarm_threshold(false, per_mm2), 1e-4, 1 - 1e-4))


def _same_count_threshold(scored: Sequence[ScoredField], before: Sequence[ScoredField], threshold: float) -> float:
    """The threshold at which `scored` has as many detections as `before` has at `threshold`."""
    count = sum(len(f.detections.above(threshold)) for f in before)
    scores = np.sort(np.concatenate([f.detections.score for f in scored]))[::-1]
    if not 0 < count < len(scores):
        return threshold
    return float(sigmoid(logit(scores[count - 1 : count + 1]).mean(keepdims=True))[0])


def _mean_maps(session: RetrainSession, by_member: Sequence[dict[int, torch.Tensor]]) -> dict[int, ProbabilityMap]:
    """The maps of several networks as one: the mean of their logits, as mitosis_core.methods.ensemble has it."""
    maps = {}
    for i in by_member[0]:
        mean = np.mean([logits[i].float().numpy() for logits in by_member], axis=0)
        maps[i] = session.probability_map(i, sigmoid(mean))
    return maps
