"""The plain CSV file: one row a mark, with a header; `evaluate` and `train fit` read it too.

Columns: `image`, `x_px`, `y_px`, `label`, `um_per_px`, `slide`, `score`, `reader`, `time`, `comment`, `object_width_px`
and `object_height_px` (size of the cell), `width_px` and `height_px` (size of the image), `digest`. Read: at least the
first three, and `label`, or `score` and `model` as `detect` writes them, which are mitoses of their version. A row with
blank coordinates says that the image was looked at and holds no mark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.class_names import MITOSIS
from mitosis_core.interchange.csv_rows import number_of, read_rows, short, size_of, text_of, um_per_px_of
from mitosis_core.interchange.files import Source
from mitosis_core.interchange.format import Format, Keeps
from mitosis_core.interchange.marks import Mark, MarkedImage, grouped, score_of, whole
from mitosis_core.interchange.safe_csv import SafeTable

COLUMNS = (
    "image",
    "x_px",
    "y_px",
    "label",
    "um_per_px",
    "slide",
    "score",
    "reader",
    "time",
    "comment",
    "object_width_px",
    "object_height_px",
    "width_px",
    "height_px",
    "digest",
)
_NEEDED = ("image", "x_px", "y_px")


def read(sources: Sequence[Source]) -> Iterator[MarkedImage]:
    """The images of tables, each as soon as all its rows were read. Raises UnusableData with file and row."""
    for source in sources:
        try:
            yield from _read(source)
        except UnusableData as error:
            raise UnusableData(f"{source.shown}: {error}") from error


def _read(source: Source) -> Iterator[MarkedImage]:
    with source.open() as file:
        counts = Counter(text_of(row, "image", number) for number, row in read_rows(file, _NEEDED))
    with source.open() as file:
        rows = ((row["image"], (number, row)) for number, row in read_rows(file, _NEEDED))
        for name, table in grouped(rows, counts):
            yield _image(name, table, source)


def _image(name: str, rows: list[tuple[int, Mapping[str, str]]], source: Source) -> MarkedImage:
    facts, first = _facts(rows[0][1], rows[0][0]), rows[0][0]
    marks = []
    for number, row in rows:
        if _facts(row, number) != facts:
            raise UnusableData(
                f"Row {number}: {short(name)} has another slide, size, digest or µm/px than in row {first}."
            )
        if row["x_px"] or row["y_px"]:
            marks.append(_mark(row, number))
    return replace(facts, name=name, marks=tuple(marks), source=source.shown, counted="row")


def _facts(row: Mapping[str, str], number: int) -> MarkedImage:
    width, height = (
        whole(number_of(row, column, number), column, f"Row {number}") if row.get(column) else None
        for column in ("width_px", "height_px")
    )
    um_per_px = um_per_px_of(row, number) if row.get("um_per_px") else None
    slide = row.get("slide") or row.get("case") or ""
    return MarkedImage("", (), row.get("digest") or "", width, height, um_per_px, slide)


def _mark(row: Mapping[str, str], number: int) -> Mark:
    x, y = (number_of(row, column, number) for column in ("x_px", "y_px"))
    score = number_of(row, "score", number) if row.get("score") else None
    label = row.get("label") or ("" if "label" in row else _label_of_detections(row))
    reader = row.get("reader") or row.get("model") or ""
    words = (reader, row.get("time") or "", row.get("comment") or "")
    return Mark(x, y, label, score_of(score, f"Row {number}"), size_of(row, number), *words, number)


def _label_of_detections(row: Mapping[str, str]) -> str:
    if "score" in row and "model" in row:
        return MITOSIS
    raise UnusableData("The CSV file has no column label, and is no table of detections, with score and model.")


def write(path: Path, images: Iterable[MarkedImage]) -> None:
    """One table of all marks, image by image."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = SafeTable(file)
        table.write_row(COLUMNS)
        for image in images:
            size = (image.width_px, image.height_px)
            for mark in image.marks or (None,):
                cells = _cells(mark)
                table.write_row((image.name, *cells[:3], image.um_per_px, image.slide, *cells[3:], *size, image.digest))


def _cells(mark: Mark | None) -> tuple[object, ...]:
    if mark is None:
        return ("",) * 9
    size = ("", "") if mark.size_px is None else mark.size_px
    return (mark.x_px, mark.y_px, mark.label, mark.score, mark.reader, mark.time, mark.comment, *size)


def recognises(source: Source) -> bool:
    """Whether its first line names the columns that are needed, however they are separated."""
    with source.open() as file:
        first = file.readline(4096)
    return all(name.encode() in first for name in _NEEDED)


FORMAT = Format(
    "csv",
    "Plain CSV",
    (".csv",),
    read,
    write,
    Keeps.everything(0, areas=False),
    recognises,
)
