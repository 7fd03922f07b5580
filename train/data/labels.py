"""Concentric labels (SegMitos, section 3.2): a disc is mitosis, the ring round it is nobody's, the rest background.

For round things of every size, known by a box or a mask, disc and ring are ellipses (section 4.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.types import Float32, UInt8

BACKGROUND, MITOSIS, IGNORED = 0, 1, 255
MOST = IGNORED - 1  # objects in one instance mask: its numbers are bytes, of which 255 says "ignored"
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
    circles = zip(xy_px, radii_px, strict=True)
    ellipses = [(float(x), float(y), (disc, disc), (ring, ring)) for (x, y), (disc, ring) in circles]
    return _paint(shape, ellipses, reviewed)


def concentric_labels_from_boxes(
    shape: tuple[int, int],
    boxes_xyxy: Float32,
    *,
    inner: float = 0.5**0.5,
    outer: float = 2.0**0.5,
    reviewed: UInt8 | None = None,
) -> UInt8:
    """Labels from the height and width of each object (section 4.6 and Fig. 13).

    boxes_xyxy: (N, 4) as x0, y0, x1, y1, the edges of the object in pixels: x0 = 0, x1 = 3 are the first three
    columns. inner, outer: size of disc and ring against the ellipse that fits into the box; the text gives no numbers,
    so the disc has half of its area and the ring reaches to twice of it, through the corners of the box, which is
    the ratio R = 2 r of the paper's fixed labels. reviewed and the labels returned are those of `concentric_labels`.
    Raises UnusableData for a box without height or width, ValueError unless 0 < inner <= outer.
    """
    if not 0 < inner <= outer:
        raise ValueError(f"the ring must not be smaller than the disc, and both positive, not {inner} and {outer}")
    ellipses = []
    for left, top, right, bottom in np.asarray(boxes_xyxy, np.float64).reshape(-1, 4).tolist():
        half_x, half_y = (right - left) / 2, (bottom - top) / 2
        if not (half_x > 0 and half_y > 0):
            place = f"({left:g}, {top:g}) to ({right:g}, {bottom:g})"
            raise UnusableData(f"The box from {place} has no height or no width; please correct it.")
        disc, ring = ((size * half_x, size * half_y) for size in (inner, outer))
        ellipses.append(((left + right - 1) / 2, (top + bottom - 1) / 2, disc, ring))
    return _paint(shape, ellipses, reviewed)


def boxes_of_masks(mask: UInt8) -> Float32:
    """Instance mask (0 background, k = k-th object) -> (N, 4) boxes for `concentric_labels_from_boxes`, by number."""
    numbers = [number for number in np.unique(mask) if number]
    places = [np.nonzero(mask == number) for number in numbers]
    ends = [(x.min(), y.min(), x.max() + 1, y.max() + 1) for y, x in places]
    return np.array(ends, np.float32).reshape(-1, 4)


def ellipse_masks(shape: tuple[int, int], xy_px: Float32, sizes_px: Float32) -> UInt8:
    """UInt8[H, W], k on the k-th object and 0 elsewhere: the instance mask of ellipses of known width and height.

    shape: (H, W). xy_px, sizes_px: (N, 2) in its pixels. Where two overlap, the smaller one lies on top.
    Raises UnusableData for more than MOST objects, one as wide or as high as the image, or one that no pixel shows.
    """
    check_count(len(xy_px))
    masks = np.zeros(shape, np.uint8)
    if (np.asarray(sizes_px) >= shape[::-1]).any():
        raise UnusableData("An object is as large as its image; please check its object_width_px and object_height_px.")
    for k in np.argsort(-sizes_px.prod(1), kind="stable").tolist():
        half_x, half_y = (sizes_px[k] / 2).tolist()
        _paint_ellipse(masks, float(xy_px[k, 0]), float(xy_px[k, 1]), (half_x, half_y), k + 1)
    hidden = np.setdiff1d(np.arange(1, len(xy_px) + 1), masks)
    if len(hidden):
        x, y = xy_px[hidden[0] - 1].tolist()
        raise UnusableData(f"The object at ({x:g}, {y:g}) covers no pixel of its own; check its place and its size.")
    return masks


def check_count(objects: int) -> None:
    """Raises UnusableData when an instance mask cannot number so many."""
    if objects > MOST:
        raise UnusableData(f"{objects} figures in one image are more than a mask can number ({MOST}).")


_Ellipse = tuple[float, float, tuple[float, float], tuple[float, float]]  # x, y, half-axes of disc and of ring


def _paint(shape: tuple[int, int], ellipses: Sequence[_Ellipse], reviewed: UInt8 | None) -> UInt8:
    """All rings first, then all discs: a disc wins over any ring."""
    labels = np.zeros(shape, np.uint8)
    for x, y, _, ring in ellipses:
        _paint_ellipse(labels, x, y, ring, IGNORED)
    for x, y, disc, _ in ellipses:
        _paint_ellipse(labels, x, y, disc, MITOSIS)
    if reviewed is not None:
        labels[reviewed == 0] = IGNORED
    return labels


def _paint_ellipse(labels: UInt8, x: float, y: float, half: tuple[float, float], value: int) -> None:
    """Set all pixels whose centre lies within the ellipse round (x, y); half: its axes along x and y, halved."""
    across, down = float(half[0]), float(half[1])
    top, bottom = max(0, int(np.ceil(y - down))), min(labels.shape[0], int(np.floor(y + down)) + 1)
    left, right = max(0, int(np.ceil(x - across))), min(labels.shape[1], int(np.floor(x + across)) + 1)
    if top >= bottom or left >= right:
        return
    rows, columns = np.ogrid[top:bottom, left:right]
    inside = ((columns - x) * down) ** 2 + ((rows - y) * across) ** 2 <= (across * down) ** 2
    labels[top:bottom, left:right][inside] = value


def mask_labels(mask: UInt8) -> UInt8:
    """The paper's fully supervised variant: instance mask (0 background, k = k-th mitosis) -> labels."""
    return (mask > 0).astype(np.uint8)
