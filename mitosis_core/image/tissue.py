"""How much of a field is tissue: the area that counts, glass left out, with an outline to draw."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import MissingScale
from mitosis_core.types import Bool, Field, Float32, Region, UInt8

METHOD = 1  # to be raised with any change by which the same field has another tissue: kept ones are then not used
CELL_UM = 2.0  # of the coarse grid: a nucleus is three to five of these across
SMALLEST_HOLE_UM2 = 2000.0  # a round hole of 50 µm; smaller ones (vacuoles, fat cells, clefts) belong to the tissue
SMALLEST_PIECE_UM2 = 400.0  # less than this, alone on glass, is dirt or a cell that was torn off
_BLUR_UM = 2.0
_DARKEST_GLASS, _GREYEST_GLASS = 190, 20  # lowest value of a channel, largest difference between channels


@dataclass(frozen=True, eq=False)
class Tissue:
    """Where a region of an image is tissue.

    mask: Bool[h, w] over the whole image, on a grid of cells of cell_px (width, height) pixels of it.
    """

    mask: Bool
    cell_px: tuple[float, float]
    um_per_px: float
    region: Region

    @property
    def share(self) -> float:
        """How much of the region is tissue, 0 to 1."""
        inside = self.mask[self.region.mask(self._shape, self.cell_px)]
        return float(inside.mean()) if inside.size else 0.0

    @property
    def area_mm2(self) -> float:
        """Area of the tissue in the region."""
        return self.share * self.region.area_mm2(self.um_per_px)

    def within(self, region: Region) -> Tissue:
        """The tissue in what this region and another share."""
        return replace(self, region=self.region.clipped(region))

    def outline(self) -> list[Float32]:
        """Closed polygons Float32[N, 2] in pixels of the image, those of holes among them: filled by the even-odd rule
        they are the tissue in the region, corners cut by half a cell."""
        from skimage.measure import approximate_polygon, find_contours

        # A rim of glass closes what the edge of the image cuts.
        tissue = np.pad(self.mask & self.region.mask(self._shape, self.cell_px), 1).astype(np.float32)
        low = np.array([self.region.left, self.region.top]) - 0.5
        high = np.array([self.region.right, self.region.bottom]) - 0.5
        outlines = []
        for found in find_contours(tissue, 0.5):
            cells_xy = approximate_polygon(found, 0.5)[:, ::-1] - 1
            xy = (cells_xy + 0.5) * np.asarray(self.cell_px) - 0.5
            outlines.append(np.clip(xy, low, high).astype(np.float32))
        return outlines

    @property
    def _shape(self) -> tuple[int, int]:
        return self.mask.shape[0], self.mask.shape[1]


def find_tissue(field: Field, region: Region | None = None) -> Tissue:
    """The tissue of a field, or of a region of it, by its optical density on cells of 2 µm.

    A cell is tissue from the density of the palest cytoplasm on, measured against the glass of the image where it has
    some. Holes under 2000 µm² are filled, pieces under 400 µm² left out. Raises MissingScale without µm/px.
    """
    from mitosis_core.image.stain import TISSUE_DENSITY

    if field.um_per_px is None:
        raise MissingScale(f"{field.name}: without µm per pixel the area of its tissue cannot be measured.")
    density, cell_px = _density(field.pixels, field.um_per_px)
    mask = np.asarray(density > TISSUE_DENSITY)
    cell_um2 = cell_px[0] * cell_px[1] * field.um_per_px**2
    mask = _without_small(mask, SMALLEST_PIECE_UM2 / cell_um2)
    mask = ~_without_small(~mask, SMALLEST_HOLE_UM2 / cell_um2)
    return Tissue(mask, cell_px, field.um_per_px, field.extent if region is None else region.clipped(field.extent))


def _density(pixels: UInt8, um_per_px: float) -> tuple[Float32, tuple[float, float]]:
    """Optical density above that of glass, Float32[h, w], mean over the channels; and the size of a cell in pixels."""
    import cv2

    height, width = pixels.shape[:2]
    rows, columns = (max(1, round(n * um_per_px / CELL_UM)) for n in (height, width))
    coarse = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_AREA)
    coarse = cv2.GaussianBlur(coarse, (0, 0), _BLUR_UM / CELL_UM)
    density = np.log(_glass(coarse) / np.maximum(coarse, 1)).mean(axis=2)
    return density.astype(np.float32), (width / columns, height / rows)


def _glass(coarse: UInt8) -> npt.NDArray[np.float64]:
    """Float[3]: the colour of the empty slide; white where the image shows none, for the lightest tissue is pink."""
    lightest = np.percentile(coarse.reshape(-1, 3), 99, axis=0)
    shown = lightest.min() >= _DARKEST_GLASS and np.ptp(lightest) <= _GREYEST_GLASS
    return np.asarray(lightest if shown else np.full(3, 255.0))


def _without_small(mask: Bool, cells: float) -> Bool:
    """Without the connected parts of fewer cells."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= cells
    keep[0] = False
    return np.asarray(keep[labels])
