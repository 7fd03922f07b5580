"""Text for CSV cells that no spreadsheet takes for a formula: `=1+1` leaves as `'=1+1` and comes back as it was."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from typing import TextIO

# What spreadsheets take for the beginning of a formula, also behind spaces. Apostrophes before it count too, so that
# text which has one of its own is told from text that was given one.
_FORMULA = re.compile(r"'*(\s*[=+\-@]|[\t\r\n])")


def safe_cell(text: str) -> str:
    """Text for one cell of a CSV file: with an apostrophe before it where a spreadsheet would compute it.

    Give it text only; numbers are written as they are.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    """What safe_cell was given; text it left alone stays as it is."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


class SafeTable:
    """Writes the rows of a CSV file: texts by `safe_cell`, numbers as they are, None as a blank cell."""

    def __init__(self, file: TextIO) -> None:
        self._table = csv.writer(file)

    def write_row(self, cells: Iterable[object]) -> None:
        """One row."""
        self._table.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
