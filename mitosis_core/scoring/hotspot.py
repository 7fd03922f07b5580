"""Where a case is densest in mitoses: the densest 2 mm², and the densest run of 10 fields.

The fields of a case are images of their own, of which nobody knows how they lie to each other. So an area is sought in
two ways: as a square window inside one image that is large enough, and as a run of whole images, one after the other in
the order of the case, as a reader goes from field to field. Definitions: docs/counting.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mitosis_core.scoring.counting import Count, FieldCount, NoResult, total
from mitosis_core.types import Float32, Region

AREA_MM2 = 2.0
RUN_FIELDS = 10


@dataclass(frozen=True)
class Hotspot:
    """The densest part of a case: its fields from `first` to `last` (places in the case, both included).

    window: the part of that one field; None: whole fields. count: the mitoses and the tissue in it. note: a sentence
    where the case has less than was asked for, so that this is all of it. It was chosen for its count, so its density
    is higher than that of a part chosen beforehand, and its interval does not know that.
    """

    first: int
    last: int
    window: Region | None
    count: Count
    note: str = ""


def densest_area(fields: Sequence[FieldCount], area_mm2: float = AREA_MM2) -> Hotspot | NoResult:
    """The densest part of a case with that area.

    Of every square window of that area inside the region of a field, and of every shortest run of fields with at least
    that much tissue, the one with the most mitoses per area; the first of several. A field that holds a window is no
    run of its own. Glass in a window counts as area here, so that a window half on glass is not taken for denser.
    NoResult where µm/px or tissue is missing. Raises ValueError for an area that is not positive.
    """
    if not area_mm2 > 0:
        raise ValueError(f"the area must be positive, not {area_mm2}")
    whole = total(fields)
    if whole.problem:
        return whole.problem
    windows = list(_windows(fields, area_mm2))
    held = {one.first for one in windows}
    found = windows + [one for one in _runs(fields, area_mm2) if one.first < one.last or one.first not in held]
    if not found:
        note = f"The case has {whole.area_mm2:.2f} mm² of tissue, less than {area_mm2:g} mm²: this is all of it."
        return Hotspot(0, len(fields) - 1, None, whole, note)
    return max(found, key=lambda one: one.count.mitoses / max(one.count.area_mm2 or 0.0, area_mm2))


def densest_run(fields: Sequence[FieldCount], length: int = RUN_FIELDS) -> Hotspot | NoResult:
    """The run of that many fields, in the order of the case, with the most mitoses per mm² of their tissue.

    The first of several; NoResult where µm/px or tissue is missing. Raises ValueError for a length below 1.
    """
    if length < 1:
        raise ValueError(f"a run has at least one field, not {length}")
    whole = total(fields)
    if whole.problem:
        return whole.problem
    if len(fields) < length:
        return Hotspot(
            0, len(fields) - 1, None, whole, f"The case has {len(fields)} of {length} fields: these are all."
        )
    runs = [_run(fields, first, first + length - 1) for first in range(len(fields) - length + 1)]
    best = max(runs, key=lambda one: -1.0 if one.count.per_mm2 is None else one.count.per_mm2)
    return best.count.problem or best


def _windows(fields: Sequence[FieldCount], area_mm2: float) -> Iterator[Hotspot]:
    """The best window of every field that is large enough for one."""
    for place, one in enumerate(fields):
        assert one.tissue is not None, "the case has an area"
        side_px = 1000 * area_mm2**0.5 / one.tissue.um_per_px
        if side_px <= min(one.region.width_px, one.region.height_px):
            window = fullest_window(one.xy_px, one.region, side_px)
            inside = int(np.count_nonzero(window.contains(one.xy_px)))
            yield Hotspot(place, place, window, Count(inside, one.tissue.within(window).area_mm2))


def _runs(fields: Sequence[FieldCount], area_mm2: float) -> Iterator[Hotspot]:
    """From every field on, the fewest fields with that much tissue."""
    before = np.cumsum([0.0, *(one.count.area_mm2 or 0.0 for one in fields)])
    for first in range(len(fields)):
        end = int(np.searchsorted(before, before[first] + area_mm2 - 1e-9))
        if end <= len(fields):
            yield _run(fields, first, end - 1)


def _run(fields: Sequence[FieldCount], first: int, last: int) -> Hotspot:
    return Hotspot(first, last, None, total(fields[first : last + 1]))


def fullest_window(xy_px: Float32, bounds: Region, side_px: float) -> Region:
    """The square of side_px inside bounds with the most of the points Float32[N, 2], as far as it can be with these in
    its middle. Exact: a window can be moved until its left and its top edge meet a point or the bounds.

    Raises ValueError when it does not fit into the bounds.
    """
    if side_px > min(bounds.width_px, bounds.height_px):
        raise ValueError(f"a window of {side_px:g} px does not fit into {bounds}")
    # As distances from the corner of the image, as the edges of regions are.
    xy = np.asarray(xy_px[bounds.contains(xy_px)], np.float64).reshape(-1, 2) + 0.5
    most, best = 0, np.array([[(bounds.left + bounds.right) / 2, (bounds.top + bounds.bottom) / 2]])
    for left in np.unique(np.minimum(xy[:, 0], bounds.right - side_px)):
        column = xy[(xy[:, 0] >= left) & (xy[:, 0] < left + side_px)]
        column = column[np.argsort(column[:, 1], kind="stable")]
        tops = np.minimum(column[:, 1], bounds.bottom - side_px)
        first, last = (np.searchsorted(column[:, 1], edge) for edge in (tops, tops + side_px))
        at = int(np.argmax(last - first))
        if last[at] - first[at] > most:
            most, best = int(last[at] - first[at]), column[first[at] : last[at]]
    middle = (best.min(axis=0) + best.max(axis=0)) / 2
    left = _placed(middle[0], side_px, bounds.left, bounds.right)
    top = _placed(middle[1], side_px, bounds.top, bounds.bottom)
    return Region(left, top, left + side_px, top + side_px)


def _placed(middle: float, side_px: float, first: float, last: float) -> float:
    return float(min(max(middle - side_px / 2, first), last - side_px))
