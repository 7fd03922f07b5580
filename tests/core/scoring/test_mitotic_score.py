"""The mitotic score against every row of the published table, and what would change it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.scoring.counting import Count, NoResult, hpf_area_mm2
from mitosis_core.scoring.mitotic_score import (
    LEAST_SCORED_MM2,
    SCORE_TABLE,
    MitoticScore,
    mitotic_score,
    mitotic_score_per_mm2,
)

# As printed: field diameter (mm), area (mm²), score 1 up to, score 2 from and to, score 3 from.
PUBLISHED = """
    0.40 0.126  4  5  9 10
    0.41 0.132  4  5  9 10
    0.42 0.139  5  6 10 11
    0.43 0.145  5  6 10 11
    0.44 0.152  5  6 11 12
    0.45 0.159  5  6 11 12
    0.46 0.166  6  7 12 13
    0.47 0.173  6  7 12 13
    0.48 0.181  6  7 13 14
    0.49 0.189  6  7 13 14
    0.50 0.196  7  8 14 15
    0.51 0.204  7  8 14 15
    0.52 0.212  7  8 15 16
    0.53 0.221  8  9 16 17
    0.54 0.229  8  9 16 17
    0.55 0.238  8  9 17 18
    0.56 0.246  8  9 17 18
    0.57 0.255  9 10 18 19
    0.58 0.264  9 10 19 20
    0.59 0.273  9 10 19 20
    0.60 0.283 10 11 20 21
    0.61 0.292 10 11 21 22
    0.62 0.302 11 12 22 23
    0.63 0.312 11 12 22 23
    0.64 0.322 11 12 23 24
    0.65 0.332 12 13 24 25
    0.66 0.342 12 13 24 25
    0.67 0.353 12 13 25 26
    0.68 0.363 13 14 26 27
    0.69 0.374 13 14 27 28
"""
ROWS = [tuple(map(float, line.split())) for line in PUBLISHED.split("\n") if line.strip()]


def score(count: Count, diameter_mm: float | None = None) -> MitoticScore:
    found = mitotic_score_per_mm2(count) if diameter_mm is None else mitotic_score(count, diameter_mm)
    assert isinstance(found, MitoticScore), found
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]:.2f}")
def test_every_row_of_the_published_table(row: tuple[float, ...]) -> None:
    """In exactly 10 fields of the diameter the count is the published one, up to and from each limit."""
    diameter, area, most_1, least_2, most_2, least_3 = row
    assert hpf_area_mm2(diameter) == pytest.approx(area, abs=6e-4)
    ten = 10 * hpf_area_mm2(diameter)
    for count, wanted in ((0, 1), (most_1, 1), (least_2, 2), (most_2, 2), (least_3, 3), (200, 3)):
        found = score(Count(int(count), ten), diameter)
        assert (found.score, found.counted, found.extrapolated) == (wanted, count, False)


def test_the_table_has_no_other_rows() -> None:
    assert [one.field_diameter_mm for one in SCORE_TABLE] == [row[0] for row in ROWS]


def test_the_table_in_the_documents_is_the_published_one() -> None:
    text = (Path(__file__).parents[3] / "docs" / "counting.md").read_text(encoding="utf-8")
    row = re.compile(r"\| (0\.\d\d) \| (0\.\d{3}) \| up to (\d+) \| (\d+) to (\d+) \| from (\d+) \|")
    assert [tuple(map(float, found)) for found in row.findall(text)] == ROWS


@pytest.mark.parametrize(("mitoses", "wanted"), [(0, 1), (6, 1), (7, 2), (14, 2), (15, 3)])
def test_the_limits_per_mm2(mitoses: int, wanted: int) -> None:
    """In 2 mm²: 6 are 3 per mm², 7 are 3.5 and so 4, 14 are 7, 15 are 7.5 and so 8."""
    found = score(Count(mitoses, 2.0))
    assert (found.score, found.limits, found.unit, found.extrapolated) == (wanted, (3, 7), "per mm²", False)


def test_both_ways_agree_but_for_a_mitosis_at_the_limit() -> None:
    """The table is the limits per mm² carried to each field and rounded."""
    for one in SCORE_TABLE:
        ten = 10 * hpf_area_mm2(one.field_diameter_mm)
        for mitoses in range(40):
            by_table, by_area = (
                score(Count(mitoses, ten), one.field_diameter_mm).score,
                score(Count(mitoses, ten)).score,
            )
            near = any(abs(mitoses - limit) <= 1 for limit in (one.score_1, one.score_2))
            assert by_table == by_area or near


def test_half_a_mitosis_rounds_up() -> None:
    # 19 in 20 fields are 9.5 in 10: scored as 10. 189 in 200, so 9.45 in 10, are scored as 9.
    assert score(Count(19, 20 * hpf_area_mm2(0.59)), 0.59).counted == 10
    assert score(Count(189, 200 * hpf_area_mm2(0.59)), 0.59).counted == 9


def test_a_diameter_goes_to_the_row_of_its_hundredth() -> None:
    """A field number of 26.5 at 40x is 0.6625 mm: the row of 0.66; 0.555 mm is that of 0.56. Counts are carried to the
    microscope's own 10 fields."""
    assert score(Count(5, 4.0), 26.5 / 40).limits == (12, 24)
    assert score(Count(5, 4.0), 0.555).limits == (8, 17) and score(Count(5, 4.0), 0.565).limits == (9, 18)
    assert score(Count(100, 4.0), 26.5 / 40).counted == round(100 / 4 * 10 * 0.344715)


