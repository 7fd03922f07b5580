"""CSV files of annotated fields, as the contests give them, and of detections.

Annotations: `image,x_px,y_px,label,um_per_px`, and `slide` or `case` where a file has it; one row per cell.
`object_width_px` and `object_height_px` are the size of the object, where it was measured.
A row with blank coordinates says "this image was looked at and holds no cell".
Detections: `image,x_px,y_px,score,model`; one row per detection, an image without any has none, or one with blank
coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import MITOSIS, SKIP, UNSURE, label_of
from mitosis_core.interchange.csv_rows import number_of, read_rows, short, size_of, text_of, um_per_px_of
from mitosis_core.types import Detections, Float32

ANNOTATION_COLUMNS = ("image", "x_px", "y_px", "label", "um_per_px")
DETECTION_COLUMNS = ("image", "x_px", "y_px", "score", "model")
_SAYS_NOTHING = (UNSURE, SKIP)  # the latter: dark nuclei found by a program, many of them mitoses


@dataclass(frozen=True, eq=False)
class Annotations:
    """What people marked in one image.

    slide: the slide or case the image was cut from (its file stem where the file does not say); split data by it.
    mitoses_xy_px, lookalikes_xy_px: Float32[N, 2]. Cells labelled "unsure" are in neither.
    sizes_px: Float32[N, 2], width and height of each mitosis, or None where they were not measured.
    """

    image: str
    slide: str
    um_per_px: float
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32
    sizes_px: Float32 | None = None


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What one version of a model found in one image."""

    image: str
    model: str
    detections: Detections


def read_annotations(source: str | Path | bytes) -> dict[str, Annotations]:
    """Read annotated cells, per image, in the order of the file.

    source: a path, or the bytes of the file. Labels are read as `label_of` knows them, every other one is a look-alike;
    "unsure" and "mined_lookalike" (which no person has seen) are left out.
    Raises UnusableData for an empty file, a missing column, a value that is not a number, an image with two scales,
    or a size that is not above 0 or known of some mitoses of an image only.
    """
    images: dict[str, tuple[str, float]] = {}
    points: dict[tuple[str, bool], _Pairs] = {}
    sizes: dict[str, _Pairs] = {}
    for number, row in read_rows(source, ANNOTATION_COLUMNS):
        image = text_of(row, "image", number)
        slide = row.get("slide") or row.get("case") or Path(image).stem
        facts = (slide, um_per_px_of(row, number))
        if images.setdefault(image, facts) != facts:
            raise UnusableData(
                f"Row {number}: {short(image)} has another slide or another µm/px than in the rows before."
            )
        if not row["x_px"] and not row["y_px"]:
            continue
        label = label_of(text_of(row, "label", number), {})
        if label not in _SAYS_NOTHING:
            xy = (number_of(row, "x_px", number), number_of(row, "y_px", number))
            points.setdefault((image, label == MITOSIS), []).append(xy)
        if label == MITOSIS:
            sizes.setdefault(image, []).extend(filter(None, [size_of(row, number)]))
    read = {}
    for image, (slide, um_per_px) in images.items():
        mitoses, lookalikes = (_points(points.get((image, kind), [])) for kind in (True, False))
        measured = _sizes(image, sizes.get(image, []), len(mitoses))
        read[image] = Annotations(image, slide, um_per_px, mitoses, lookalikes, measured)
    return read


def read_detections(source: str | Path | bytes) -> list[ImageDetections]:
    """Read detections, grouped by image and model, in the order of the file.

    Raises UnusableData for an empty file, a missing column or a value that is not a number.
    """
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for number, row in read_rows(source, DETECTION_COLUMNS):
        group = groups.setdefault((text_of(row, "image", number), row["model"]), [])
        if row["x_px"] or row["y_px"]:
            group.append([number_of(row, column, number) for column in ("x_px", "y_px", "score")])
    read = []
    for (image, model), table_rows in groups.items():
        table = np.asarray(table_rows, np.float32).reshape(-1, 3)
        unknown = np.zeros(len(table), np.float32)  # areas are not written: maps of peaks know only two of them
        read.append(ImageDetections(image, model, Detections(table[:, :2], table[:, 2], unknown)))
    return read


_Pairs = list[tuple[float, float]]


def _sizes(image: str, sizes: _Pairs, mitoses: int) -> Float32 | None:
    if sizes and len(sizes) != mitoses:
        raise UnusableData(
            f"{short(image)}: some mitoses have object_width_px and object_height_px, others not; give all or none."
        )
    return _points(sizes) if sizes else None


def _points(xy: _Pairs) -> Float32:
    return np.asarray(xy, np.float32).reshape(-1, 2)
