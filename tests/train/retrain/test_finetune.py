"""The other methods learn corrected fields too: their encoder stays, the rest moves, a cut run goes on."""

import dataclasses
from pathlib import Path

import pytest
import torch

from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.model import Model, ModelCard, save_model
from train.data.examples import Example
from train.retrain.config import RetrainConfig
from train.retrain.estimate import measured_seconds
from train.retrain.retrain import Progress, retrain
from train.retrain.session import Cancelled

QUICK = RetrainConfig(steps=2, average=0.5, blend=1.0, folds=2)


def base(method: str, folder: Path) -> Model:
    torch.manual_seed(0)
    net = make_ensemble([METHODS[method].build("thin_resnet50", False)])
    blobs = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.005, min_score=0.0)
    card = ModelCard("base", method, "thin_resnet50", 0.25, net.stride, 1, 0.02, blobs, None, "", "2026-01-01")
    return save_model(net, card, folder / "base.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("method", [key for key in METHODS if key != "segmitos"])
def test_the_encoder_stays_and_the_rest_learns(method: str, drawn: list[Example], tmp_path: Path) -> None:
    old = base(method, tmp_path)
    steps: list[Progress] = []
    new = retrain(old, drawn[:2], QUICK, tmp_path / "new.safetensors", progress=steps.append)
    assert new.card.training["recipe"] == "finetune" and new.card.parent == "base" and new.card.method == method
    assert [one.step for one in steps] == [1, 2, 3, 4] and steps[-1].steps == 4
    before, after = old.net().state_dict(), new.net().state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not [name for name in moved if ".encoder." in name]
    assert 0 < new.card.raw_threshold < 1


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_after_its_last_whole_training(drawn: list[Example], tmp_path: Path) -> None:
    old, kept = base("rdlm", tmp_path), tmp_path / "checkpoint"
    whole = retrain(old, drawn[:2], QUICK, tmp_path / "whole.safetensors")

    def stop(state: Progress) -> None:
        if state.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(old, drawn[:2], QUICK, tmp_path / "new.safetensors", checkpoint=kept, progress=stop)
    steps: list[int] = []
    again = retrain(
        old,
        drawn[:2],
        QUICK,
        tmp_path / "new.safetensors",
        checkpoint=kept,
        progress=lambda state: steps.append(state.step),
    )
    assert steps == [3, 4] and again.card.weights_sha256 == whole.card.weights_sha256


def test_it_can_be_cancelled(drawn: list[Example], tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        retrain(base("instance_max", tmp_path), drawn[:2], QUICK, tmp_path / "new.safetensors", cancelled=lambda: True)
    assert not (tmp_path / "new.safetensors").exists()


def test_the_estimate_grows_with_the_steps(tmp_path: Path) -> None:
    model = base("instance_max", tmp_path)
    few, many = (measured_seconds(model, 4, 0, dataclasses.replace(QUICK, steps=n))["learning"] for n in (10, 1000))
    assert 0 < few < many
