"""A second stage on any detector (DeepMitosis, section 3.2): what it learns from, and the settings of the two together.

Everything is taken from slides held out: the verifier learns from detections on fields the detector has not seen, whose
mistakes are those it will make; weight and threshold come from fields neither has seen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mitosis_core.atomic_write import atomic_write
from mitosis_core.encoders import build_encoder
from mitosis_core.inference.verifier import LOWEST_SCORE, Verifier, verify_field
from mitosis_core.model import VerifierSettings
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Float32
from train.config import TrainConfig
from train.data.examples import Example, digest
from train.selection.evaluation import (
    Choice,
    Fold,
    detections,
    false_alarm_thresholds,
    fully_annotated,
    scores_at_threshold,
)
from train.selection.verifier import VerifierConfig, best_weight, fit_verifier, fused_fields


@dataclass(frozen=True)
class SecondStage:
    """A verifier, how it is weighed (for the card), and the choice of the first stage with the new threshold."""

    net: Verifier
    settings: VerifierSettings
    choice: Choice


def second_stage(folds: Sequence[Fold], choice: Choice, config: TrainConfig, work: Path) -> SecondStage:
    """Train a verifier on the detections of every fold; weigh it on folds held out in turn.

    work: folder where verifiers are kept; a second call takes them up. Raises UnusableData when the detections are
    all right or all wrong.
    """
    marked, free = ([[e for e in held if fully_annotated(e) == one] for held, _ in folds] for one in (True, False))
    found, found_free = (detections(folds, choice, config, annotated=one) for one in (True, False))
    verified: list[Float32] = []
    verified_free: list[Float32] = []
    for out in range(len(folds)):
        others = [i for i in range(len(folds)) if i != out]
        net = _verifier([e for i in others for e in marked[i]], [f for i in others for f in found[i]], config, work)
        verified += _answers(net, marked[out], found[out])
        verified_free += _answers(net, free[out], found_free[out])
    scored = [f for fold in found for f in fold]
    weight = round(best_weight(scored, verified), 3)
    everything = [e for fold in marked for e in fold]
    scores = scores_at_threshold(fused_fields(scored, verified, weight), everything, config)
    fused_free = fused_fields([f for fold in found_free for f in fold], verified_free, weight)
    net = _verifier(everything, scored, config, work)
    settings = VerifierSettings(config.verifier, weight, LOWEST_SCORE)
    alarms = false_alarm_thresholds(fused_free)
    return SecondStage(net, settings, dataclasses.replace(choice, validation=scores, false_alarms=alarms))


def verified_fields(
    scored: Sequence[ScoredField], examples: Sequence[Example], second: SecondStage
) -> list[ScoredField]:
    """The fields, with what the detector found in the examples, at the scores of both stages together."""
    return fused_fields(scored, _answers(second.net, examples, scored), second.settings.weight)


def _answers(net: Verifier, examples: Sequence[Example], found: Sequence[ScoredField]) -> list[Float32]:
    return [verify_field(net, e.field, f.detections) for e, f in zip(examples, found, strict=True)]


def _verifier(examples: Sequence[Example], found: Sequence[ScoredField], config: TrainConfig, work: Path) -> Verifier:
    """Trained once for these fields and detections, and kept."""
    settings = VerifierConfig(steps=min(VerifierConfig.steps, config.steps), seed=config.seed)
    scores = [[f.detections.xy_px.tolist(), f.detections.score.tolist()] for f in found]
    identity = json.dumps([digest(list(examples)), scores, config.verifier, dataclasses.asdict(settings)])
    kept = work / "verifiers" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.pt"
    if not kept.exists():
        net, _ = fit_verifier(examples, [f.detections for f in found], config.verifier, settings)
        with atomic_write(kept) as file:
            torch.save(net.state_dict(), file)
    net = Verifier(build_encoder(config.verifier, pretrained=False))
    net.load_state_dict(torch.load(kept, weights_only=True))
    return net.eval()
