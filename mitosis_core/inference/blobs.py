"""Probability map -> smooth -> one threshold for the whole field -> blobs -> detections (SegMitos, section 3.3).

Everything happens on the network's coarse grid, and only foreground cells are ever measured, so that neither a
large nor an empty, noisy field takes long. Otsu's threshold is kept within bounds: it needs two populations, and
in a field with two mitoses or none it falls to about 0.03, where thousands of specks of background come out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableModel
from mitosis_core.types import Detections, Float32, ProbabilityMap, UInt8
from mitosis_core.vocabulary import SAME_CELL_UM

_Int32 = npt.NDArray[np.int32]
_Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BlobSettings:
    """How a map becomes detections; the settings belong to a model version.

    finder: "blobs" gives one detection per connected blob; "peaks" one per local maximum, at least peak_distance_um
    from any better one, which keeps touching figures apart.
    binarize: "otsu" (one threshold for the field), "otsu-patchwise" (one per square of patch_um, the paper's
    ablation), both clipped to threshold_low..threshold_high, or "fixed" at threshold.
    score: "mean" or "peak" of the smoothed map over the blob. min_score: candidates below it are dropped.
    border_um: nearer to an edge of the field nothing is said (see prediction.exclude_border).
    Raises ValueError for a setting out of its range.
    """

    finder: Literal["blobs", "peaks"] = "blobs"
    smooth_um: float = 1.0
    binarize: Literal["otsu", "otsu-patchwise", "fixed"] = "otsu"
    threshold: float = 0.5
    threshold_low: float = 0.2
    threshold_high: float = 0.6
    patch_um: float = 125.0
    peak_distance_um: float = SAME_CELL_UM
    min_area_um2: float = 8.0
    max_area_um2: float | None = None
    min_score: float = 0.05
    score: Literal["mean", "peak"] = "mean"
    border_um: float = 0.0

    def __post_init__(self) -> None:
        if self.finder not in ("blobs", "peaks"):
            raise ValueError(f"finder must be blobs or peaks, not {self.finder}")
        if self.binarize not in ("otsu", "otsu-patchwise", "fixed"):
            raise ValueError(f"binarize must be otsu, otsu-patchwise or fixed, not {self.binarize}")
        if self.score not in ("mean", "peak"):
            raise ValueError(f"score must be mean or peak, not {self.score}")
        if not 0 < self.threshold <= 1 or not 0 < self.threshold_low <= self.threshold_high <= 1:
            raise ValueError("thresholds must lie in (0, 1], the low one not above the high one")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score must lie in [0, 1], not {self.min_score}")
        if not all(math.isfinite(v) and v >= 0 for v in (self.smooth_um, self.min_area_um2, self.border_um)):
            raise ValueError("smooth_um, min_area_um2 and border_um must not be negative")
        if not all(math.isfinite(v) and v > 0 for v in (self.patch_um, self.peak_distance_um)):
            raise ValueError("patch_um and peak_distance_um must be positive")
        if self.max_area_um2 is not None and not self.max_area_um2 >= self.min_area_um2:
            raise ValueError("max_area_um2 must not be below min_area_um2")

    def to_dict(self) -> dict[str, Any]:
        """As a card keeps it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BlobSettings:
        """Raises ValueError for a setting that is not known or out of its range."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown settings: {', '.join(unknown)}")
        return cls(**values)


def find_blobs(map: ProbabilityMap, settings: BlobSettings) -> Detections:
    """Find the mitoses of a probability map; points in pixels of the original image, best score first.

    A point is the centroid of its blob, weighted by probability. Raises UnusableModel when the map holds values that
    are not numbers.
    """
    if not map.values.size:
        return Detections()
    smooth = _smoothed(map, settings.smooth_um)
    # NaN in, nothing found: "no mitosis" must never be the answer of a broken network.
    if not np.isfinite(smooth.sum(dtype=np.float64)):
        raise UnusableModel("The model's answer for this field holds values that are not numbers.")
    mask = _foreground(smooth, map, settings)
    if settings.finder == "blobs":
        labels = _connected(mask)
    else:
        labels = _around_peaks(smooth, mask, _in_cells(settings.peak_distance_um, map))
    return _measure(smooth, labels, map, settings)


def _in_cells(length_um: float, map: ProbabilityMap) -> float:
    return length_um / math.sqrt(map.cell_area_um2)


def _smoothed(map: ProbabilityMap, sigma_um: float) -> Float32:
    import cv2

    sigma_x, sigma_y = (sigma_um / (map.um_per_px * cell_px) for cell_px in map.cell_px)
    if min(sigma_x, sigma_y) < 0.2:  # such a kernel is a single cell
        return map.values
    smooth: Float32 = cv2.GaussianBlur(map.values, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    return smooth


def _foreground(smooth: Float32, map: ProbabilityMap, settings: BlobSettings) -> _Bool:
    if settings.binarize == "fixed":
        return smooth >= np.float32(settings.threshold)
    if settings.binarize == "otsu":
        return smooth >= np.float32(_guarded_otsu(smooth, settings))
    mask = np.empty(smooth.shape, bool)
    step = max(1, round(_in_cells(settings.patch_um, map)))
    for top in range(0, smooth.shape[0], step):
        for left in range(0, smooth.shape[1], step):
            patch = smooth[top : top + step, left : left + step]
            mask[top : top + step, left : left + step] = patch >= np.float32(_guarded_otsu(patch, settings))
    return mask


def _guarded_otsu(values: Float32, settings: BlobSettings) -> float:
    """Otsu's threshold from a histogram of 256 bins, within the bounds of the settings."""
    import cv2

    grey = cv2.convertScaleAbs(values, alpha=255)
    level, _ = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    # OpenCV's background goes up to and including the level.
    return float(np.clip((level + 0.5) / 255, settings.threshold_low, settings.threshold_high))


