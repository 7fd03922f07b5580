"""A detector whose answers are known, for the pages: no network, no weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

import numpy as np

from mitosis_core.image.sample_field import SampleField, draw_sample_field
from mitosis_core.types import Detections, Field, Float32, Prediction, ProbabilityMap

THRESHOLD = 0.5
CELL_PX = 4.0
SAMPLE_MITOSES, SAMPLE_LOOKALIKES = 6, 8
STORABLE = 1  # seed of a field like the sample; the sample itself is never stored


@cache
def drawn(seed: int) -> SampleField:
    """A drawn field, 0 for the sample; drawing it takes most of a second."""
    return draw_sample_field(seed)


@dataclass(frozen=True)
class FakeModel:
    version: str = "fake-1"
    threshold: float = THRESHOLD
    purpose: str = "Fast: for tests."
    score_by_false_alarms: dict[float, float] = field(default_factory=lambda: {2.0: 0.88, 10.0: 0.43})


class FakeDetector:
    """Scores the mitoses of a drawn field 0.95, 0.90, ... and its look-alikes 0.45, 0.40, ...; elsewhere two.

    asked: names of the fields it was run on, in order. breaks_on: a field with this name fails unforeseen.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.breaks_on = ""

    def predict(self, field: Field, model: FakeModel, *, device: str, progress: Callable[[float], None]) -> Prediction:
        self.asked.append(field.name)
        if field.name == self.breaks_on:
            raise RuntimeError("a fault nobody foresaw")
        progress(0.5)
        found = self._find(field)
        assert field.area_mm2 is not None
        return Prediction(found, model.threshold, model.version, 0.25, field.area_mm2, _map(field, found.xy_px))

    @staticmethod
    def _find(field: Field) -> Detections:
        sample = next((one for one in map(drawn, (0, STORABLE)) if one.field.digest == field.digest), None)
        if sample is None:
            xy = np.array([[field.width_px * 0.25, field.height_px * 0.25], [field.width_px * 0.75, 40]], np.float32)
            return Detections(xy, np.array([0.9, 0.3], np.float32), np.full(2, 60, np.float32))
        score = [0.95 - 0.05 * i for i in range(SAMPLE_MITOSES)] + [0.45 - 0.05 * i for i in range(SAMPLE_LOOKALIKES)]
        xy = np.concatenate([sample.mitoses_xy_px, sample.lookalikes_xy_px])
        return Detections(xy, np.array(score, np.float32), np.full(len(xy), 60, np.float32))

    def install(self, actions: ModuleType) -> None:
        """Put this detector in the place of the real one, for good."""
        actions.predict = self.predict  # type: ignore[attr-defined]
        actions.load_model = lambda version=None: FakeModel()  # type: ignore[attr-defined]
        actions.list_versions = lambda: ["fake-1"]  # type: ignore[attr-defined]
        actions.describe_device = lambda device="auto": "CPU (fake)"  # type: ignore[attr-defined]


def _map(field: Field, xy_px: Float32) -> ProbabilityMap:
    assert field.um_per_px is not None
    rows, columns = np.mgrid[0 : field.height_px : CELL_PX, 0 : field.width_px : CELL_PX].astype(np.float32)
    values = np.zeros(rows.shape, np.float32)
    for x, y in xy_px:
        np.maximum(values, np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 18.0**2)), out=values)
    return ProbabilityMap(values, (CELL_PX, CELL_PX), field.um_per_px)