@pytest.mark.parametrize("diameter", [0.2, 0.394, 0.696, 1.0])
def test_a_diameter_beyond_the_table_gets_a_reason(diameter: float) -> None:
    found = mitotic_score(Count(3, 3.0), diameter)
    assert isinstance(found, NoResult) and "0.40 to 0.69 mm" in found.reason


def test_without_scale_or_tissue_there_is_a_reason_and_no_score() -> None:
    """One field of 0.262 mm² holds too little: a single mitosis in it would be 9 in 10 fields."""
    for area, words in ((None, "µm per pixel"), (0.0, "too little tissue"), (0.262, "0.26 mm²"), (1.25, "1.25 mm²")):
        for found in (mitotic_score(Count(2, area), 0.55), mitotic_score_per_mm2(Count(2, area))):
            assert isinstance(found, NoResult) and words in found.reason and found.reason.endswith(".")
    assert pytest.approx(1.2566, abs=1e-4) == LEAST_SCORED_MM2


def test_fewer_than_ten_fields_are_marked() -> None:
    """7 fields of 0.262 mm² are 7.7 of 0.55 mm, and more than 10 of 0.40 mm."""
    assert score(Count(5, 7 * 0.262), 0.55).extrapolated and not score(Count(5, 7 * 0.262), 0.40).extrapolated
    assert not score(Count(5, 30 * hpf_area_mm2(0.55)), 0.55).extrapolated


def test_what_changes_the_score_by_hand() -> None:
    """Ten fields of 0.55 mm, limits 8 and 17; in 2 mm² score 3 begins at 15."""
    ten = 10 * hpf_area_mm2(0.55)
    expected = {
        5: (4, None, "4 more mitoses would make it 2."),
        8: (1, None, "1 more mitosis would make it 2."),
        9: (9, 1, "9 more mitoses would make it 3; 1 fewer mitosis would make it 1."),
        20: (None, 3, "3 fewer mitoses would make it 2."),
    }
    for mitoses, (more, fewer, words) in expected.items():
        found = score(Count(mitoses, ten), 0.55)
        assert (found.more, found.fewer, found.margin) == (more, fewer, words)
    assert score(Count(12, 2.0)).more == 3 and score(Count(12, 2.0)).fewer == 6


areas = st.floats(LEAST_SCORED_MM2 + 1e-6, 60)
diameters = st.none() | st.sampled_from([one.field_diameter_mm for one in SCORE_TABLE])


@given(st.integers(0, 400), areas, diameters)
def test_what_changes_the_score_changes_it_and_one_less_does_not(
    mitoses: int, area: float, diameter: float | None
) -> None:
    found = score(Count(mitoses, area), diameter)
    assert (found.more is None) == (found.score == 3) and (found.fewer is None) == (found.score == 1)
    if found.more is not None:
        assert score(Count(mitoses + found.more, area), diameter).score == found.score + 1
        assert score(Count(mitoses + found.more - 1, area), diameter).score == found.score
    if found.fewer is not None:
        assert score(Count(mitoses - found.fewer, area), diameter).score == found.score - 1
        assert score(Count(mitoses - found.fewer + 1, area), diameter).score == found.score


@given(st.integers(0, 300), st.integers(0, 300), areas, diameters)
def test_more_mitoses_never_score_lower(one: int, two: int, area: float, diameter: float | None) -> None:
    fewer, more = sorted((one, two))
    assert score(Count(fewer, area), diameter).score <= score(Count(more, area), diameter).score
