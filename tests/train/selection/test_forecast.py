"""The curve of learning: hand-computed points, known lines, and modesty where little is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.selection.forecast import FIELDS_AHEAD, fit_curve, forecast, resampled_f1, version_points

# Two versions in three groups: true positives, false positives, misses.
COUNTS = [[[2, 0, 0], [1, 1, 0], [0, 1, 2]], [[2, 0, 0], [1, 0, 0], [1, 0, 1]]]


def test_a_point_is_the_pooled_f1() -> None:
    first, second = version_points(COUNTS, [0, 4], resampled_f1(COUNTS))
    assert (first.fields, second.fields) == (0, 4)
    assert first.f1 == pytest.approx(6 / 10) and second.f1 == pytest.approx(8 / 9)  # 2 tp / (2 tp + fp + fn)
    assert first.low == pytest.approx(0) and first.high == pytest.approx(1)  # only the third field, only the first
    assert second.low < second.f1 < second.high


def test_versions_are_compared_on_the_same_draws() -> None:
    draws = resampled_f1([COUNTS[0], COUNTS[0]])
    assert draws.shape[1] == 2 and np.array_equal(draws[:, 0], draws[:, 1])


def test_one_group_is_always_drawn() -> None:
    assert np.allclose(resampled_f1([[[1, 1, 0]]]), 2 / 3)


@given(
    st.lists(st.integers(0, 200), min_size=2, max_size=6, unique=True),
    st.floats(0, 1, allow_nan=False),
    st.floats(-0.3, 0.3, allow_nan=False),
)
def test_points_on_a_curve_give_it_back(learnt: list[int], start: float, gain: float) -> None:
    f1 = start + gain * np.log2(1 + np.array(learnt) / 10)
    assert fit_curve(learnt, f1) == pytest.approx(np.array([start, gain]), abs=1e-6)


def test_ten_fields_teach_as_much_as_the_next_twenty() -> None:
    assert fit_curve([0, 10, 30, 70], [0.5, 0.6, 0.7, 0.8]) == pytest.approx(np.array([0.5, 0.1]))


def test_two_numbers_of_fields_say_nothing() -> None:
    assert forecast([0, 10, 10], np.full((50, 3), 0.5)) is None


def test_the_forecast_goes_on_along_the_curve_and_knows_that_trainings_scatter() -> None:
    learnt = [0, 10, 30, 70]
    ahead = forecast(learnt, np.tile([0.5, 0.6, 0.7, 0.8], (4000, 1)))
    assert ahead is not None and ahead.fields == 70
    assert ahead.gain == pytest.approx(0.1 * np.log2(90 / 80), abs=0.002)
    assert ahead.low < ahead.gain < ahead.high and ahead.high - ahead.low > 0.002
    assert ahead.x[0] == 0 and ahead.x[-1] == 70 + FIELDS_AHEAD
    assert np.all(ahead.lower <= ahead.middle) and np.all(ahead.middle <= ahead.upper)


def test_points_beside_the_curve_widen_the_forecast() -> None:
    def width(*f1: float) -> float:
        ahead = forecast([0, 5, 10, 20], np.tile(f1, (4000, 1)))
        assert ahead is not None
        return ahead.high - ahead.low

    assert width(0.5, 0.7, 0.5, 0.7) > 2 * width(0.6, 0.6, 0.6, 0.6)


def test_more_fields_held_out_narrow_the_forecast() -> None:
    rng = np.random.default_rng(0)

    def width(groups: int) -> float:
        counts = rng.integers(0, 5, (4, groups, 3))
        ahead = forecast([0, 5, 10, 20], resampled_f1(counts))
        assert ahead is not None
        return ahead.high - ahead.low

    assert width(400) < width(4)


def test_the_band_stays_a_score() -> None:
    ahead = forecast([0, 1, 2], np.tile([0.0, 0.5, 1.0], (500, 1)))
    assert ahead is not None and ahead.lower.min() >= 0 and ahead.upper.max() <= 1


def test_the_band_is_right_about_as_often_as_it_says() -> None:
    rng, learnt, start, gain = np.random.default_rng(5), np.array([0, 5, 10, 20, 40]), 0.55, 0.05
    x, truth, right = np.log2(1 + learnt / 10), gain * np.log2(60 / 50), 0
    for trial in range(200):
        f1 = start + gain * x + rng.normal(0, 0.02, len(x))
        ahead = forecast(learnt, np.tile(f1, (400, 1)), seed=trial)
        assert ahead is not None
        right += ahead.low <= truth <= ahead.high
    assert 180 <= right <= 200
