"""The same battery for every published system: what the pipeline, the page and a retraining may expect of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import mitosis_core.prediction as prediction
from mitosis_core import load_model, predict
from mitosis_core.blobs import BlobSettings
from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.matching import match
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import together
from mitosis_core.methods.method import BoxNet, DetectorNet
from mitosis_core.model import Model, ModelCard, save_model
from mitosis_core.prediction import candidates, look
from mitosis_core.runtime import torch_engine
from mitosis_core.sample_field import draw_sample_field
from mitosis_core.scale import resample
from mitosis_core.types import Field
from train.config import TrainConfig
from train.examples import Example
from train.loop import fit_net
from train.recipes import RECIPES, default_config

ENCODER = "thin_resnet50"
PEAKS = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.05, min_area_um2=0.0, min_score=0.0)
CPU = torch.device("cpu")
every_method = pytest.mark.parametrize("method", list(METHODS))


def fresh(method: str, variant: str = "") -> DetectorNet:
    torch.manual_seed(1)
    return METHODS[method].build(ENCODER, False, variant).eval()


def version(method: str, folder: Path) -> Model:
    net = together([fresh(method)])
    card = ModelCard("random", method, ENCODER, default_config(method).um_per_px, net.stride, 1, 0.5, PEAKS, None, "",
                     "2026-01-01T00:00:00+00:00")  # fmt: skip
    return save_model(net, card, folder / f"{method}.safetensors")


def test_every_method_has_a_recipe_and_its_options_are_valid() -> None:
    assert RECIPES.keys() == METHODS.keys()
    for method in METHODS:
        assert isinstance(default_config(method), TrainConfig)


@every_method
def test_every_variant_answers_in_its_shape_and_range(method: str) -> None:
    field = draw_sample_field(seed=3, size_px=192, mitoses=1, lookalikes=1).field
    for variant in METHODS[method].variants:
        net = fresh(method, variant)
        seen = look(field, torch_engine(net, CPU, half=False), 0.25, net.stride)
        side = -(-192 // net.stride)
        assert seen.map.values.shape == (side, side)
        assert 0 <= seen.map.values.min() <= seen.map.values.max() <= 1
        assert (seen.boxes is not None) == isinstance(net, BoxNet)
        found, _ = candidates(seen, field, PEAKS, None)
        assert ((found.xy_px > -0.5) & (found.xy_px < 192)).all() and ((found.score >= 0) & (found.score <= 1)).all()


@every_method
def test_an_unknown_variant_is_a_sentence(method: str) -> None:
    with pytest.raises(UnusableModel, match="variant"):
        METHODS[method].build(ENCODER, False, "of another paper")


@every_method
def test_saved_and_loaded_it_says_the_same(method: str, tmp_path: Path) -> None:
    model = version(method, tmp_path)
    loaded = load_model(model.weights)
    assert loaded.card == model.card
    field = draw_sample_field(seed=3, size_px=160, mitoses=1, lookalikes=1).field
    first, second = (predict(field, one, device="cpu").candidates for one in (model, loaded))
    assert np.array_equal(first.xy_px, second.xy_px) and np.array_equal(first.score, second.score)


@every_method
def test_weights_of_another_method_are_refused(method: str, tmp_path: Path) -> None:
    model = version(method, tmp_path)
    other = next(key for key in METHODS if key != method)
    mixed = dataclasses.replace(model, card=dataclasses.replace(model.card, method=other))
    with pytest.raises(ConcentricError, match="do not fit"):
        mixed.net()


@every_method
def test_tiled_and_whole_agree(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = draw_sample_field(seed=5, size_px=800, um_per_px=0.333, mitoses=2, lookalikes=2).field
    net = fresh(method)
    run = torch_engine(net, CPU, half=False)
    whole = look(field, run, 0.333, net.stride)
    monkeypatch.setattr(prediction, "WHOLE_FIELD_PX", 0)
    monkeypatch.setattr(prediction, "TILE_PX", 768)
    tiled = look(field, run, 0.333, net.stride)
    assert np.abs(tiled.map.values - whole.map.values).max() < 1e-3


@every_method
def test_it_learns_four_planted_fields_whatever_their_scale(method: str) -> None:
    """Overfits; then finds the same places in the same tissue at twice the µm/px."""
    samples = [draw_sample_field(seed=seed, size_px=512, mitoses=2, lookalikes=2) for seed in range(4)]
    examples = [Example(one.field, f"s{i}", one.mitoses_xy_px, one.lookalikes_xy_px) for i, one in enumerate(samples)]
    steps = 150 if method == "instance_max" else 60  # it is told less
    config = default_config(method, um_per_px=0.5, steps=steps, batch=8, crop_px=96, lr_head=1e-2, ema=0.9,
                            share_mitosis=0.5, share_patch=0.0, mine_every=0, members=1, frozen_stages=4)  # fmt: skip
    torch.manual_seed(1)
    net = METHODS[method].build("efficientnet_lite0", False)
    # From an encoder that has seen mitoses, or an image label alone would take long to teach.
    seasoned = load_model().net().members[0].encoder.state_dict()  # type: ignore[union-attr,index]
    net.encoder.load_state_dict(seasoned)  # type: ignore[union-attr]
    net = fit_net(net, examples, config, still=True)
    run = torch_engine(net, CPU, half=False)
    for factor in (1.0, 2.0):
        hits = 0
        for one in samples:
            pixels, _ = resample(one.field.pixels, 0.25, 0.25 * factor)
            found, _ = candidates(look(Field(pixels, 0.25 * factor, "planted"), run, 0.5, net.stride),
                                  Field(pixels, 0.25 * factor, "planted"), PEAKS, None)  # fmt: skip
            true = ((one.mitoses_xy_px + 0.5) / factor - 0.5).astype(np.float32)
            hits += len(match(found.xy_px[:2], true, 7.5 / (0.25 * factor)).pairs)
        assert hits >= 6, (
            f"{hits} of 8 planted figures are among the best two of their field ({factor} times the µm/px)"
        )
