"""Counts and scores against values worked out by hand and the published thresholds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.scoring.counting import (
    SCORE_DIAMETERS_MM,
    density_per_mm2,
    hpf_area_mm2,
    hpf_equivalents,
    mitotic_score,
    per_10_hpf,
)


def test_areas_and_densities_by_hand() -> None:
    assert hpf_area_mm2() == pytest.approx(0.2376, abs=5e-5)
    assert hpf_area_mm2(0.59) == pytest.approx(0.2734, abs=5e-5)
    assert density_per_mm2(6, 1.5) == 4
    assert hpf_equivalents(2.376) == pytest.approx(10, abs=2e-3)
    # A field of 2084 x 2084 px at 0.2456 µm/px is 0.262 mm²: 1.10 fields of 0.55 mm.
    assert hpf_equivalents((2084 * 0.2456e-3) ** 2) == pytest.approx(1.1027, abs=1e-3)
    assert per_10_hpf(3, hpf_area_mm2()) == pytest.approx(30)


@pytest.mark.parametrize(
    ("diameter", "count", "score"),
    [
        (0.44, 5, 1), (0.44, 6, 2), (0.44, 10, 2), (0.44, 11, 3),
        (0.50, 7, 1), (0.50, 8, 2), (0.50, 14, 2), (0.50, 15, 3),
        (0.59, 9, 1), (0.59, 10, 2), (0.59, 19, 2), (0.59, 20, 3),
        (0.63, 11, 1), (0.63, 12, 2), (0.63, 22, 2), (0.63, 23, 3),
    ],
)  # fmt: skip
def test_published_thresholds(diameter: float, count: int, score: int) -> None:
    result = mitotic_score(count, 10 * hpf_area_mm2(diameter), diameter)
    assert (result.score, result.per_10_hpf, result.extrapolated) == (score, count, False)


def test_fewer_than_ten_fields_are_marked() -> None:
    result = mitotic_score(2, hpf_area_mm2(0.59), 0.59)
    assert (result.score, result.per_10_hpf, result.extrapolated) == (3, 20, True)
    assert result.hpf_counted == pytest.approx(1)
    assert mitotic_score(2, 9.9 * hpf_area_mm2(0.59), 0.59).extrapolated
    assert not mitotic_score(2, 30 * hpf_area_mm2(0.59), 0.59).extrapolated


def test_half_a_mitosis_rounds_up() -> None:
    # 19 in 20 fields are 9.5 in 10: scored as 10. 18.9 in 20, so 9.45 in 10, are scored as 9.
    assert mitotic_score(19, 20 * hpf_area_mm2(0.59), 0.59).per_10_hpf == 10
    assert mitotic_score(189, 200 * hpf_area_mm2(0.59), 0.59).per_10_hpf == 9


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.01, 50), st.sampled_from(SCORE_DIAMETERS_MM))
def test_more_mitoses_never_score_lower(one: int, two: int, area: float, diameter: float) -> None:
    fewer, more = sorted((one, two))
    assert mitotic_score(fewer, area, diameter).score <= mitotic_score(more, area, diameter).score


def test_a_diameter_without_thresholds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.44, 0\.50, 0\.59, 0\.63"):
        mitotic_score(3, 2.0, 0.51)


@pytest.mark.parametrize("area", [0, -1, math.nan, math.inf])
def test_an_area_that_is_none_is_refused(area: float) -> None:
    with pytest.raises(ValueError):
        density_per_mm2(1, area)
    with pytest.raises(ValueError):
        hpf_equivalents(area)
    with pytest.raises(ValueError):
        hpf_area_mm2(area)
    with pytest.raises(ValueError):
        density_per_mm2(-1, 1.0)
