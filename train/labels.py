"""Concentric labels (SegMitos, section 3.2): a disc is mitosis, the ring round it is nobody's, the rest background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mitosis_core.types import Float32, UInt8

BACKGROUND, MITOSIS, IGNORED = 0, 1, 255
_PAPER_UM_PER_PX = 0.25  # the paper gives its radii in pixels of this size


@dataclass(frozen=True)
class ConcentricRadii:
    """How the two radii are drawn. inner_um: range of the disc's radius; ratio: range of ring over disc radius."""

    inner_um: tuple[float, float]
    ratio: tuple[float, float]

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """(disc radius, ring radius) in µm."""
        inner = float(rng.uniform(*self.inner_um))
        return inner, inner * float(rng.uniform(*self.ratio))


def _paper(r_low: float, r_high: float, ratio_low: float, ratio_high: float) -> ConcentricRadii:
    return ConcentricRadii((r_low * _PAPER_UM_PER_PX, r_high * _PAPER_UM_PER_PX), (ratio_low, ratio_high))


# The variants of the paper's section 4.3; "circle" has no ring.
VARIANTS: dict[str, ConcentricRadii] = {
    "circle12": _paper(12, 12, 1, 1),
    "circle15": _paper(15, 15, 1, 1),
    "fixed12": _paper(12, 12, 2, 2),
    "fixed15": _paper(15, 15, 2, 2),
    "random": _paper(10, 17, 1.5, 2.5),
}


def concentric_labels(
    shape: tuple[int, int],
    xy_px: Float32,
    radii_px: Sequence[tuple[float, float]],
    *,
    reviewed: UInt8 | None = None,
) -> UInt8:
    """Labels of one image.

    shape: (H, W). xy_px: (N, 2) centroids on that grid. radii_px: N pairs (disc, ring).
    reviewed: UInt8[H, W], nonzero where somebody has looked; the rest is ignored.
    Returns UInt8[H, W]: 1 disc, 255 ring and unreviewed tissue, 0 background. A disc wins over any
    ring (two figures close together keep both discs); a disc outside the reviewed area is ignored too.
    """
    labels = np.zeros(shape, np.uint8)
    for value, which in ((IGNORED, 1), (MITOSIS, 0)):
        for (x, y), radius in zip(xy_px, radii_px, strict=True):
            _paint_disc(labels, float(x), float(y), float(radius[which]), value)
    if reviewed is not None:
        labels[reviewed == 0] = IGNORED
    return labels


def _paint_disc(labels: UInt8, x: float, y: float, radius: float, value: int) -> None:
    """Set all pixels whose centre lies within `radius` of (x, y)."""
    top, bottom = max(0, int(np.ceil(y - radius))), min(labels.shape[0], int(np.floor(y + radius)) + 1)
    left, right = max(0, int(np.ceil(x - radius))), min(labels.shape[1], int(np.floor(x + radius)) + 1)
    if top >= bottom or left >= right:
        return
    rows, columns = np.ogrid[top:bottom, left:right]
    labels[top:bottom, left:right][(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = value


def mask_labels(mask: UInt8) -> UInt8:
    """The paper's fully supervised variant: instance mask (0 background, k = k-th mitosis) -> labels."""
    return (mask > 0).astype(np.uint8)
