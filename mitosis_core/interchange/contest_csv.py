"""The CSV files of the mitosis contests: annotated fields in, detections out and back in.

Annotations: `image,x_px,y_px,label,um_per_px`, and `slide` or `case` where a file has it; one row per cell.
`object_width_px` and `object_height_px` are the size of the object, where it was measured.
A row with blank coordinates says "this image was looked at and holds no cell".
Detections: `image,x_px,y_px,score,model`; one row per detection, an image without any has none, or one with blank
coordinates.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mitosis_core.errors import MissingScale, UnusableData
from mitosis_core.interchange.class_names import MITOSIS, SKIP, UNSURE, label_of
from mitosis_core.interchange.safe_csv import plain_cell
from mitosis_core.scale import check_um_per_px
from mitosis_core.types import Detections, Float32

ANNOTATION_COLUMNS = ("image", "x_px", "y_px", "label", "um_per_px")
SIZE_COLUMNS = ("object_width_px", "object_height_px")
DETECTION_COLUMNS = ("image", "x_px", "y_px", "score", "model")
_LONGEST_LINE = 1 << 20
_SAYS_NOTHING = (UNSURE, SKIP)  # the latter: dark nuclei found by a program, many of them mitoses


Readable = str | Path | bytes | BinaryIO


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
            xy = (_number(row, "x_px", number), _number(row, "y_px", number))
            points.setdefault((image, label == MITOSIS), []).append(xy)
        if label == MITOSIS:
            sizes.setdefault(image, []).extend(_size(row, number))
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
            group.append([_number(row, column, number) for column in ("x_px", "y_px", "score")])
    read = []
    for (image, model), table_rows in groups.items():
        table = np.asarray(table_rows, np.float32).reshape(-1, 3)
        unknown = np.zeros(len(table), np.float32)  # areas are not written: maps of peaks know only two of them
        read.append(ImageDetections(image, model, Detections(table[:, :2], table[:, 2], unknown)))
    return read


def read_rows(source: Readable, columns: tuple[str, ...]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Each row with its line number in the file (the header is line 1), every cell stripped, and without the apostrophe
    that safe_cell put before it.

    source: a path, the bytes of the file, or the file. It is read row by row.
    Raises UnusableData for a file that is no CSV, is separated by something else than commas, lacks one of the columns
    or has a row with more cells than columns.
    """
    with _opened(source) as file:
        reader = csv.DictReader(text_lines(file), skipinitialspace=True)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            _check_header(header, columns)
            reader.fieldnames = header
            for row in reader:
                if any(cell.strip() for cell in row.pop(None, ())):
                    raise UnusableData(
                        f"Row {reader.line_num} has more cells than the header has columns; numbers need a decimal "
                        "point, and text with a comma quotation marks."
                    )
                yield reader.line_num, {name: plain_cell((row.get(name) or "").strip()) for name in header}
        except csv.Error as error:
            raise UnusableData(f"Row {reader.line_num} of the CSV file cannot be read.") from error


def text_lines(file: BinaryIO, name: str = "The file") -> Iterator[str]:
    """The lines of a text file, one by one, without the byte-order mark that spreadsheets put before them.

    Raises UnusableData, calling the file by name, when it is no text in UTF-8 or has a line that no table has.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        for number in itertools.count(1):
            line = text.readline(_LONGEST_LINE)
            if "\0" in line:
                raise UnusableData(f"{name} is not a text file (CSV, UTF-8).")
            if len(line) == _LONGEST_LINE:
                raise UnusableData(f"{name}: row {number} is longer than any row of a table.")
            if not line:
                return
            yield line
    except UnicodeDecodeError as error:
        raise UnusableData(f"{name} is not a text file (CSV, UTF-8).") from error
    finally:
        with suppress(ValueError):  # closed already
            text.detach()  # the file is closed by whoever opened it


@contextmanager
def _opened(source: Readable) -> Iterator[BinaryIO]:
    if isinstance(source, str | Path):
        try:
            with Path(source).open("rb") as file:
                yield file
        except OSError as error:
            raise UnusableData(f"The file {source!s} cannot be opened.") from error
    else:
        yield io.BytesIO(source) if isinstance(source, bytes) else source


def _check_header(header: list[str], columns: tuple[str, ...]) -> None:
    if not any(header):
        raise UnusableData("The CSV file is empty.")
    missing = [name for name in columns if name not in header]
    if not missing:
        return
    for sign, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if set(columns) <= {name.strip(' "') for name in ",".join(header).split(sign)}:
            raise UnusableData(
                f"The columns of the CSV file are separated by {called}; please save it with commas, and numbers with "
                "a decimal point."
            )
    raise UnusableData(f"The CSV file has no column {', '.join(missing)}; it needs {', '.join(columns)}.")


def text_of(row: Mapping[str, str], column: str, number: int) -> str:
    """What stands in a column of a row; raises UnusableData where it is blank."""
    if not row[column]:
        raise UnusableData(f"Row {number}: {column} is blank.")
    return row[column]


def _number(row: Mapping[str, str], column: str, number: int) -> float:
    return number_in(row[column], f"Row {number}: {column}")


def number_in(cell: str, what: str) -> float:
    """The number in a cell; raises UnusableData, which begins with what it is, for anything else."""
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        point = " with a decimal point" if re.fullmatch(r"[+-]?\d+,\d+", cell) else ""
        raise UnusableData(f"{what} must be a number{point}, not “{short(cell)}”.")
    return value


def short(cell: str) -> str:
    """A cell as it fits into a sentence: a quotation mark that is never closed makes one of many lines."""
    line = " ".join(cell.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def um_per_px_of(row: Mapping[str, str], number: int) -> float:
    """The column um_per_px of a row; raises UnusableData where it is no plausible number."""
    try:
        return check_um_per_px(_number(row, "um_per_px", number))
    except MissingScale as error:
        raise UnusableData(f"Row {number}: {error}") from error


_Pairs = list[tuple[float, float]]


def _size(row: Mapping[str, str], number: int) -> _Pairs:
    """Width and height of the object, or nothing where the row does not say."""
    given = [bool(row.get(column)) for column in SIZE_COLUMNS]
    if not any(given):
        return []
    if not all(given):
        raise UnusableData(f"Row {number}: an object needs both object_width_px and object_height_px, or neither.")
    width, height = (_number(row, column, number) for column in SIZE_COLUMNS)
    if width <= 0 or height <= 0:
        raise UnusableData(
            f"Row {number}: object_width_px and object_height_px must be above 0, not {width:g} and {height:g}."
        )
    return [(width, height)]


def _sizes(image: str, sizes: _Pairs, mitoses: int) -> Float32 | None:
    if sizes and len(sizes) != mitoses:
        raise UnusableData(
            f"{short(image)}: some mitoses have object_width_px and object_height_px, others not; give all or none."
        )
    return _points(sizes) if sizes else None


def _points(xy: _Pairs) -> Float32:
    return np.asarray(xy, np.float32).reshape(-1, 2)
