"""A network that answers with boxes: its figures come back to the field, whole or in tiles, each once."""

import cv2
import numpy as np
import pytest
import torch

import mitosis_core.prediction as prediction
from mitosis_core.inference.blobs import BlobSettings
from mitosis_core.inference.runtime import EngineOutput, torch_engine
from mitosis_core.methods.ensemble import BoxEnsemble
from mitosis_core.methods.method import BoxNet, BoxOutput
from mitosis_core.prediction import NetworkOutput, find_candidates, infer
from mitosis_core.types import Detections, Field, ProbabilityMap, UInt8


def dots(pixels: UInt8) -> EngineOutput:
    """A stand-in for a detector: a box of 8 px round every dark dot, surer the darker it is."""
    dark = (pixels.mean(2) < 100).astype(np.uint8)
    _, _, stats, middles = cv2.connectedComponentsWithStats(dark)
    values = np.zeros((pixels.shape[0] // 4, pixels.shape[1] // 4), np.float32)
    rows = [
        [x + 0.5 - 4, y + 0.5 - 4, x + 0.5 + 4, y + 0.5 + 4, min(1, s[4] / 400)]
        for (x, y), s in zip(middles[1:], stats[1:], strict=True)
    ]
    return EngineOutput(values, np.array(rows, np.float32).reshape(-1, 5))


def field_with(places: list[tuple[int, int]], size: int = 1000) -> Field:
    pixels = np.full((size, size, 3), 210, np.uint8)
    for x, y in places:
        cv2.circle(pixels, (x, y), 6, (60, 20, 90), -1)
    return Field(pixels, 0.333, "dots")


PLACES = [(100, 100), (511, 300), (512, 700), (990, 40), (300, 980)]


def test_boxes_come_back_to_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_with(PLACES)
    whole = infer(field, dots, 0.333, 4).boxes
    assert whole is not None and len(whole) == len(PLACES)  # what the mirrored margin shows again is not counted
    monkeypatch.setattr(prediction, "WHOLE_FIELD_PX", 0)
    monkeypatch.setattr(prediction, "TILE_PX", 608)
    tiled = infer(field, dots, 0.333, 4).boxes
    assert tiled is not None
    for found in (whole, tiled):
        assert sorted(map(tuple, np.rint(found.xy_px).astype(int).tolist())) == sorted(PLACES)
        assert found.area_um2 == pytest.approx(np.pi * 4**2 * 0.333**2, rel=1e-3)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_scale_of_the_field_does_not_matter(factor: float) -> None:
    pixels = cv2.resize(field_with(PLACES).pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = infer(Field(pixels, 0.333 / factor, "dots"), dots, 0.333, 4).boxes
    assert found is not None
    expected = np.array(sorted(PLACES), float) * factor
    assert np.abs(np.array(sorted(found.xy_px.tolist())) - expected).max() < 2 * max(1, factor)


def test_of_two_boxes_of_one_figure_the_surer_stays() -> None:
    field = field_with([])
    boxes = Detections(
        np.array([[10, 10], [14, 10], [60, 60]], np.float32),
        np.array([0.5, 0.9, 0.01], np.float32),
        np.full(3, 50, np.float32),
    )
    seen = NetworkOutput(ProbabilityMap(np.zeros((250, 250), np.float32), (4, 4), 0.333), boxes)
    found, _ = find_candidates(seen, field, BlobSettings())
    assert found.xy_px.tolist() == [[14, 10]]


class Says(BoxNet):
    """Always the same boxes."""

    stride = 4

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = torch.tensor(rows).reshape(-1, 5)

    def detect(self, x: torch.Tensor) -> BoxOutput:
        return BoxOutput(self.rows[:, :4], self.rows[:, 4], torch.zeros(x.shape[-2] // 4, x.shape[-1] // 4))


def test_members_answer_together() -> None:
    first = Says([[0, 0, 10, 10, 0.8], [40, 40, 50, 50, 0.6]])
    second = Says([[1, 0, 11, 10, 0.4]])
    seen = torch_engine(BoxEnsemble([first, second]), torch.device("cpu"))(np.zeros((64, 64, 3), np.uint8))
    assert seen.boxes is not None and seen.values.shape == (16, 16)
    assert seen.boxes[:, 4].tolist() == pytest.approx([0.6, 0.3])
    assert seen.boxes[0, :4].tolist() == [0, 0, 10, 10]
    assert torch_engine(BoxEnsemble([second, Says([])]), torch.device("cpu"))(
        np.zeros((64, 64, 3), np.uint8)
    ).boxes == pytest.approx(np.array([[1, 0, 11, 10, 0.2]]))
