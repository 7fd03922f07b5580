"""A second stage: learnt on what the first had not seen, kept with its weights, heard in every score."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mitosis_core import load_model, predict
from mitosis_core.errors import UnusableModel
from mitosis_core.inference.calibration import calibration_shift, centre_on_threshold
from mitosis_core.inference.runtime import get_engine
from mitosis_core.inference.verifier import fuse_scores, verify_field
from mitosis_core.prediction import find_candidates, infer
from mitosis_core.scoring.evaluation import ScoredField
from mitosis_core.types import Detections
from train.config import TrainConfig
from train.data.examples import Example
from train.fit import fit
from train.selection import cascade
from train.selection.evaluation import POSTPROCESSING, Choice, ThresholdScores


@pytest.mark.slow
@pytest.mark.usefixtures("pretrained_is_random")
def test_a_version_of_two_stages(drawn: list[Example], quick: TrainConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        quick,
        steps=20,
        batch=6,
        lr=1e-3,
        lr_head=3e-3,
        mine_every=0,
        validate_every=20,
        ema=0.5,
        verifier="thin_resnet50",
    )
    out = tmp_path / "both.safetensors"
    fit(drawn, [], config, out, work=tmp_path / "work")
    model = load_model(out)
    card = model.card
    assert card.verifier is not None and 0 <= card.verifier.weight <= 1
    assert len(list((tmp_path / "work" / "verifiers").glob("*.pt"))) == 3  # one for each fold, and the one that is kept

    field = drawn[0].field
    answer = predict(field, model, device="cpu").candidates
    output = infer(field, get_engine(model, "cpu"), card.um_per_px, card.stride)
    first, _ = find_candidates(output, field, card.blobs, calibration_shift(output.map, card.calibration))
    net = model.second_stage()
    assert net is not None
    second = verify_field(net, field, first, card.verifier.lower)
    expected = centre_on_threshold(fuse_scores(first.score, second, card.verifier.weight), card.raw_threshold)
    assert np.sort(answer.score) == pytest.approx(np.sort(expected), abs=1e-3)

    alone = dataclasses.replace(card, verifier=dataclasses.replace(card.verifier, encoder="efficientnet_lite0"))
    with pytest.raises(UnusableModel, match="do not fit"):
        dataclasses.replace(model, card=alone).second_stage()


def test_false_alarms_are_counted_at_the_scores_of_both_stages(
    monkeypatch: pytest.MonkeyPatch, drawn: list[Example], tmp_path: Path
) -> None:
    """By hand: on tissue without mitoses the first stage says 0.9, 0.8, 0.7 and the second turns their order round."""
    none = np.zeros((0, 2), np.float32)
    ignored = np.zeros(drawn[0].field.pixels.shape[:2], np.uint8)
    held = [(drawn[0], dataclasses.replace(drawn[0], mitoses_xy_px=none, ignored=ignored)), (drawn[1],)]
    scores = np.array([0.9, 0.8, 0.7], np.float32)

    def found(annotated: bool, fold: int) -> list[ScoredField]:
        example = held[fold][0]
        if annotated:  # the first stage is right about one and a little surer of a wrong one
            xy = np.vstack([example.mitoses_xy_px[:1] + 200, example.mitoses_xy_px[:1]])
            own = Detections(xy, np.array([0.6, 0.5], np.float32), np.ones(2))
            return [ScoredField("f", str(fold), own, example.mitoses_xy_px[:1], 0.25, 1.0)]
        nothing_true = ScoredField(
            "t", "t", Detections(np.zeros((3, 2), np.float32), scores, np.ones(3)), none, 0.25, 1.0
        )
        return [nothing_true] if fold == 0 else []

    def verify(net: object, field: object, own: Detections) -> np.ndarray:
        return np.array([0.1, 0.5, 1.0] if len(own) == 3 else [0.0, 1.0], np.float32)

    monkeypatch.setattr(
        cascade, "detections", lambda folds, choice, config, annotated=True: [found(annotated, i) for i in range(2)]
    )
    monkeypatch.setattr(cascade, "_verifier", lambda *given: None)
    monkeypatch.setattr(cascade, "verify_field", verify)
    first = Choice(1, POSTPROCESSING, None, ThresholdScores(0.5, 0, 0, 0, {}), {"1": 0.95})
    both = cascade.second_stage([(some, []) for some in held], first, TrainConfig(verifier="x"), tmp_path)
    weight = both.settings.weight
    assert 0 < weight < 0.9
    fused = np.sort(fuse_scores(scores, np.array([0.1, 0.5, 1.0], np.float32), weight))
    assert fused[-2] < both.choice.false_alarms["1"] <= fused[-1]
    assert both.choice.false_alarms["5"] == 0.0 and both.choice.validation.f1 == 1.0
    again = cascade.verified_fields(found(False, 0), held[0][1:], both)
    assert np.sort(again[0].detections.score) == pytest.approx(fused)
