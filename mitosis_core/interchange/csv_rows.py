"""The rows of CSV files that people and programs write, and what stands in their cells."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mitosis_core.errors import MissingScale, UnusableData
from mitosis_core.interchange.safe_csv import plain_cell
from mitosis_core.scale import check_um_per_px

SIZE_COLUMNS = ("object_width_px", "object_height_px")
_LONGEST_LINE = 1 << 20

Readable = str | Path | bytes | BinaryIO


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


def number_of(row: Mapping[str, str], column: str, number: int) -> float:
    """The number in a column of a row; raises UnusableData for anything else."""
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
        return check_um_per_px(number_of(row, "um_per_px", number))
    except MissingScale as error:
        raise UnusableData(f"Row {number}: {error}") from error


def size_of(row: Mapping[str, str], number: int) -> tuple[float, float] | None:
    """Width and height of a row's object, None where it does not say; raises UnusableData for one alone, or 0."""
    given = [bool(row.get(column)) for column in SIZE_COLUMNS]
    if not any(given):
        return None
    if not all(given):
        raise UnusableData(f"Row {number}: an object needs both object_width_px and object_height_px, or neither.")
    width, height = (number_of(row, column, number) for column in SIZE_COLUMNS)
    if width <= 0 or height <= 0:
        raise UnusableData(
            f"Row {number}: object_width_px and object_height_px must be above 0, not {width:g} and {height:g}."
        )
    return width, height
