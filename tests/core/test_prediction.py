"""The pipeline: whole and tiled agree, points come back, fields without scale or tissue are told so."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

import mitosis_core.prediction as prediction
from mitosis_core.errors import ConcentricError, MissingScale, UnusableModel
from mitosis_core.image import stain as stain_module
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.image.stain import macenko
from mitosis_core.inference.runtime import (
    MULTIPLE_PX,
    EngineOutput,
    crop_padding,
    get_engine,
    pad,
    resolve_device,
    torch_engine,
)
from mitosis_core.model import Model
from mitosis_core.prediction import exclude_border, predict, probability_map, searched_region
from mitosis_core.scale import resample
from mitosis_core.types import Detections, Field, UInt8
from tests.core.stains import from_stains, to_stains


def darkness(pixels: UInt8) -> EngineOutput:
    """A stand-in for an engine: how blue-dark each 4 x 4 cell is."""
    cells = cv2.resize(pixels, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return EngineOutput((1 - cells.mean(axis=2) / 255).astype(np.float32))


@pytest.mark.slow
def test_tiled_equals_whole(random_version: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    field = draw_sample_field(seed=5, size_px=1100, um_per_px=0.333, mitoses=2, lookalikes=2).field
    run = torch_engine(random_version.net(), torch.device("cpu"), half=False)
    whole = probability_map(field, run, 0.333, 4).values
    monkeypatch.setattr(prediction, "WHOLE_FIELD_PX", 0)
    monkeypatch.setattr(prediction, "TILE_PX", 768)
    calls = []

    def counted(pixels: UInt8) -> EngineOutput:
        calls.append(pixels.shape)
        return run(pixels)

    tiled = probability_map(field, counted, 0.333, 4).values
    assert set(calls) == {(704, 704, 3)} and len(calls) == 9
    assert tiled.shape == whole.shape == (275, 275)
    # The same sums in another order; the halo covers the receptive field.
    assert np.abs(tiled - whole).max() < 1e-4


def test_two_stainings_of_one_tissue_give_one_map() -> None:
    field = draw_sample_field(seed=4, size_px=400, mitoses=1, lookalikes=1).field
    field = dataclasses.replace(field, um_per_px=0.4)  # enough tissue to be measured by itself
    stains = to_stains(torch.from_numpy(field.pixels.copy()).permute(2, 0, 1)) * torch.tensor([0.7, 1.3, 1]).view(
        3, 1, 1
    )
    pixels = from_stains(stains).round().to(torch.uint8).permute(1, 2, 0).numpy()
    other = dataclasses.replace(field, pixels=pixels)

    def apart(stain: str, other: Field = other) -> float:
        maps = [probability_map(one, darkness, 0.333, 4, stain).values for one in (field, other)]
        return float(np.abs(maps[0] - maps[1]).mean())

    assert apart("none") > 0.02 and apart("") < 0.002 and apart("macenko") < 0.002
    normalised = dataclasses.replace(field, pixels=macenko(field.pixels))
    assert apart("none", normalised) > 0.01 and apart("macenko", normalised) < 0.002  # there already, it stays


@pytest.mark.parametrize("stain", ["", "macenko", "none"])
def test_a_field_is_brought_to_its_stain_before_it_is_cut(stain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = draw_sample_field(seed=5, size_px=1100, um_per_px=0.333, mitoses=2, lookalikes=2).field
    whole = probability_map(field, darkness, 0.333, 4, stain).values
    monkeypatch.setattr(prediction, "WHOLE_FIELD_PX", 0)
    monkeypatch.setattr(prediction, "TILE_PX", 768)
    assert (probability_map(field, darkness, 0.333, 4, stain).values == whole).all()


def test_the_card_says_which_stain(random_version: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "get_engine", lambda model, device: darkness)
    field = draw_sample_field(seed=1, size_px=400).field
    macenkos = dataclasses.replace(random_version, card=dataclasses.replace(random_version.card, stain="macenko"))
    unstained = dataclasses.replace(random_version, card=dataclasses.replace(random_version.card, stain="none"))
    normalised = dataclasses.replace(field, pixels=macenko(resample(field.pixels, 0.25, 0.333)[0]), um_per_px=0.333)
    first, second = predict(field, macenkos, device="cpu").map, predict(normalised, unstained, device="cpu").map
    plain = predict(field, random_version, device="cpu").map
    assert first is not None and second is not None and plain is not None
    assert np.abs(first.values - second.values).max() < 1e-6
    assert np.abs(first.values - plain.values).max() > 0.01
    unknown = dataclasses.replace(random_version, card=dataclasses.replace(random_version.card, stain="tea"))
    with pytest.raises(UnusableModel, match="“tea” is not known"):
        predict(field, unknown, device="cpu")


def test_the_stain_of_a_field_is_measured_once(random_version: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "get_engine", lambda model, device: darkness)
    measured: list[int] = []
    real = stain_module.stain_profile
    monkeypatch.setattr(stain_module, "stain_profile", lambda *images: (measured.append(1), real(*images))[1])
    predict(draw_sample_field(seed=1, size_px=400).field, random_version, device="cpu")
    assert len(measured) == 1


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_point_comes_back_to_the_pixel_it_came_from(factor: float) -> None:
    """µm/px times k and pixels over k: the map says the same place of the tissue."""
    um = 0.333 / factor
    pixels = np.full((round(600 * factor), round(480 * factor), 3), 200, np.uint8)
    x, y = round(301 * factor), round(202 * factor)
    cv2.circle(pixels, (x, y), round(9 * factor), (40, 20, 60), -1)
    found = probability_map(Field(pixels, um, "dot"), darkness, 0.333, 4)
    row, column = np.unravel_index(found.values.argmax(), found.values.shape)
    rows, columns = np.mgrid[row - 4 : row + 5, column - 4 : column + 5]
    weight = np.clip(found.values[rows, columns] - found.values.min() - 0.05, 0, None)
    cells = np.array([[(weight * columns).sum(), (weight * rows).sum()]], np.float32) / weight.sum()
    assert found.to_px(cells)[0] == pytest.approx((x, y), abs=1.0 * factor)


def test_the_margin_is_mirrored_and_taken_off_again() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 100, 3), dtype=np.uint8)
    padded = pad(pixels)
    assert padded.shape[0] % MULTIPLE_PX == padded.shape[1] % MULTIPLE_PX == 0
    inner = np.s_[MULTIPLE_PX : MULTIPLE_PX + 70, MULTIPLE_PX : MULTIPLE_PX + 100]
    assert (padded[inner] == pixels).all()
    assert (padded[MULTIPLE_PX - 1, MULTIPLE_PX : MULTIPLE_PX + 100] == pixels[1]).all()
    assert crop_padding(darkness(padded).values, 4, (70, 100)).shape == (18, 25)


def test_without_a_scale_there_is_no_answer(random_version: Model) -> None:
    field = Field(np.full((128, 128, 3), 180, np.uint8), None, "unknown.png")
    with pytest.raises(MissingScale, match=r"unknown\.png"):
        predict(field, random_version)
    with pytest.raises(MissingScale):
        predict(dataclasses.replace(field, um_per_px=25.0), random_version)


def test_blank_glass_has_no_mitosis_and_a_note(random_version: Model) -> None:
    answer = predict(Field(np.full((600, 600, 3), 245, np.uint8), 0.25, "blank"), random_version, device="cpu")
    assert answer.count == 0 and len(answer.candidates) == 0
    assert answer.area_mm2 == 0 and answer.density_per_mm2 is None  # no tissue, no density
    assert "tissue" in answer.notes[0]


def test_at_the_border_nothing_is_said_and_the_area_is_without_it() -> None:
    """By hand: 3 µm are 12 px of 0.25 µm; a field of 100 x 60 µm keeps 94 x 54."""
    field = Field(np.zeros((240, 400, 3), np.uint8), 0.25, "field")
    # The border is as wide on the right as on the left: it ends between the centres 387 and 388, as between 11 and 12.
    xy = np.array([[11, 100], [12, 100], [200, 227], [200, 228], [387, 12], [387.6, 12], [388, 12]], np.float32)
    found = Detections(xy, np.linspace(0.9, 0.4, 7), np.ones(7))
    assert exclude_border(found, field, 3.0).xy_px.tolist() == [[12, 100], [200, 227], [387, 12]]
    assert len(exclude_border(found, field)) == 7
    assert searched_region(field, 3.0).area_mm2(0.25) == pytest.approx(94 * 54 / 1e6)
    assert searched_region(field, 0.0) == field.extent
    tiny = Field(np.zeros((16, 16, 3), np.uint8), 0.25, "tiny")  # 4 µm: the border leaves the middle half
    assert searched_region(tiny, 3.0).area_mm2(0.25) == pytest.approx(4e-6)


@pytest.mark.slow
def test_a_prediction_holds_its_candidates_and_reports_progress(random_version: Model) -> None:
    field = draw_sample_field(seed=1, size_px=400).field
    shares: list[float] = []
    answer = predict(field, random_version, device="cpu", progress=shares.append)
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert answer.version == "random" and answer.seconds > 0
    assert answer.area_mm2 == pytest.approx((400 * 0.25) ** 2 / 1e6)
    assert len(answer.candidates) >= len(answer.detections) == answer.count
    xy = answer.candidates.xy_px
    assert len(xy) == 0 or (xy.min() >= 0 and xy.max() <= 399)
    assert answer.map is not None and answer.map.values.shape == (75, 75)


@pytest.mark.slow
def test_the_accelerated_engine_agrees_with_plain_pytorch(random_version: Model) -> None:
    pytest.importorskip("openvino")
    field = draw_sample_field(seed=2, size_px=400).field
    exact = torch_engine(random_version.net(), torch.device("cpu"), half=False)
    maps = [probability_map(field, run, 0.333, 4).values for run in (exact, get_engine(random_version, "cpu"))]
    assert np.abs(maps[0] - maps[1]).mean() < 0.02
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.995


def test_a_gpu_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert resolve_device("auto") == "cpu"
    with pytest.raises(ConcentricError, match="GPU"):
        resolve_device("cuda")


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(random_version: Model) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    field = draw_sample_field(seed=2, size_px=400).field
    exact = torch_engine(random_version.net(), torch.device("cpu"), half=False)
    maps = [probability_map(field, run, 0.333, 4).values for run in (exact, get_engine(random_version, "cuda"))]
    assert np.abs(maps[0] - maps[1]).max() < 0.05


@pytest.mark.slow
def test_the_area_of_a_prediction_is_that_of_its_tissue(random_version: Model) -> None:
    pixels = draw_sample_field(seed=1, size_px=600).field.pixels.copy()
    pixels[:, 300:] = 245  # glass
    answer = predict(Field(pixels, 0.25, "half"), random_version, device="cpu")
    assert answer.area_mm2 == pytest.approx((600 * 0.25) ** 2 / 2 / 1e6, rel=0.05)
    assert answer.density_per_mm2 is None  # 0.011 mm²
