"""The CSV files of the mitosis contests: annotated fields in, detections out and back in.

Annotations: `image,x_px,y_px,label,um_per_px`, and `slide` or `case` where a file has it; one row per cell.
A row with blank coordinates says "this image was looked at and holds no cell".
Detections: `image,x_px,y_px,score,area_um2,model`; one row per detection, an image without any has no row.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitosis_core.errors import MissingScale, UnusableData
from mitosis_core.scale import check_um_per_px
from mitosis_core.types import Detections, Float32

ANNOTATION_COLUMNS = ("image", "x_px", "y_px", "label", "um_per_px")
DETECTION_COLUMNS = ("image", "x_px", "y_px", "score", "area_um2", "model")
MITOSIS, LOOKALIKE, UNSURE = "mitosis", "lookalike", "unsure"


@dataclass(frozen=True, eq=False)
class Annotations:
    """What people marked in one image.

    slide: the slide or case the image was cut from (its file stem where the file does not say); split data by it.
    mitoses_xy_px, lookalikes_xy_px: Float32[N, 2]. Cells labelled "unsure" are in neither.
    """

    image: str
    slide: str
    um_per_px: float
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """What one version of a model found in one image."""

    image: str
    model: str
    detections: Detections


def read_annotations(source: str | Path | bytes) -> dict[str, Annotations]:
    """Read annotated cells, per image, in the order of the file.

    source: a path, or the bytes of the file. Every label but "mitosis" and "unsure" is a look-alike.
    Raises UnusableData for an empty file, a missing column, a value that is not a number, or an image with two scales.
    """
    images: dict[str, tuple[str, float]] = {}
    points: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for number, row in _rows(source, ANNOTATION_COLUMNS):
        image = _text(row, "image", number)
        slide = row.get("slide") or row.get("case") or Path(image).stem
        facts = (slide, _scale(row, number))
        if images.setdefault(image, facts) != facts:
            raise UnusableData(f"Row {number}: {image} has another slide or another µm/px than in the rows before.")
        if not row["x_px"] and not row["y_px"]:
            continue
        label = _text(row, "label", number).lower()
        if label != UNSURE:
            xy = (_number(row, "x_px", number), _number(row, "y_px", number))
            points.setdefault((image, label == MITOSIS), []).append(xy)
    return {
        image: Annotations(
            image, slide, um_per_px, _points(points.get((image, True), [])), _points(points.get((image, False), []))
        )
        for image, (slide, um_per_px) in images.items()
    }


def write_annotations(path: str | Path, annotations: Iterable[Annotations]) -> None:
    """Write annotated images so that read_annotations gives the same back."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*ANNOTATION_COLUMNS, "slide"))
        for one in annotations:
            cells = [(x, y, MITOSIS) for x, y in one.mitoses_xy_px]
            cells += [(x, y, LOOKALIKE) for x, y in one.lookalikes_xy_px]
            for x, y, label in cells or [("", "", "")]:
                writer.writerow((one.image, x, y, label, one.um_per_px, one.slide))


def write_detections(path: str | Path, rows: Iterable[ImageDetections]) -> None:
    """Write detections, image by image, best score first; an image without any leaves no row."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(DETECTION_COLUMNS)
        for one in rows:
            found = one.detections
            for (x, y), score, area in zip(found.xy_px, found.score, found.area_um2, strict=True):
                writer.writerow((one.image, x, y, score, area, one.model))


def read_detections(source: str | Path | bytes) -> list[ImageDetections]:
    """Read detections, grouped by image and model, in the order of the file.

    Raises UnusableData for an empty file, a missing column or a value that is not a number.
    """
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for number, row in _rows(source, DETECTION_COLUMNS):
        values = [_number(row, column, number) for column in ("x_px", "y_px", "score", "area_um2")]
        groups.setdefault((_text(row, "image", number), row["model"]), []).append(values)
    read = []
    for (image, model), table_rows in groups.items():
        table = np.asarray(table_rows, np.float32)
        read.append(ImageDetections(image, model, Detections(table[:, :2], table[:, 2], table[:, 3])))
    return read


def _rows(source: str | Path | bytes, columns: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with its line number in the file (the header is line 1), every cell stripped."""
    try:
        # utf-8-sig: spreadsheets put a byte-order mark in front.
        text = (source if isinstance(source, bytes) else Path(source).read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise UnusableData(f"The file {source!s} cannot be opened.") from error
    except UnicodeDecodeError as error:
        raise UnusableData("The file is not a text file (CSV, UTF-8).") from error
    if "\0" in text:
        raise UnusableData("The file is not a text file (CSV, UTF-8).")
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    if not any(header):
        raise UnusableData("The CSV file is empty.")
    missing = [name for name in columns if name not in header]
    if missing:
        raise UnusableData(f"The CSV file has no column {', '.join(missing)}; it needs {', '.join(columns)}.")
    reader.fieldnames = header
    try:
        for row in reader:
            yield reader.line_num, {name: (row.get(name) or "").strip() for name in header}
    except csv.Error as error:
        raise UnusableData(f"Row {reader.line_num} of the CSV file cannot be read.") from error


def _text(row: Mapping[str, str], column: str, number: int) -> str:
    if not row[column]:
        raise UnusableData(f"Row {number}: {column} is blank.")
    return row[column]


def _number(row: Mapping[str, str], column: str, number: int) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnusableData(f"Row {number}: {column} must be a number, not “{row[column]}”.")
    return value


def _scale(row: Mapping[str, str], number: int) -> float:
    try:
        return check_um_per_px(_number(row, "um_per_px", number))
    except MissingScale as error:
        raise UnusableData(f"Row {number}: {error}") from error


def _points(xy: list[tuple[float, float]]) -> Float32:
    return np.asarray(xy, np.float32).reshape(-1, 2)
