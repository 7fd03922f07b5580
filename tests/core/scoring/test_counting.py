"""Counts against values worked out by hand and the published intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.errors import ConcentricError
from mitosis_core.scoring.counting import (
    Count,
    FieldCount,
    NoResult,
    PoissonInterval,
    count_field,
    density_per_mm2,
    field_diameter_mm,
    hpf_area_mm2,
    hpf_equivalents,
    per_10_hpf,
    poisson_interval,
    total,
)
from mitosis_core.types import Detections, Field, Region

PINK, GLASS = (200, 120, 170), (244, 243, 245)


def test_areas_and_densities_by_hand() -> None:
    assert hpf_area_mm2() == pytest.approx(0.2376, abs=5e-5)
    assert hpf_area_mm2(0.59) == pytest.approx(0.2734, abs=5e-5)
    assert density_per_mm2(6, 1.5) == 4
    assert hpf_equivalents(2.376) == pytest.approx(10, abs=2e-3)
    # A field of 2084 x 2084 px at 0.2456 µm/px is 0.262 mm²: 1.10 fields of 0.55 mm.
    assert hpf_equivalents((2084 * 0.2456e-3) ** 2) == pytest.approx(1.1027, abs=1e-3)
    assert per_10_hpf(3, hpf_area_mm2()) == pytest.approx(30)


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


@pytest.mark.parametrize(
    ("number", "objective", "mm"), [(22, 40, 0.55), (20, 40, 0.5), (26.5, 40, 0.6625), (18, 63, 2 / 7)]
)
def test_a_field_number_over_the_objective_is_the_field(number: float, objective: float, mm: float) -> None:
    assert field_diameter_mm(number, objective) == pytest.approx(mm)


@pytest.mark.parametrize(
    ("number", "objective"), [(22, 4), (22, 0), (22, -40), (220, 40), (0, 40), (math.nan, 40), (22, math.inf)]
)
def test_what_gives_no_high_power_field_is_refused_in_a_sentence(number: float, objective: float) -> None:
    with pytest.raises(ConcentricError, match="field number"):
        field_diameter_mm(number, objective)


# ---- the interval


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (0, 0.0, 3.689),
        (1, 0.0253, 5.572),
        (2, 0.242, 7.225),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
        (20, 12.217, 30.888),
        (100, 81.364, 121.627),
    ],
)
def test_the_95_percent_interval_as_published(count: int, low: float, high: float) -> None:
    interval = poisson_interval(count)
    assert interval.low == pytest.approx(low, abs=6e-4) and interval.high == pytest.approx(high, abs=6e-4)


@given(st.integers(0, 60), st.floats(0.5, 0.999))
def test_the_ends_are_where_the_count_is_just_not_too_rare(count: int, level: float) -> None:
    """The definition, by adding up the Poisson probabilities."""
    interval, tail = poisson_interval(count, level), (1 - level) / 2

    def at_most(most: int, mean: float) -> float:
        return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(most + 1))

    assert at_most(count, interval.high) == pytest.approx(tail, rel=1e-6)
    assert (
        (interval.low == 0) if count == 0 else (1 - at_most(count - 1, interval.low) == pytest.approx(tail, rel=1e-5))
    )


def test_an_interval_of_nothing_is_refused() -> None:
    for count, level in ((-1, 0.95), (1, 0.0), (1, 1.0)):
        with pytest.raises(ValueError):
            poisson_interval(count, level)


# ---- counts


def test_a_count_is_carried_to_every_unit() -> None:
    """10 mitoses in 2 mm² are 5 per mm²; 10 fields of 0.55 mm are 2.3758 mm²; the interval of 10 is 4.795 to 18.390."""
    count = Count(10, 2.0)
    assert count.per_mm2 == 5 and count.per_10_hpf(0.55) == pytest.approx(5 * 2.3758, abs=1e-3)
    assert count.interval() == poisson_interval(10)
    per_mm2 = count.interval_per_mm2()
    assert per_mm2 == PoissonInterval(pytest.approx(4.795 / 2, abs=1e-3), pytest.approx(18.390 / 2, abs=1e-3))


@pytest.mark.parametrize(("area", "words"), [(None, "µm per pixel"), (0.0, "too little"), (0.019, "too little")])
def test_without_area_there_is_a_reason_and_no_density(area: float | None, words: str) -> None:
    count = Count(3, area)
    assert isinstance(count.problem, NoResult) and words in count.problem.reason and count.problem.reason.endswith(".")
    assert count.per_mm2 is None and count.per_10_hpf(0.55) is None and count.interval_per_mm2() is None
    assert count.interval().high > 3  # the count itself needs no area


def test_what_is_no_count_is_refused() -> None:
    for mitoses, area in ((-1, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)):
        with pytest.raises(ValueError):
            Count(mitoses, area)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 3))))
def test_counts_add_up(fields: list[tuple[int, float]]) -> None:
    added = sum((Count(*one) for one in fields), Count(0, 0.0))
    assert added.mitoses == sum(mitoses for mitoses, _ in fields)
    assert added.area_mm2 == pytest.approx(sum(area for _, area in fields))


# ---- fields


def field(um_per_px: float | None = 0.25) -> Field:
    """400 x 400 px, the left half tissue: at 0.25 µm/px 0.01 mm² in all."""
    pixels = np.full((400, 400, 3), GLASS, np.uint8)
    pixels[:, :200] = PINK
    return Field(pixels, um_per_px, "half.png")


XY = np.array([[10, 10], [150, 390], [199, 5]], np.float32)


def test_a_field_is_counted_over_its_tissue_alone() -> None:
    one = count_field(field(), XY)
    assert one.count.mitoses == 3 and one.count.area_mm2 == pytest.approx(0.005, rel=0.03)
    wide = count_field(field(1.0), XY)  # the same image, a pixel four times as long: 16 times the area
    assert wide.count.per_mm2 == pytest.approx(3 / 0.08, rel=0.03)


def test_only_the_region_is_counted() -> None:
    """Its upper half: half the tissue, and two of the three mitoses. Beyond the image there is nothing."""
    one = count_field(field(), XY, Region(0, -50, 500, 200))
    assert one.region == Region(0, 0, 400, 200) and one.xy_px.tolist() == [[10, 10], [199, 5]]
    assert one.count.area_mm2 == pytest.approx(0.0025, rel=0.03)


def test_detections_and_verdicts_are_counted_alike() -> None:
    found = Detections(XY, np.array([0.9, 0.6, 0.4]), np.ones(3))
    assert count_field(field(), found.above(0.5).xy_px).count == count_field(field(), XY[:2]).count


def test_a_field_without_scale_has_a_count_and_no_area() -> None:
    one = count_field(field(None), XY)
    assert one.tissue is None and one.count == Count(3, None)
    both = total([one, count_field(field(), XY)])
    assert both == Count(6, None) and both.problem and "µm per pixel" in both.problem.reason


def test_a_case_without_fields_has_no_density() -> None:
    empty: list[FieldCount] = []
    assert total(empty) == Count(0, 0.0) and total(empty).problem
