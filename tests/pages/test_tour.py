"""The tour of the loop on the drawn sample."""

from __future__ import annotations

import numpy as np
from streamlit.testing.v1 import AppTest

from db.engine import data_folder, open_store
from db.fields import count_fields
from mitosis_core.image.sample_field import the_sample
from pages.shared.views import tour
from tests.pages.fakes import FakeDetector


def text(page: AppTest) -> str:
    return " ".join(one.value for one in page.markdown)


def press(page: AppTest, label: str) -> AppTest:
    next(one for one in page.button if one.label == label).click().run()
    assert not page.exception
    return page


def test_the_tour_goes_through_the_loop_and_stores_nothing(detector: FakeDetector) -> None:
    page = AppTest.from_file("../../pages/detect.py", default_timeout=60).run()
    assert "1 of 4" not in text(page)
    press(page, "Try a sample field")
    for number, name in enumerate(tour.STEPS, start=1):
        assert f"{number} of 4: {name}." in text(page)
        if number < 4:
            press(page, "Next")
    assert "3 of 4" in text(press(page, "Back"))
    assert " of 4" not in text(press(page, "End the tour"))
    assert count_fields(open_store(data_folder())) == 0


def test_its_crops_show_the_cells_in_their_middle_and_stay_inside() -> None:
    sample = the_sample()
    for crop, (x, y) in zip(
        tour._crops(sample.field.pixels, sample.mitoses_xy_px), sample.mitoses_xy_px.round().astype(int), strict=True
    ):
        assert crop.shape == (tour._CROP_PX, tour._CROP_PX, 3)
        near = sample.field.pixels[y - 2 : y + 3, x - 2 : x + 3]
        assert any(np.array_equal(crop[i : i + 5, j : j + 5], near) for i in range(68) for j in range(68))
    corner = tour._crops(sample.field.pixels, np.zeros((1, 2), np.float32))[0]
    assert np.array_equal(corner, sample.field.pixels[: tour._CROP_PX, : tour._CROP_PX])
