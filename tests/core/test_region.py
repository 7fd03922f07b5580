"""Where the edges of a reviewed region lie, by hand and as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosis_core.types import Field, Region

edge = st.integers(0, 40)
points = st.lists(st.tuples(st.floats(-3, 45, width=32), st.floats(-3, 45, width=32)), max_size=30)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    (left, right), (top, bottom) = (sorted((draw(edge), draw(edge))) for _ in range(2))
    return Region(left, top, right, bottom)


def array(places: list[tuple[float, float]]) -> np.ndarray:
    return np.array(places, np.float32).reshape(-1, 2)


def test_edges_are_counted_from_the_corner_and_points_from_the_centre_of_the_first_pixel() -> None:
    """The first three columns of the first two rows: x from -0.5 to 2.5, y from -0.5 to 1.5."""
    inside = Region(0, 0, 3, 2).contains(
        array([(0, 0), (2, 1), (-0.5, -0.5), (2.49, 1.49), (-0.51, 0), (2.5, 0), (0, 1.5), (3, 1)])
    )
    assert inside.tolist() == [True, True, True, True, False, False, False, False]


def test_a_pixel_is_inside_exactly_when_its_centre_is() -> None:
    """Columns 10 to 19: the cell of column 10 reaches from 9.5 to 10.5, that of column 20 begins at 19.5."""
    assert Region(10, 0, 20, 1).contains(array([(9.4, 0), (9.6, 0), (19.4, 0), (19.6, 0)])).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_the_whole_image_holds_all_its_places_and_has_its_area() -> None:
    field = Field(np.zeros((200, 400, 3), np.uint8), 0.25, "field")
    assert field.extent == Region(0, 0, 400, 200)
    assert field.extent.area_mm2(0.25) == field.area_mm2 == pytest.approx(0.1 * 0.05)
    assert field.extent.contains(array([(-0.5, -0.5), (399.4, 199.4), (399.6, 0), (0, -0.6)])).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_what_lies_beyond_the_image_is_cut_off() -> None:
    whole = Region(0, 0, 100, 80)
    assert Region(-1, 5, 50, 81).clipped(whole) == Region(0, 5, 50, 80)
    nothing = Region(200, 0, 300, 10).clipped(whole)
    assert nothing.area_mm2(0.25) == 0 and not nothing.contains(array([(100, 5), (200, 5)])).any()


@pytest.mark.parametrize("edges", [(5, 0, 4, 1), (0, 5, 1, 4), (0, 0, np.nan, 1), (0, 0, np.inf, 1)])
def test_edges_that_are_none_are_refused(edges: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="edges"):
        Region(*edges)


@given(regions(), points)
def test_every_point_lies_in_one_half(region: Region, places: list[tuple[float, float]]) -> None:
    across = (region.left + region.right) / 2
    left = Region(region.left, region.top, across, region.bottom).contains(array(places))
    right = Region(across, region.top, region.right, region.bottom).contains(array(places))
    assert not (left & right).any()
    assert ((left | right) == region.contains(array(places))).all()


@given(regions(), regions(), points)
def test_clipping_is_being_in_both(one: Region, other: Region, places: list[tuple[float, float]]) -> None:
    xy = array(places)
    assert (one.clipped(other).contains(xy) == (one.contains(xy) & other.contains(xy))).all()
    assert one.clipped(other).area_mm2(0.5) == other.clipped(one).area_mm2(0.5) <= one.area_mm2(0.5)


@given(regions(), st.sampled_from([(1.0, 1.0), (2.0, 2.0), (1.5, 0.75)]))
def test_a_mask_is_where_the_centres_of_the_cells_are(region: Region, cell_px: tuple[float, float]) -> None:
    rows, columns = np.mgrid[:30, :25]
    centres = np.stack([(columns.ravel() + 0.5) * cell_px[0] - 0.5, (rows.ravel() + 0.5) * cell_px[1] - 0.5], axis=1)
    assert (region.mask((30, 25), cell_px).ravel() == region.contains(centres.astype(np.float32))).all()


@given(regions())
def test_a_mask_of_pixels_has_the_area_of_the_region(region: Region) -> None:
    assert region.mask((40, 40)).sum() / 1e6 == pytest.approx(region.area_mm2(1.0))
