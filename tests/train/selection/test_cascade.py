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
from train.config import TrainConfig
from train.data.examples import Example
from train.fit import fit


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
