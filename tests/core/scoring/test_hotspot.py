"""The densest part of a case: by hand, against brute force, and as laws."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosis_core.image.tissue import Tissue
from mitosis_core.scoring.counting import FieldCount, NoResult, total
from mitosis_core.scoring.hotspot import Hotspot, densest_area, densest_run, fullest_window
from mitosis_core.types import Bool, Float32, Region

UM = 10.0  # so that 2 mm² are a square of 141.4 px
SIDE_PX = 1000 * 2**0.5 / UM


def field(
    xy: list[tuple[float, float]], size: tuple[int, int] = (50, 50), mask: Bool | None = None, um: float | None = UM
) -> FieldCount:
    """A field of (width, height) px, all tissue unless a mask Bool[height, width] says otherwise."""
    region = Region(0, 0, *size)
    mask = np.ones(size[::-1], bool) if mask is None else mask
    tissue = None if um is None else Tissue(mask, (1.0, 1.0), um, region)
    return FieldCount("field", np.array(xy, np.float32).reshape(-1, 2), region, tissue)


def small(mitoses: int) -> FieldCount:
    """0.25 mm² of tissue: 50 x 50 px."""
    return field([(k, k) for k in range(mitoses)])


def spot(found: Hotspot | NoResult) -> Hotspot:
    assert isinstance(found, Hotspot), found
    return found


def counted(found: Hotspot) -> tuple[int, float | None]:
    return found.count.mitoses, found.count.area_mm2


# ---- runs of fields


def test_the_densest_run_of_ten_by_hand() -> None:
    """12 fields: of the three runs of ten, that from the second field on has 1+1+...+5 = 14 mitoses in 2.5 mm²."""
    fields = [small(n) for n in (0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5, 0)]
    found = spot(densest_run(fields))
    assert (found.first, found.last, found.window, found.note) == (1, 10, None, "")
    assert counted(found) == (14, pytest.approx(2.5)) and found.count.per_mm2 == pytest.approx(14 / 2.5)


def test_a_run_is_ranked_by_its_tissue() -> None:
    """Three mitoses on half a field of tissue are denser than four on a whole one."""
    half = np.zeros((50, 50), bool)
    half[:, :25] = True
    fields = [small(4), field([(1, 1), (2, 2), (3, 3)], mask=half), small(0)]
    found = spot(densest_run(fields, 1))
    assert (found.first, found.last, found.count.mitoses) == (1, 1, 3)


def test_of_a_short_case_it_is_all_and_says_so() -> None:
    found = spot(densest_run([small(2)] * 7))
    assert (found.first, found.last, found.count.mitoses) == (0, 6, 14) and "7 of 10 fields" in found.note
    area = spot(densest_area([small(2)] * 7))
    assert (area.first, area.last, area.count.mitoses) == (0, 6, 14) and "1.75 mm²" in area.note


def test_two_square_millimetres_are_the_shortest_run_with_that_much_tissue() -> None:
    """8 fields of 0.25 mm² are exactly 2 mm²: the last eight hold 16."""
    fields = [small(n) for n in (0, 3, 0, 2, 2, 2, 2, 2, 2, 3, 1)]
    found = spot(densest_area(fields))
    assert (found.first, found.last, found.window) == (3, 10, None) and counted(found) == (16, pytest.approx(2.0))
    assert counted(spot(densest_area(fields, 0.5))) == (5, pytest.approx(0.5))  # 2 + 3


def test_without_scale_or_tissue_there_is_a_reason() -> None:
    for fields, words in (
        ([small(1), field([(1, 1)], um=None)], "µm per pixel"),
        ([], "too little tissue"),
        ([field([], mask=np.zeros((50, 50), bool))] * 12, "too little tissue"),
    ):
        for found in (densest_area(fields), densest_run(fields)):
            assert isinstance(found, NoResult) and words in found.reason


def test_what_is_no_size_is_refused() -> None:
    for area in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError):
            densest_area([small(1)], area)
    with pytest.raises(ValueError):
        densest_run([small(1)], 0)


# ---- windows in one field


def test_a_window_lies_where_the_figures_are() -> None:
    """A field of 9 mm²: five figures within 60 px, two far away; the window of 141 px has the five in its middle."""
    crowd = [(200, 200), (260, 200), (230, 230), (200, 260), (260, 260)]
    found = spot(densest_area([small(0), field([*crowd, (10, 10), (290, 20)], size=(300, 300))]))
    assert (found.first, found.last) == (1, 1) and counted(found) == (5, pytest.approx(2.0, rel=0.02))
    assert found.window is not None and found.window.area_mm2(UM) == pytest.approx(2.0)
    # Its middle would be (230.5, 230.5), but the image ends at 300.
    assert (found.window.right, found.window.bottom) == (pytest.approx(300), pytest.approx(300))


def test_glass_in_a_window_does_not_make_it_denser() -> None:
    """Two figures on a sliver of tissue against three in 2 mm² of tissue."""
    mask = np.ones((200, 400), bool)
    mask[:, :200] = False
    mask[:40, :40] = True
    found = spot(densest_area([field([(5, 5), (9, 9), (300, 50), (310, 60), (320, 70)], size=(400, 200), mask=mask)]))
    assert found.count.mitoses == 3 and found.count.area_mm2 == pytest.approx(2.0, rel=0.02)


def test_a_field_that_holds_a_window_is_not_taken_as_a_whole() -> None:
    """Four figures all over 4 mm², half of it tissue: a window holds one, in all there are two per mm² of tissue."""
    mask = np.ones((200, 200), bool)
    mask[20:120] = False
    found = spot(densest_area([field([(5, 5), (195, 5), (5, 195), (195, 195)], size=(200, 200), mask=mask)]))
    assert found.window is not None and found.count.mitoses == 1


def test_only_the_region_holds_windows() -> None:
    one = field([(10, 10), (12, 12), (250, 150)], size=(300, 300))
    region = Region(100, 0, 300, 300)
    assert one.tissue is not None
    part = FieldCount("part", one.xy_px[2:], region, one.tissue.within(region))
    window = spot(densest_area([part])).window
    assert window is not None and window.clipped(region) == window


def test_a_field_too_small_for_the_window_counts_as_a_whole() -> None:
    """2.5 mm² of tissue in an image of 250 x 100 px: a square of 141 px does not fit."""
    found = spot(densest_area([field([(5, 5), (200, 50)], size=(250, 100))]))
    assert found.window is None and counted(found) == (2, pytest.approx(2.5))


def test_an_empty_field_has_a_window_too() -> None:
    assert fullest_window(np.zeros((0, 2), np.float32), Region(0, 0, 10, 20), 10) == Region(0, 5, 10, 15)
    with pytest.raises(ValueError, match="does not fit"):
        fullest_window(np.zeros((0, 2), np.float32), Region(0, 0, 10, 20), 10.1)


places = st.lists(st.tuples(st.integers(0, 29), st.integers(0, 24)), max_size=12)


def array(xy: list[tuple[int, int]]) -> Float32:
    return np.array(xy, np.float32).reshape(-1, 2)


@given(places, st.floats(1, 25))
def test_no_other_window_holds_more(xy: list[tuple[int, int]], side: float) -> None:
    """Points fit into a window exactly when they spread over less than its side, wherever in the image they lie."""
    window = fullest_window(array(xy), Region(0, 0, 30, 25), side)
    assert window.clipped(Region(0, 0, 30, 25)).area_mm2(1) == pytest.approx(side**2 / 1e6)
    corners = itertools.product({x for x, _ in xy}, {y for _, y in xy})
    most = max((sum(x <= a < x + side and y <= b < y + side for a, b in xy) for x, y in corners), default=0)
    assert window.contains(array(xy)).sum() == most


def turned(one: FieldCount, turns: int, *, mirrored: bool) -> FieldCount:
    """The field turned by quarters, as a slide put under the microscope another way round."""
    assert one.tissue is not None
    xy, mask = one.xy_px, one.tissue.mask
    if mirrored:
        xy, mask = np.stack([mask.shape[1] - 1 - xy[:, 0], xy[:, 1]], axis=1), mask[:, ::-1]
    for _ in range(turns):  # counter-clockwise, as numpy turns
        xy, mask = np.stack([xy[:, 1], mask.shape[1] - 1 - xy[:, 0]], axis=1), np.rot90(mask)
    height, width = mask.shape
    return field([(float(x), float(y)) for x, y in xy], size=(width, height), mask=mask)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 159)), max_size=10), min_size=1, max_size=4),
    st.integers(0, 3),
    st.booleans(),
)
def test_turning_a_case_does_not_change_its_densest_part(
    marks: list[list[tuple[float, float]]], turns: int, mirrored: bool
) -> None:
    case = [field(xy, size=(200, 160)) for xy in marks]
    other = [turned(one, turns, mirrored=mirrored) for one in case]
    assert total(other).mitoses == total(case).mitoses
    for area in (0.5, 2.0, 5.0):
        assert spot(densest_area(other, area)).count.mitoses == spot(densest_area(case, area)).count.mitoses
    assert spot(densest_run(other, 2)).count.mitoses == spot(densest_run(case, 2)).count.mitoses


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 12))
def test_read_backwards_a_case_has_as_dense_a_run(mitoses: list[int], length: int) -> None:
    case = [small(n) for n in mitoses]
    assert spot(densest_run(case, length)).count.mitoses == spot(densest_run(case[::-1], length)).count.mitoses
    assert spot(densest_area(case)).count.mitoses == spot(densest_area(case[::-1])).count.mitoses


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 12))
def test_a_densest_run_is_no_less_dense_than_the_case(mitoses: list[int], length: int) -> None:
    case = [small(n) for n in mitoses]
    found, whole = spot(densest_run(case, length)), total(case)
    assert found.last - found.first + 1 == min(length, len(case))
    best = max(sum(mitoses[k : k + length]) for k in range(max(1, len(case) - length + 1)))
    assert found.count.mitoses == best and whole.mitoses == sum(mitoses)
