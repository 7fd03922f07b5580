"""Each option of a retraining acts for the ways that it is offered for, and is recorded by those alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.model import Model, ModelCard, list_versions, load_model, save_model
from train.data.examples import Example
from train.retrain.config import HEADS_ONLY, RetrainConfig, options_of, way_of
from train.retrain.estimate import measured_seconds
from train.retrain.retrain import retrain

ALL = {one.name for one in dataclasses.fields(RetrainConfig)}
READ: set[str] = set()


class Watched(RetrainConfig):
    """Notes which of its options are read."""

    def __getattribute__(self, name: str) -> object:
        if name in ALL:
            READ.add(name)
        return super().__getattribute__(name)


def version(method: str, folder: Path) -> Model:
    torch.manual_seed(0)
    net = make_ensemble([METHODS[method].build("thin_resnet50", False)])
    blobs = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.005, min_score=0.0)
    card = ModelCard("base", method, "thin_resnet50", 0.5, net.stride, 1, 0.02, blobs, None, "", "2026-01-01")
    return save_model(net, card, folder / "base.safetensors")


def read_by(work: Callable[[RetrainConfig], object]) -> set[str]:
    watched = Watched(steps=2, batch=2, crops_per_field=2, crop_px=64, folds=2)
    READ.clear()
    work(watched)
    return set(READ)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["segmitos", "instance_max"])
def test_what_is_read_is_what_is_offered_and_recorded(method: str, drawn: list[Example], tmp_path: Path) -> None:
    base = version(method, tmp_path)
    offered = {one.name for one in options_of(way_of(base.card))}
    cards: list[Model] = []
    assert read_by(lambda config: cards.append(retrain(base, drawn[:2], config, tmp_path / "n.safetensors"))) == offered
    training = cards[0].card.training
    assert training.keys() == {"recipe", *offered, "steps kept"} and training["recipe"] == way_of(base.card)
    assert read_by(lambda config: measured_seconds(base, 2, 0, config)) <= offered


def test_heads_are_trained_where_the_networks_have_them() -> None:
    for name in list_versions():
        model = load_model(name)
        lite = all(isinstance(net, LiteFCN) for net in model.net().members)  # type: ignore[union-attr]
        assert way_of(model.card) == ("heads" if lite and model.card.verifier is None else "finetune")


def test_published_networks_and_second_stages_are_fine_tuned() -> None:
    card = load_model("segmitos-lite-2").card
    second = {"encoder": "efficientnet_lite0", "weight": 0.5, "low": 0.1}
    assert way_of(card) == "heads"
    assert way_of(dataclasses.replace(card, encoder="vgg16-8s")) == "finetune"
    assert way_of(dataclasses.replace(card, verifier=second)) == "finetune"
    assert len(HEADS_ONLY) == 10 and HEADS_ONLY < ALL


def test_a_run_recorded_with_every_option_is_still_read() -> None:
    """Runs of earlier releases recorded all options, whatever the version."""
    assert RetrainConfig(**dataclasses.asdict(RetrainConfig(steps=7))) == RetrainConfig(steps=7)
    assert RetrainConfig(**RetrainConfig(steps=7).acting("finetune")) == RetrainConfig(steps=7)
