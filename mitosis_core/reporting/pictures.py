"""Pictures of a counted case: cells as crops, fields with their tissue, marks and density of mitoses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mitosis_core.image.square import cut_square
from mitosis_core.scoring.counting import FieldCount
from mitosis_core.types import Float32, Region, UInt8

CROP_UM = 40.0  # side of a crop: a mitotic figure and the cells round it
DENSITY_SIGMA_UM = 100.0  # of the Gaussian that the density is averaged with
RING_UM = 9.0  # clears a mitotic figure and its cell
BAR_UM = 100.0

_RING, _OUTLINE, _WINDOW, _DARK = (61, 245, 255), (255, 221, 51), (255, 255, 255), (16, 16, 26)
_BEYOND = 214  # grey, of a crop that reaches beyond the image
_MOST_OPAQUE = 0.6


@dataclass(frozen=True)
class FieldDrawing:
    """What is drawn on a field. density_max: mitoses per mm² that get the brightest colour; None: no density.

    window: a part to show, such as the densest one.
    """

    outline: bool = True
    rings: bool = True
    density_max: float | None = None
    window: Region | None = None


def crop(pixels: UInt8, x_px: float, y_px: float, um_per_px: float) -> UInt8:
    """UInt8[S, S, 3]: the square of CROP_UM round a place, grey where it reaches beyond the image."""
    half = max(4, round(CROP_UM / um_per_px / 2))
    return cut_square(pixels, round(x_px), round(y_px), 2 * half, _BEYOND)


def draw_field(pixels: UInt8, counted: FieldCount | None, width_px: int, drawing: FieldDrawing | None = None) -> UInt8:
    """UInt8[h, w, 3]: the field at most width_px wide, with what is drawn on it and a bar of 100 µm.

    counted: None for a field that does not count: the image alone.
    """
    import cv2

    drawing = drawing or FieldDrawing()
    scale = min(1.0, width_px / pixels.shape[1])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    drawn = np.ascontiguousarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels.copy())
    if counted is None or counted.tissue is None:
        return drawn
    if drawing.density_max is not None:
        drawn = _with_density(drawn, counted, drawing.density_max)
    if drawing.outline:
        _lines(drawn, counted.tissue.outline(), scale, _OUTLINE)
    if drawing.window is not None:
        left, top, right, bottom = (edge - 0.5 for edge in drawing.window.edges)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
        _lines(drawn, [corners], scale, _WINDOW)
    if drawing.rings:
        _rings(drawn, counted.xy_px, scale, max(4.0, RING_UM / counted.tissue.um_per_px * scale))
    _bar(drawn, BAR_UM / counted.tissue.um_per_px * scale)
    return drawn


def density_map(counted: FieldCount) -> Float32:
    """Float32[h, w], mitoses per mm² of tissue on the cells of the tissue's mask, averaged with a Gaussian of 100 µm.

    0 outside the tissue. Its edges, and glass, make it neither higher nor lower: mitoses and tissue are averaged alike.
    """
    import cv2

    tissue = counted.tissue
    assert tissue is not None, "its µm/px is known"
    inside = tissue.mask & tissue.region.mask((tissue.mask.shape[0], tissue.mask.shape[1]), tissue.cell_px)
    places = np.zeros(tissue.mask.shape, np.float32)
    cells = ((counted.xy_px + 0.5) / np.asarray(tissue.cell_px, np.float32)).astype(int)
    np.add.at(places, tuple(np.clip(cells[:, ::-1], 0, np.array(places.shape) - 1).T), 1)
    sigma_x, sigma_y = (DENSITY_SIGMA_UM / (cell * tissue.um_per_px) for cell in tissue.cell_px)

    def averaged(values: Float32) -> Float32:
        blurred = cv2.GaussianBlur(values, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_CONSTANT)
        return np.asarray(blurred, np.float32)

    cell_mm2 = tissue.cell_px[0] * tissue.cell_px[1] * tissue.um_per_px**2 / 1e6
    area_mm2 = averaged(inside.astype(np.float32)) * cell_mm2
    return np.where(inside, averaged(places) / np.maximum(area_mm2, 1e-12), 0).astype(np.float32)


def density_max(fields: Sequence[FieldCount]) -> float:
    """The highest density of all the fields, for one scale of colours; 0 without a mitosis."""
    return max((float(density_map(one).max()) for one in fields if len(one.xy_px)), default=0.0)


def density_legend(width_px: int, height_px: int) -> UInt8:
    """UInt8[h, w, 3]: the colours of the density from 0 to its highest, left to right, on white."""
    values = np.tile(np.linspace(0, 1, width_px, dtype=np.float32), (height_px, 1))
    colours, opacity = _coloured(values)
    return _blend(np.full((height_px, width_px, 3), 255, np.uint8), colours, opacity)


def _with_density(drawn: UInt8, counted: FieldCount, most: float) -> UInt8:
    import cv2

    share = density_map(counted) / most if most > 0 else np.zeros((1, 1), np.float32)
    shown = cv2.resize(share, (drawn.shape[1], drawn.shape[0]), interpolation=cv2.INTER_LINEAR)
    return _blend(drawn, *_coloured(shown))


def _coloured(share: Float32) -> tuple[UInt8, Float32]:
    """Colours and opacity of shares of the highest density, 0 to 1: clear where there is none."""
    import cv2

    share = np.clip(share, 0, 1)
    colours = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    opacity = np.minimum(1, share * 4) * _MOST_OPAQUE
    return np.asarray(colours, np.uint8), opacity.astype(np.float32)


def _blend(under: UInt8, over: UInt8, opacity: Float32) -> UInt8:
    mixed = under + (over.astype(np.float32) - under) * opacity[..., None]
    return np.ascontiguousarray(np.rint(mixed).astype(np.uint8))


def _lines(drawn: UInt8, polygons: Sequence[Float32], scale: float, colour: tuple[int, int, int]) -> None:
    import cv2

    # The centre of the first pixel stays (0, 0) when an image is made smaller. A line along its edge is drawn inside.
    last = np.array(drawn.shape[1::-1]) - 2
    placed = [np.clip((one + 0.5) * scale - 0.5, 1, np.maximum(last, 1)) for one in polygons if len(one) > 1]
    shown = [np.rint(one * 16).astype(np.int32) for one in placed]  # OpenCV takes sixteenths of a pixel
    for width, ink in ((4, _DARK), (2, colour)):
        cv2.polylines(drawn, shown, True, ink, width, cv2.LINE_AA, 4)


def _rings(drawn: UInt8, xy_px: Float32, scale: float, radius: float) -> None:
    import cv2

    for x, y in ((xy_px + 0.5) * scale - 0.5).tolist():
        centre = (round(x * 16), round(y * 16))
        for width, ink in ((4, _DARK), (2, _RING)):  # a dark rim keeps the ring legible on pale tissue
            cv2.circle(drawn, centre, round(radius * 16), ink, width, cv2.LINE_AA, 4)


def _bar(drawn: UInt8, length: float) -> None:
    import cv2

    height = drawn.shape[0]
    if length > drawn.shape[1] / 2:
        return
    margin = max(4, height // 40)
    end = (margin + round(length), height - margin)
    for width, ink in ((5, (255, 255, 255)), (2, _DARK)):
        cv2.line(drawn, (margin, height - margin), end, ink, width, cv2.LINE_AA)
