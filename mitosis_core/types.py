"""The values that flow through the program: frozen, validated, no behaviour beyond reading them.

Points are (N, 2) float32 `[x, y]`, x right, y down, the centre of the top-left pixel is (0, 0),
always in pixels of the original image, which reaches from -0.5 to its width - 0.5. Lengths end in `_um` or `_px`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, such as the part of a field that a reader reviewed.

    Its edges are counted in pixels from the corner of the image, as a reader draws them: Region(0, 0, 3, 2) is the
    first three columns of the first two rows, and Region(0, 0, width, height) the whole image. Points lie in pixels
    whose centres are whole numbers (the centre of the top-left one is (0, 0)), so the left edge is x = left - 0.5.
    A point on the left or top edge is inside, one on the right or bottom edge is not: neighbours share none.
    Raises ValueError for an edge that is not finite, or a right or bottom edge before the left or top one.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.edges).all():
            raise ValueError(f"the edges of a region must be finite, not {self.edges}")
        if self.left > self.right or self.top > self.bottom:
            raise ValueError(f"the edges of a region are left, top, right, bottom, not {self.edges}")

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom, as they are stored and drawn."""
        return self.left, self.top, self.right, self.bottom

    @property
    def width_px(self) -> float:
        """From the left to the right edge."""
        return self.right - self.left

    @property
    def height_px(self) -> float:
        """From the top to the bottom edge."""
        return self.bottom - self.top

    def area_mm2(self, um_per_px: float) -> float:
        """Its area in an image of that scale."""
        return self.width_px * self.height_px * um_per_px**2 / 1e6

    def contains(self, xy_px: Float32) -> Bool:
        """Bool[N]: which of the points Float32[N, 2] lie inside."""
        x, y = np.asarray(xy_px, np.float64).reshape(-1, 2).T + 0.5
        return np.asarray((x >= self.left) & (x < self.right) & (y >= self.top) & (y < self.bottom))

    def without_border(self, border_px: float) -> Region:
        """The region without a border of that width, but of a quarter of its shorter side at most."""
        border_px = min(border_px, min(self.width_px, self.height_px) / 4)
        return Region(self.left + border_px, self.top + border_px, self.right - border_px, self.bottom - border_px)

    def clipped(self, other: Region) -> Region:
        """What it shares with another region, such as `Field.extent`; an empty region where they share nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Region(left, top, max(left, min(self.right, other.right)), max(top, min(self.bottom, other.bottom)))

    def mask(self, shape: tuple[int, int], cell_px: tuple[float, float] = (1.0, 1.0)) -> Bool:
        """Bool[shape], shape being (h, w): the cells of a grid over the image whose centre lies inside.

        cell_px: (width, height) of a cell in pixels of the image.
        """
        rows = _inside(shape[0], cell_px[1], self.top, self.bottom)
        return rows[:, None] & _inside(shape[1], cell_px[0], self.left, self.right)


_EDGE_SLACK_PX = 0.5  # several formats round places to whole pixels


def on_image(x_px: float, y_px: float, width_px: float, height_px: float) -> bool:
    """Whether a mark may lie there: on the image, or half a pixel beyond its edge at most. (0, 0) is the centre of the
    top-left pixel; a side that is not known is infinite."""
    low, beyond = -0.5 - _EDGE_SLACK_PX, _EDGE_SLACK_PX - 0.5
    return low <= x_px <= width_px + beyond and low <= y_px <= height_px + beyond


def _inside(cells: int, cell_px: float, first: float, last: float) -> Bool:
    centre = (np.arange(cells) + 0.5) * cell_px
    return np.asarray((centre >= first) & (centre < last))


@dataclass(frozen=True, eq=False)
class Field:
    """One high-power field.

    pixels: UInt8[H, W, 3], RGB. um_per_px: None while nobody has said; scale_source says who did
    ("given", "TIFF resolution", "OME-XML", ...). notes: sentences for the user on how it was read.
    Raises ValueError on any other shape, type or a µm/px that is not positive.
    """

    pixels: UInt8
    um_per_px: float | None
    name: str
    scale_source: str = "given"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 3 or self.pixels.shape[2] != 3:
            raise ValueError(f"pixels must be uint8 [H, W, 3], not {self.pixels.dtype} {self.pixels.shape}")
        if self.um_per_px is not None and not (np.isfinite(self.um_per_px) and self.um_per_px > 0):
            raise ValueError(f"um_per_px must be positive, not {self.um_per_px}")

    @property
    def height_px(self) -> int:
        """Rows of the image."""
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        """Columns of the image."""
        return int(self.pixels.shape[1])

    @property
    def extent(self) -> Region:
        """The whole image."""
        return Region(0, 0, self.width_px, self.height_px)

    @property
    def area_mm2(self) -> float | None:
        """Area of the whole image, or None without µm/px."""
        return None if self.um_per_px is None else self.extent.area_mm2(self.um_per_px)

    @cached_property
    def digest(self) -> str:
        """sha256 over shape and pixels: the same image has the same digest whatever its file format."""
        pixels = np.ascontiguousarray(self.pixels)
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(pixels.data)  # no copy of it
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class ProbabilityMap:
    """Float32[h, w] in [0, 1]: how sure the network is of mitosis in each cell of a coarse grid.

    cell_px: (width, height) of one cell in pixels of the original image. The centre of cell
    (column i, row j) lies at ((i + 0.5) * cell_px[0] - 0.5, (j + 0.5) * cell_px[1] - 0.5).
    um_per_px: µm/px of the original image. tissue_share: of the image; the rest is glass.
    """

    values: Float32
    cell_px: tuple[float, float]
    um_per_px: float
    tissue_share: float = 1.0

    def __post_init__(self) -> None:
        if self.values.dtype != np.float32 or self.values.ndim != 2:
            raise ValueError(f"values must be float32 [h, w], not {self.values.dtype} {self.values.shape}")

    @property
    def cell_area_um2(self) -> float:
        """Area of one cell of the map."""
        return self.cell_px[0] * self.cell_px[1] * self.um_per_px**2

    def to_px(self, cells_xy: Float32) -> Float32:
        """Carry (N, 2) points from cells of the map to pixels of the original image."""
        return ((cells_xy + 0.5) * np.asarray(self.cell_px, np.float32) - 0.5).astype(np.float32)


def _no_points() -> Float32:
    return np.zeros((0, 2), np.float32)


def _no_values() -> Float32:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a model found in one field, best score first.

    xy_px: Float32[N, 2]; score: Float32[N] in [0, 1]; area_um2: Float32[N]. `Detections()` is the
    one form of "none". Sorted on construction; raises ValueError when the lengths differ.
    """

    xy_px: Float32 = field(default_factory=_no_points)
    score: Float32 = field(default_factory=_no_values)
    area_um2: Float32 = field(default_factory=_no_values)

    def __post_init__(self) -> None:
        xy = np.asarray(self.xy_px, np.float32).reshape(-1, 2)
        score = np.asarray(self.score, np.float32).reshape(-1)
        area = np.asarray(self.area_um2, np.float32).reshape(-1)
        if not len(xy) == len(score) == len(area):
            raise ValueError(f"lengths differ: {len(xy)} points, {len(score)} scores, {len(area)} areas")
        order = np.argsort(-score, kind="stable")
        object.__setattr__(self, "xy_px", xy[order])
        object.__setattr__(self, "score", score[order])
        object.__setattr__(self, "area_um2", area[order])

    def __len__(self) -> int:
        return len(self.score)

    def above(self, threshold: float) -> Detections:
        """Those with score >= threshold."""
        n = int(np.count_nonzero(self.score >= threshold))
        return Detections(self.xy_px[:n], self.score[:n], self.area_um2[:n])

    def select(self, which: npt.NDArray[np.bool_ | np.intp]) -> Detections:
        """Those of a mask Bool[N], or of ascending places Int[K]."""
        return Detections(self.xy_px[which], self.score[which], self.area_um2[which])


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer of one version on one field.

    candidates: every blob down to a low score, so that the threshold can move without the network.
    area_mm2: of the tissue in the part that was searched. notes: sentences for the user ("hardly any tissue was
    found"). seconds: wall time of the analysis.
    """

    candidates: Detections
    threshold: float
    version: str
    seconds: float
    area_mm2: float
    map: ProbabilityMap | None = None
    notes: tuple[str, ...] = ()

    @property
    def detections(self) -> Detections:
        """The candidates at or above the version's own threshold."""
        return self.candidates.above(self.threshold)

    @property
    def count(self) -> int:
        """How many detections it has."""
        return len(self.detections)

    @property
    def density_per_mm2(self) -> float | None:
        """Detections per mm² of tissue; None where there is too little of it."""
        from mitosis_core.scoring.counting import Count  # which knows these types

        return Count(self.count, self.area_mm2).per_mm2
