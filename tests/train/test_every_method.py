"""The same battery for every published system: what the pipeline, the page and a retraining may expect of it.

After a change that is meant to change detections, `python -m tests.train.test_every_method` writes golden.json anew.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

import mitosis_core.prediction as prediction
from mitosis_core import load_model, predict
from mitosis_core.encoders import ENCODERS
from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.inference import runtime
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.calibration import calibration_shift
from mitosis_core.inference.runtime import Engine, torch_engine
from mitosis_core.methods import METHODS
from mitosis_core.methods.ensemble import make_ensemble
from mitosis_core.methods.method import BoxNet, DetectorNet
from mitosis_core.methods.segmitos import LiteFCN
from mitosis_core.model import Model, ModelCard, list_versions, save_model
from mitosis_core.prediction import find_candidates, infer
from mitosis_core.scale import resample
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections, Field
from train.config import TrainConfig
from train.data.examples import Example
from train.loop import fit_net
from train.methods import RECIPES, default_config

ENCODER = "thin_resnet50"
PEAKS = BlobSettings(finder="peaks", score="peak", binarize="fixed", threshold=0.05, min_area_um2=0.0, min_score=0.0)
CPU = torch.device("cpu")
GOLDEN = Path(__file__).with_name("golden.json")
every_method = pytest.mark.parametrize("method", list(METHODS))


def fresh(method: str, variant: str = "") -> DetectorNet:
    torch.manual_seed(1)
    net = METHODS[method].build(ENCODER, False, variant).eval()
    if isinstance(net, LiteFCN):  # begins by saying the same everywhere, of which no test could tell one place
        torch.nn.init.normal_(net.classify.weight, 0, 0.1)
    return net


def shipped(method: str) -> Model:
    return next(one for one in map(load_model, list_versions()) if one.card.method == method)


def exact(net: torch.nn.Module) -> Engine:
    """The same on every processor, but for the last digits."""
    return torch_engine(net, CPU, half=False)


def missing(these: Detections, others: Detections, away_px: float, score: float) -> Detections:
    """Those of which there is none so near, so sure and so large among the others."""
    if not len(these) or not len(others):
        return these
    away, nearest = cKDTree(others.xy_px).query(these.xy_px)
    larger = np.abs(others.area_um2[nearest] - these.area_um2)
    gone = (away > away_px) | (np.abs(others.score[nearest] - these.score) > score)
    gone |= larger > 4.0 + 0.05 * these.area_um2  # a cell of a map more or less is no other figure
    return these.select(gone)


def agree(these: Detections, others: Detections, away_px: float, score: float, lowest: float) -> None:
    """The same detections on both sides; one that is hardly above `lowest` may be below it on the other."""
    for one, other in ((these, others), (others, these)):
        lost = missing(one.above(lowest + score), other, away_px, score)
        assert not len(lost), f"{lost.xy_px.tolist()} with {lost.score.tolist()}"


def version(method: str, folder: Path) -> Model:
    net = make_ensemble([fresh(method)])
    return save_model(net, card_of(method, ENCODER, net.stride), folder / f"{method}.safetensors")


def card_of(method: str, encoder: str, stride: int) -> ModelCard:
    return ModelCard(
        "random",
        method,
        encoder,
        default_config(method).um_per_px,
        stride,
        1,
        0.5,
        PEAKS,
        None,
        "",
        "2026-01-01T00:00:00+00:00",
    )


def test_every_method_has_a_recipe_and_its_options_are_valid() -> None:
    assert RECIPES.keys() == METHODS.keys()
    for method in METHODS:
        assert isinstance(default_config(method), TrainConfig)


@every_method
def test_every_variant_answers_in_its_shape_and_range(method: str) -> None:
    field = draw_sample_field(seed=3, size_px=192, mitoses=1, lookalikes=1).field
    for variant in METHODS[method].variants:
        net = fresh(method, variant)
        seen = infer(field, torch_engine(net, CPU, half=False), 0.25, net.stride)
        side = -(-192 // net.stride)
        assert seen.map.values.shape == (side, side)
        assert 0 <= seen.map.values.min() <= seen.map.values.max() <= 1
        assert (seen.boxes is not None) == isinstance(net, BoxNet)
        found, _ = find_candidates(seen, field, PEAKS)
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


@pytest.mark.slow
@every_method
def test_tiled_and_whole_agree(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map in every cell, and what is found: boxes are no map."""
    drawn = draw_sample_field(seed=5, size_px=900, um_per_px=0.333, mitoses=12, lookalikes=12).field
    field, card = dataclasses.replace(drawn, pixels=drawn.pixels[:256].copy()), shipped(method).card
    run, asked = exact(shipped(method).net()), []

    def counted(pixels: np.ndarray) -> runtime.EngineOutput:
        asked.append(pixels.shape)
        return run(pixels)

    whole = infer(field, counted, card.um_per_px, card.stride)
    monkeypatch.setattr(prediction, "WHOLE_FIELD_PX", 0)
    monkeypatch.setattr(prediction, "TILE_PX", 768)
    tiled = infer(field, counted, card.um_per_px, card.stride)
    assert len(asked) > 3 and np.abs(tiled.map.values - whole.map.values).max() < 1e-3
    found, again = (
        find_candidates(seen, field, card.blobs, calibration_shift(seen.map, card.calibration))[0]
        for seen in (whole, tiled)
    )
    assert len(found.above(0.1)) > 1
    agree(found, again, away_px=0.1, score=1e-3, lowest=card.blobs.min_score)


