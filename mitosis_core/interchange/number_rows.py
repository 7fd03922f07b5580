"""Rows of plain numbers without a header, as the contests have them."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from mitosis_core.errors import UnusableData
from mitosis_core.interchange.csv_rows import number_in, text_lines
from mitosis_core.interchange.files import Source


def number_rows(source: Source, counts: range | None, what: str) -> Iterator[tuple[int, list[float]]]:
    """Each row that is not blank, with its number in the file (the first is 1).

    counts: how many numbers a row may have, None for any; what: what they are, for sentences.
    Raises UnusableData for a row with anything else than so many numbers.
    """
    with source.open() as file:
        reader = csv.reader(text_lines(file, source.shown), skipinitialspace=True)
        try:
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield reader.line_num, _numbers(cells, counts, what, f"{source.shown}, row {reader.line_num}")
        except csv.Error as error:
            raise UnusableData(f"{source.shown}, row {reader.line_num} cannot be read.") from error


def _numbers(cells: list[str], counts: range | None, what: str, place: str) -> list[float]:
    if len(cells) == 1 and any(sign in cells[0] for sign in ";\t|"):
        raise UnusableData(f"{place}: the numbers are not separated by commas; {what} are expected, with commas.")
    if counts is not None and len(cells) not in counts:
        raise UnusableData(
            f"{place}: {what} are expected, separated by commas, not {len(cells)} numbers; a decimal comma must be a "
            "point."
        )
    return [number_in(cell, f"{place}: the {nth}. number") for nth, cell in enumerate(cells, 1)]


def first_row(source: Source) -> list[float]:
    """The first row, or [] when it holds no numbers."""
    try:
        return next(number_rows(source, None, "numbers"), (0, []))[1]
    except UnusableData:
        return []
