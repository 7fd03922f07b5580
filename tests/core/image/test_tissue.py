"""The area of tissue on drawn fields, whose tissue is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mitosis_core.errors import MissingScale
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.image.tissue import SMALLEST_HOLE_UM2, SMALLEST_PIECE_UM2, Tissue, find_tissue
from mitosis_core.types import Field, Float32, Region, UInt8

UM = 0.5
PINK, GLASS = (205, 140, 175), (244, 243, 245)
SIDE = 800  # 400 µm: 0.16 mm²


def on_glass(draw: UInt8, size: tuple[int, int] = (SIDE, SIDE), colour: tuple[int, int, int] = PINK) -> UInt8:
    """Tissue of one colour where `draw` is not zero, on glass with the noise of a camera."""
    noise = np.random.default_rng(1).normal(0, 2, (*size, 3))
    pixels = np.where(draw[..., None] > 0, np.array(colour), np.array(GLASS)) + noise
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def disc(radius_um: float, at: tuple[int, int] = (400, 400), onto: UInt8 | None = None, value: int = 1) -> UInt8:
    canvas = np.zeros((SIDE, SIDE), np.uint8) if onto is None else onto.copy()
    return np.asarray(cv2.circle(canvas, at, round(radius_um / UM), value, -1), np.uint8)


def tissue_of(pixels: UInt8, um_per_px: float | None = UM) -> Tissue:
    return find_tissue(Field(pixels, um_per_px, "drawn"))


def polygon_mm2(outline: list[Float32], um_per_px: float) -> float:
    """Outer polygons and holes run in opposite directions, so their signed areas add up to the tissue."""
    area = 0.0
    for xy in outline:
        x, y = xy.astype(np.float64).T
        area += float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
    return abs(area) * um_per_px**2 / 1e6


def test_a_disc_of_tissue_has_its_area() -> None:
    one = tissue_of(on_glass(disc(150)))
    assert one.area_mm2 == pytest.approx(np.pi * 0.15**2, rel=0.03)
    assert one.share == pytest.approx(np.pi * 0.15**2 / 0.16, rel=0.03)
    (outline,) = one.outline()
    assert polygon_mm2([outline], UM) == pytest.approx(np.pi * 0.15**2, rel=0.03)
    assert np.hypot(*(outline - 400).T) * UM == pytest.approx(150, abs=4)


def test_a_drawn_field_is_tissue_from_edge_to_edge() -> None:
    """Its clefts and vacuoles are small; the outline is the frame of the image."""
    one = find_tissue(draw_sample_field(seed=3).field)
    assert one.share > 0.995 and one.area_mm2 == pytest.approx(0.256**2, rel=0.005)
    low, high = np.concatenate(one.outline()).min(axis=0), np.concatenate(one.outline()).max(axis=0)
    assert low.tolist() == [-0.5, -0.5] and high.tolist() == [1023.5, 1023.5]


def test_a_drawn_field_half_on_glass_is_half_tissue() -> None:
    pixels = draw_sample_field(seed=3).field.pixels.copy()
    pixels[:, 512:] = on_glass(np.zeros((SIDE, SIDE), np.uint8))[:1, :1]
    assert tissue_of(pixels, 0.25).area_mm2 == pytest.approx(0.256**2 / 2, rel=0.01)


def test_bare_glass_has_no_tissue_and_no_outline() -> None:
    one = tissue_of(on_glass(np.zeros((SIDE, SIDE), np.uint8)))
    assert one.area_mm2 == 0 and one.share == 0 and one.outline() == []


def test_a_small_hole_is_filled_and_a_large_one_is_not() -> None:
    small, large = (np.sqrt(SMALLEST_HOLE_UM2 / np.pi) * factor for factor in (0.8, 1.3))
    whole = disc(170)
    assert tissue_of(on_glass(disc(small, onto=whole, value=0))).area_mm2 == tissue_of(on_glass(whole)).area_mm2
    holed = tissue_of(on_glass(disc(large, onto=whole, value=0)))
    assert holed.area_mm2 == pytest.approx(np.pi * (0.17**2 - (large / 1000) ** 2), rel=0.03)
    assert len(holed.outline()) == 2 and polygon_mm2(holed.outline(), UM) == pytest.approx(holed.area_mm2, rel=0.02)


def test_dirt_on_the_glass_is_no_tissue() -> None:
    small, large = (np.sqrt(SMALLEST_PIECE_UM2 / np.pi) * factor for factor in (0.6, 1.5))
    assert tissue_of(on_glass(disc(small))).area_mm2 == 0
    assert tissue_of(on_glass(disc(large))).area_mm2 == pytest.approx(np.pi * (large / 1000) ** 2, rel=0.25)


@pytest.mark.parametrize("light", [(0.9, 0.9, 0.9), (0.8, 0.8, 0.8), (1.0, 0.99, 0.94)])
def test_a_dimmer_lamp_changes_nothing(light: tuple[float, float, float]) -> None:
    pixels = on_glass(disc(150))
    dim = (pixels * np.array(light)).astype(np.uint8)
    assert tissue_of(dim).area_mm2 == pytest.approx(tissue_of(pixels).area_mm2, rel=0.02)


def test_pale_tissue_without_any_glass_is_tissue() -> None:
    pale = on_glass(np.ones((SIDE, SIDE), np.uint8), colour=(225, 190, 210))
    assert tissue_of(pale).share == 1


@pytest.mark.parametrize("um_per_px", [0.23, 0.25, 0.33, 0.7])
def test_the_area_does_not_depend_on_the_scanner(um_per_px: float) -> None:
    scale = UM / um_per_px
    scanned = cv2.resize(on_glass(disc(150)), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert tissue_of(scanned, um_per_px).area_mm2 == pytest.approx(np.pi * 0.15**2, rel=0.03)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_image_has_the_same_tissue(turns: int) -> None:
    pixels = on_glass(disc(100, (300, 500)))[:, :700]
    turned = np.ascontiguousarray(np.rot90(pixels, turns))
    assert tissue_of(turned).area_mm2 == pytest.approx(tissue_of(pixels).area_mm2, rel=1e-3)


def test_a_region_has_its_part_of_the_tissue() -> None:
    pixels = on_glass(np.pad(np.ones((SIDE, 300), np.uint8), ((0, 0), (0, 500))))  # the left 150 µm
    field = Field(pixels, UM, "drawn")
    one = find_tissue(field, Region(200, 0, 400, 500))  # 50 of its 100 µm, 250 µm high
    assert one.area_mm2 == pytest.approx(0.05 * 0.25, rel=0.03)
    assert one.within(Region(0, 0, 290, 100)).area_mm2 == pytest.approx(0.045 * 0.05)  # all of it tissue: exact
    assert one.within(Region(500, 0, 600, 100)).area_mm2 == 0
    xy = np.concatenate(one.outline())
    assert (xy.min(axis=0) == [199.5, -0.5]).all() and xy[:, 0].max() == pytest.approx(300, abs=5)


def test_without_scale_it_says_so() -> None:
    with pytest.raises(MissingScale, match=r"drawn: without µm per pixel"):
        tissue_of(on_glass(disc(150)), None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 5)])
def test_an_image_of_a_few_pixels_is_no_fault(shape: tuple[int, int]) -> None:
    one = tissue_of(np.full((*shape, 3), PINK, np.uint8))
    assert 0 <= one.area_mm2 <= shape[0] * shape[1] * UM**2 / 1e6 and isinstance(one.outline(), list)