def _connected(mask: _Bool) -> _Int32:
    """Int32[h, w]: 0 background, 1.. the 8-connected blobs."""
    import cv2

    labels: _Int32 = cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1]
    return labels


def _around_peaks(smooth: Float32, mask: _Bool, distance: float) -> _Int32:
    """Int32[h, w]: the foreground cells within distance (in cells) of a peak carry the number of the nearest one."""
    import cv2

    # The square inside the circle weeds out nearly all with one separable filter; the rest goes by true distance.
    half = max(1, int(distance / math.sqrt(2)))
    highest = cv2.dilate(smooth, np.ones((2 * half + 1, 2 * half + 1), np.uint8))
    tops = _connected(mask & (smooth >= highest))  # a plateau is one peak
    keep = _apart(smooth, tops, distance)
    elsewhere: UInt8 = (~keep[tops]).view(np.uint8)
    if elsewhere.all():
        return np.zeros(smooth.shape, np.int32)
    away, labels = cv2.distanceTransformWithLabels(elsewhere, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)
    near: _Int32 = np.where(mask & (away <= max(distance, 1.0)), labels, 0)
    return near


def _apart(smooth: Float32, tops: _Int32, distance: float) -> _Bool:
    """Bool[peaks + 1]: which of the numbered peaks stay when none may lie within distance of a higher one."""
    from scipy.spatial import cKDTree

    cells = np.flatnonzero(tops)
    _, first, number = np.unique(tops.ravel()[cells], return_index=True, return_inverse=True)
    keep = np.zeros(len(first) + 1, bool)
    if not len(first):
        return keep
    rows, columns = np.divmod(cells, tops.shape[1])
    size = np.bincount(number)
    centres = np.stack([np.bincount(number, columns) / size, np.bincount(number, rows) / size], axis=1)
    order = np.argsort(-smooth.ravel()[cells[first]], kind="stable")
    stays = np.ones(len(order), bool)
    for better, worse in sorted(cKDTree(centres[order]).query_pairs(distance)):
        if stays[better]:
            stays[worse] = False
    keep[1 + order] = stays
    return keep


def _measure(smooth: Float32, labels: _Int32, map: ProbabilityMap, settings: BlobSettings) -> Detections:
    """Area, score and weighted centroid of every labelled blob; the area filter comes before any measuring."""
    cells = np.flatnonzero(labels)
    number = labels.ravel()[cells]
    area_um2 = np.bincount(number) * map.cell_area_um2
    keep = area_um2 >= max(settings.min_area_um2, map.cell_area_um2 / 2)  # label 0 and unused labels have no area
    if settings.max_area_um2 is not None:
        keep &= area_um2 <= settings.max_area_um2
    kept = keep[number]
    cells, number, area_um2 = cells[kept], (np.cumsum(keep) - 1)[number[kept]], area_um2[keep]
    if not len(area_um2):
        return Detections()
    rows, columns = np.divmod(cells, labels.shape[1])
    weight = smooth.ravel()[cells]
    total = np.bincount(number, weight)
    xy = np.stack([np.bincount(number, weight * columns), np.bincount(number, weight * rows)], axis=1) / total[:, None]
    if settings.score == "mean":
        score = (total / np.bincount(number)).astype(np.float32)
    else:
        score = np.zeros(len(total), np.float32)
        np.maximum.at(score, number, weight)
    score = np.clip(score, 0, 1)
    sure = score >= np.float32(settings.min_score)
    return Detections(map.to_px(xy[sure].astype(np.float32)), score[sure], area_um2[sure].astype(np.float32))