@every_method
def test_the_same_tissue_in_smaller_pixels_has_the_same_figures(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pixel as four of half its size."""
    monkeypatch.setattr(prediction, "get_engine", lambda model, device: exact(model.net()))
    pixels = draw_sample_field(seed=3, size_px=384, mitoses=3, lookalikes=3).field.pixels
    fine = Field(pixels.repeat(2, 0).repeat(2, 1), 0.125, "fine")
    one, two = (predict(each, shipped(method), device="cpu").candidates for each in (Field(pixels, 0.25, "one"), fine))
    carried = Detections((two.xy_px + 0.5) / 2 - 0.5, two.score, two.area_um2)
    assert len(one.above(0.1)) > 0
    agree(one, carried, away_px=1.0, score=0.02, lowest=0.01)


def golden_detections(name: str) -> Detections:
    """What a method with a fixed seed, or a shipped version, finds in a drawn field: its best, down to a low score."""
    field = draw_sample_field(seed=3, size_px=384, mitoses=3, lookalikes=3).field
    if name not in METHODS:
        return predict(field, load_model(name), device="cpu").candidates
    net = fresh(name)
    return find_candidates(infer(field, exact(net), default_config(name).um_per_px, net.stride), field, PEAKS)[0]


def golden_rows(name: str) -> list[list[float]]:
    found = golden_detections(name).above(0.03)
    rows = np.column_stack([found.xy_px, found.score, found.area_um2])[:8].astype(float)
    return [[round(x, 1), round(y, 1), round(score, 3), round(area)] for x, y, score, area in rows.tolist()]


@pytest.mark.parametrize("name", [*METHODS, *list_versions()])
def test_what_is_found_is_what_was_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "get_engine", lambda model, device: exact(model.net()))
    x, y, score, area = np.array(json.loads(GOLDEN.read_text())[name], np.float32).T
    golden = Detections(np.column_stack([x, y]), score, area)
    found = golden_detections(name)
    assert len(golden) > 2 and not len(missing(golden, found, 0.5, 0.01))
    surer = found.above(float(golden.score[-1]) + 0.01)
    assert not len(missing(surer, golden, 0.5, 0.01))


@pytest.mark.slow
@every_method
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_goes_with_every_method(method: str, encoder: str, tmp_path: Path) -> None:
    """It answers; and weights of one encoder are not taken for those of another, which is said in one sentence."""
    torch.manual_seed(1)
    net = METHODS[method].build(encoder, False).eval()
    pixels = draw_sample_field(seed=3, size_px=192, mitoses=1, lookalikes=0).field.pixels[64:128, 64:128]
    seen = infer(Field(pixels, 0.25, "tiny"), exact(net), 0.25, net.stride)
    assert np.isfinite(seen.map.values).all() and seen.map.values.shape == (64 // net.stride, 64 // net.stride)
    assert (seen.boxes is not None) == isinstance(net, BoxNet)
    model = save_model(make_ensemble([net]), card_of(method, encoder, net.stride), tmp_path / "one.safetensors")
    for other in ENCODERS:
        one = dataclasses.replace(model, card=dataclasses.replace(model.card, encoder=other))
        if other == encoder:
            one.check()
            continue
        with pytest.raises(UnusableModel, match=r"^The weights of random do not fit its model card: [^\n]{,90}\.$"):
            one.check()


@every_method
def test_without_openvino_every_version_answers(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_has_openvino", lambda: False)
    runtime._engine.cache_clear()
    monkeypatch.setattr(runtime, "_openvino_engine", None)
    field = draw_sample_field(seed=3, size_px=256, mitoses=2, lookalikes=2).field
    assert len(predict(field, shipped(method), device="cpu").candidates) > 0
    runtime._engine.cache_clear()


@every_method
def test_nothing_is_made_on_another_device_than_the_images(method: str) -> None:
    """What is made without saying where would be on the CPU when the network is on a GPU; here it is nowhere."""
    x, labels = torch.rand(2, 3, 128, 128) * 255, torch.zeros(2, 32, 32, dtype=torch.uint8)
    for variant in METHODS[method].variants:
        if (method, variant) == ("deepmitosis", ""):  # torchvision's pooling makes a scalar, which may lie anywhere
            continue
        net = fresh(method, variant)
        own = labels[:, :: net.stride // 4, :: net.stride // 4].contiguous()
        config = default_config(method, variant=variant)
        with torch.device("meta"), torch.autocast("cpu", torch.bfloat16):
            value = RECIPES[method].loss(
                net.train(), x, own, [x.new_tensor([[30, 30, 60, 60]]), x.new_zeros(0, 4)], config
            )
        assert torch.isfinite(value).item()
        with torch.device("meta"), torch.inference_mode():
            seen = net.eval().detect(x[:1]).heat if isinstance(net, BoxNet) else net(x[:1])
        assert torch.isfinite(seen).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
@every_method
def test_it_learns_on_a_gpu_and_detects_on_a_cpu(method: str, drawn: list[Example]) -> None:
    config = default_config(method, steps=4, batch=4, crop_px=96, mine_every=2, share_patch=0.0)
    net = fit_net(fresh(method), drawn, config)
    assert next(net.parameters()).is_cuda
    for device in (torch.device("cuda"), CPU):
        seen = infer(drawn[0].field, torch_engine(net, device), config.um_per_px, net.stride)
        assert np.isfinite(seen.map.values).all()


@pytest.mark.slow
@every_method
def test_it_learns_four_planted_fields_whatever_their_scale(method: str) -> None:
    """Overfits; then finds the same places in the same tissue at twice the µm/px."""
    samples = [draw_sample_field(seed=seed, size_px=512, mitoses=2, lookalikes=2) for seed in range(4)]
    examples = [Example(one.field, f"s{i}", one.mitoses_xy_px, one.lookalikes_xy_px) for i, one in enumerate(samples)]
    steps = 150 if method == "instance_max" else 60  # it is told less
    config = default_config(
        method,
        um_per_px=0.5,
        steps=steps,
        batch=8,
        crop_px=96,
        lr_head=1e-2,
        ema=0.9,
        share_mitosis=0.5,
        share_patch=0.0,
        share_lookalike=0.1,  # there are some in these fields
        mine_every=0,
        members=1,
        frozen_stages=4,
    )
    torch.manual_seed(1)
    net = METHODS[method].build("efficientnet_lite0", False)
    # From an encoder that has seen mitoses, or an image label alone would take long to teach.
    seasoned = load_model().net().members[0].encoder.state_dict()  # type: ignore[union-attr,index]
    net.encoder.load_state_dict(seasoned)  # type: ignore[union-attr]
    net = fit_net(net, examples, config, freeze_statistics=True)
    run = torch_engine(net, CPU, half=False)
    for factor in (1.0, 2.0):
        hits = 0
        for one in samples:
            pixels, _ = resample(one.field.pixels, 0.25, 0.25 * factor)
            found, _ = find_candidates(
                infer(Field(pixels, 0.25 * factor, "planted"), run, 0.5, net.stride),
                Field(pixels, 0.25 * factor, "planted"),
                PEAKS,
            )
            true = ((one.mitoses_xy_px + 0.5) / factor - 0.5).astype(np.float32)
            hits += len(match(found.xy_px[:2], true, 7.5 / (0.25 * factor)).pairs)
        assert hits >= 6, (
            f"{hits} of 8 planted figures are among the best two of their field ({factor} times the µm/px)"
        )


if __name__ == "__main__":
    prediction.get_engine = lambda model, device="auto": exact(model.net())
    rows = {name: golden_rows(name) for name in [*METHODS, *list_versions()]}
    lines = [f"  {json.dumps(name)}: {json.dumps(found)}" for name, found in rows.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
