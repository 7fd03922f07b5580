"""Crops and drawings of fields, against pixels and densities worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mitosis_core.image.encoding import encode_jpeg, encode_png
from mitosis_core.reporting.pictures import (
    CROP_UM,
    DENSITY_SIGMA_UM,
    FieldDrawing,
    crop,
    density_map,
    density_max,
    draw_field,
)
from mitosis_core.scoring.counting import FieldCount, count_field
from mitosis_core.types import Field, UInt8

UM, SIDE_PX = 2.0, 1000  # 2 mm: the middle is many Gaussians from every edge
PINK, GLASS = (205, 140, 175), (244, 243, 245)


def field(glass_from: int = SIDE_PX) -> Field:
    pixels = np.full((SIDE_PX, SIDE_PX, 3), PINK, np.uint8)
    pixels[:, glass_from:] = GLASS
    return Field(pixels, UM, "drawn")


def counted(points: list[tuple[float, float]], glass_from: int = SIDE_PX) -> FieldCount:
    return count_field(field(glass_from), np.array(points, np.float32).reshape(-1, 2))


def numbered() -> UInt8:
    """Every pixel says where it is: (column, row, 7)."""
    rows, columns = np.mgrid[0:100, 0:120]
    return np.stack([columns, rows, np.full_like(rows, 7)], 2).astype(np.uint8)


def test_a_crop_is_the_square_round_the_cell() -> None:
    cut = crop(numbered(), 60.2, 49.8, 2.0)  # 40 µm are 20 px: from 50 to 69 and from 40 to 59
    assert cut.shape == (round(CROP_UM / 2), round(CROP_UM / 2), 3)
    assert cut[0, 0].tolist() == [50, 40, 7] and cut[-1, -1].tolist() == [69, 59, 7]


@pytest.mark.parametrize(("x", "y", "at", "is_"), [(0, 0, (10, 10), (0, 0)), (119, 99, (0, 0), (109, 89))])
def test_a_crop_at_the_edge_keeps_its_size_and_its_middle(
    x: int, y: int, at: tuple[int, int], is_: tuple[int, int]
) -> None:
    cut = crop(numbered(), x, y, 2.0)
    assert cut.shape == (20, 20, 3)
    assert cut[at].tolist() == [is_[0], is_[1], 7]
    assert cut[0, 0].tolist() == ([214] * 3 if x == 0 else [109, 89, 7])


def test_one_mitosis_far_from_every_edge_is_a_gaussian() -> None:
    """Its peak is 1 / (2 pi sigma²): 15.9 per mm² for 0.1 mm."""
    density = density_map(counted([(500, 500)]))
    peak = 1 / (2 * math.pi * (DENSITY_SIGMA_UM / 1000) ** 2)
    assert density.max() == pytest.approx(peak, rel=0.02)
    row, column = np.unravel_index(density.argmax(), density.shape)
    assert abs(row - 500) <= 1 and abs(column - 500) <= 1  # a cell is 2 µm, as a pixel is here


def test_glass_and_edges_make_a_density_neither_higher_nor_lower() -> None:
    """A mitosis every 100 µm is 100 per mm²: in the middle, at the edge of the image and beside glass."""
    points = [(x, y) for x in range(25, 500, 50) for y in range(25, 1000, 50)]
    density = density_map(counted(points, glass_from=500))
    inside = density[200:800, 20:480]
    assert inside.min() > 95 and inside.max() < 105
    assert density[500, 490] == pytest.approx(100, rel=0.1) and density[500, 5] == pytest.approx(100, rel=0.1)
    assert density[:, 520:].max() == 0


def test_the_scale_of_a_case_is_that_of_its_densest_field() -> None:
    sparse, dense = counted([(500, 500)]), counted([(500, 500), (500, 505)])
    assert density_max([sparse, dense]) == pytest.approx(2 * density_max([sparse]), rel=0.02)
    assert density_max([counted([])]) == 0 and density_max([]) == 0


def near(drawn: UInt8, x: int, y: int, colour: tuple[int, int, int]) -> bool:
    around = drawn[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(around - colour).max(axis=1) < 60).any())


def test_what_is_drawn_lies_where_it_is() -> None:
    one = counted([(200, 300)], glass_from=600)
    drawn = draw_field(field(600).pixels, one, 500, FieldDrawing(window=one.region))
    assert drawn.shape == (500, 500, 3)
    assert near(drawn, 100 - 4, 150, (61, 245, 255))  # the ring, 4 px and more in radius, about half the place
    assert near(drawn, 300, 250, (255, 221, 51))  # the outline, between tissue and glass
    plain = draw_field(field(600).pixels, None, 500)
    assert not near(plain, 100 - 4, 150, (61, 245, 255)) and not near(plain, 300, 250, (255, 221, 51))


def test_a_field_is_never_made_larger_and_never_changed() -> None:
    pixels = field().pixels
    before = pixels.copy()
    assert draw_field(pixels, counted([(5, 5)]), 5000).shape == pixels.shape
    np.testing.assert_array_equal(pixels, before)


def test_the_same_pixels_are_the_same_file() -> None:
    assert encode_jpeg(numbered()) == encode_jpeg(numbered()) and encode_png(numbered()) == encode_png(numbered())


@pytest.mark.parametrize("width_px", [SIDE_PX, 250])
def test_the_outline_of_a_field_full_of_tissue_is_yellow_at_all_four_edges(width_px: int) -> None:
    drawn = draw_field(field().pixels, counted([]), width_px, FieldDrawing(rings=False)).astype(int)
    yellow = (drawn[..., 1] - drawn[..., 2] > 120) & (drawn[..., 0] > 200)
    middle = slice(60, width_px - 60)  # away from the scale bar and the corners
    for edge in (yellow[:5, middle], yellow[-5:, middle], yellow[middle, :5].T, yellow[middle, -5:].T):
        assert edge.any(axis=0).all()
