"""MITOS12 (ICPR 2012 contest): one CSV file an image, one row a mitosis, which lists all its pixels as x,y,x,y,...

Roux et al., J Pathol Inform 2013;4:8. Whether the first pixel is 0 or 1 is not published with the files; here it is 0.
Read: the mean of the pixels, and their extent as the size of the cell. Written: a cell whose size is known as the
ellipse of that size, any other as the one, two or four pixels round its place; both are symmetric, so that their mean
is the place to half a pixel. Mitoses only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import MITOSIS
from mitosis_core.interchange.files import FileNames, Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.interchange.number_rows import first_row, number_rows

Points = npt.NDArray[np.float64]  # [N, 2], or [2] of one
_MOST_SIZE_PX = 2000  # of a cell that is drawn
_LEAST_RADIUS_PX = 0.75  # reaches the four pixels round a corner


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """One image a file. Raises UnusableData with file and row."""
    for source in sources:
        rows = number_rows(source, None, "the pixels of a mitosis, x,y,x,y,...,")
        marks = tuple(_mark(values, row, f"{source.shown}, row {row}") for row, values in rows)
        yield MarkedImage(source.stem, marks, source=source.shown, counted="row")


def _mark(values: list[float], row: int, place: str) -> Mark:
    if len(values) % 2 or any(value != int(value) for value in values):
        raise UnusableData(f"{place}: pixels are expected as whole numbers, x,y,x,y,...")
    xy = np.reshape(values, (-1, 2))
    x, y = xy.mean(axis=0)
    width, height = np.ptp(xy, axis=0) + 1
    size = (float(width), float(height)) if len(xy) > 4 else None
    return Mark(float(x), float(y), MITOSIS, size_px=size, place=row)


def write(folder: Path, images: Iterable[MarkedImage]) -> None:
    """One file an image; an image without mitoses has an empty one."""
    names = FileNames()
    for image in images:
        with names.path(folder, image.name, ".csv", flat=True).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerows(_pixels(mark, image).ravel().tolist() for mark in image.marks)


def _pixels(mark: Mark, image: MarkedImage) -> npt.NDArray[np.int64]:
    """Int[N, 2] of a cell: symmetric round its place, which is taken to half a pixel, and within the image."""
    middle = np.round(np.array([mark.x_px, mark.y_px]) * 2) / 2
    first, last = np.floor(middle), np.ceil(middle)  # one pixel, or two where the place lies between them
    if mark.size_px is not None:
        radius = np.maximum(np.minimum(mark.size_px, _MOST_SIZE_PX) / np.float64(2), _LEAST_RADIUS_PX)
        first, last = np.ceil(middle - radius), np.floor(middle + radius)
    columns, rows = (np.arange(a, b + 1) for a, b in zip(first, last, strict=True))
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    if mark.size_px is not None:
        grid = grid[(((grid - middle) / radius) ** 2).sum(axis=1) <= 1]
    both = _within(grid, middle, image)
    nearest = np.clip(np.round([[mark.x_px, mark.y_px]]), 0, _end(image) - 1)
    return (both if len(both) else nearest).astype(np.int64)


def _within(grid: Points, middle: Points, image: MarkedImage) -> Points:
    """Those pixels that lie in the image together with the one opposite."""
    inside = [((one >= 0) & (one < _end(image))).all(axis=1) for one in (grid, 2 * middle - grid)]
    return grid[inside[0] & inside[1]]


def _end(image: MarkedImage) -> Points:
    return np.array([image.width_px or np.inf, image.height_px or np.inf])


def recognises(source: Source) -> bool:
    """Whether its first row lists three pixels or more."""
    row = first_row(source)
    return len(row) >= 6 and len(row) % 2 == 0


FORMAT = Format(
    "mitos12",
    "MITOS12 CSV",
    (".csv",),
    read,
    write,
    Keeps(0.5, (MITOSIS,), "last part without suffix"),
    recognises,
    per_image=True,
)
