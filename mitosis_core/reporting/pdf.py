"""A report as a PDF on A4, by fpdf2, with the letters it needs of FiraGO in it: nothing is looked for on the computer.

FiraGO has Latin, Greek, Cyrillic, Arabic, Hebrew, Georgian, Devanagari and Thai; HarfBuzz joins and orders their
letters. A letter it does not have is written as its Unicode number.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont

from mitosis_core.reporting.figures import Figure
from mitosis_core.reporting.report import Picture, PictureGroup, Report, Table

_One = TypeVar("_One")
_MARGIN, _FOOT, _GAP = 15.0, 16.0, 2.5  # mm, as all lengths here
_WIDTH = 210 - 2 * _MARGIN
_BOTTOM = 297 - _FOOT
_FONT = "FiraGO"
_PAGES = "\ue000"  # stands for the number of pages; no text has it, as the font has not
_INK, _QUIET, _LINE, _ACCENT = (34, 31, 38), (93, 88, 102), (207, 201, 212), (107, 45, 115)
_WARNING, _WARNING_LINE = (253, 243, 227), (178, 91, 0)
_LACKING = "Letters that the font of this file does not have are written as their Unicode numbers (U+...)."


def pdf_report(report: Report) -> bytes:
    """The report. The same report gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        page = _Page(report, Path(folder))
        page.head()
        page.figures(report.figures)
        for one in report.sections:
            if isinstance(one, Table):
                page.table(one)
            else:
                page.pictures(one)
        page.end()
        return page.bytes()


class _Page:
    """The paper, filled from top to bottom."""

    def __init__(self, report: Report, folder: Path) -> None:
        self._report = report
        self._lacking = False
        self._heights: dict[tuple[str, float, float, bool], float] = {}
        fonts = _write_fonts(folder)
        self._pdf, self._ruler = _Document(fonts, self._foot), _Document(fonts)
        self._letters = _letters(self._pdf)
        self._pdf.set_creation_date(report.made_at)
        self._pdf.set_title(report.title)
        self._pdf.set_lang("en")

    def bytes(self) -> bytes:
        """The file."""
        return bytes(self._pdf.output())

    def head(self) -> None:
        """Title, whose verdicts, when, and what has to be read first."""
        pdf = self._pdf
        self._text(self._report.title, 18, bold=True)
        self._text(self._report.subtitle, 10)
        self._text(f"Made {self._report.made}", 8.5, colour=_QUIET)
        pdf.set_draw_color(*_ACCENT)
        pdf.set_line_width(0.6)
        pdf.line(_MARGIN, pdf.get_y() + 1.5, _MARGIN + _WIDTH, pdf.get_y() + 1.5)
        pdf.set_y(pdf.get_y() + 4)
        for one in self._report.warnings:
            height = self._height(one, 9.5, _WIDTH - 5) + 3
            self._need(height)
            top = pdf.get_y()
            pdf.set_fill_color(*_WARNING)
            pdf.rect(_MARGIN, top, _WIDTH, height, style="F")
            pdf.set_fill_color(*_WARNING_LINE)
            pdf.rect(_MARGIN, top, 1, height, style="F")
            self._at(_MARGIN + 3.5, top + 1.5, one, 9.5, _WIDTH - 5)
            pdf.set_y(top + height + 1.5)
        pdf.set_y(pdf.get_y() + 1)

    def figures(self, figures: Sequence[Figure]) -> None:
        """The figures in boxes, three a row, each row as high as its longest text."""
        width = (_WIDTH - 2 * _GAP) / 3
        for row in _in_rows(figures, 3):
            heights = [self._figure_height(one, width - 6) for one in row]
            self._need(max(heights))
            top = self._pdf.get_y()
            for place, one in enumerate(row):
                self._figure(one, _MARGIN + place * (width + _GAP), top, width, max(heights))
            self._pdf.set_y(top + max(heights) + _GAP)

    def _figure_height(self, one: Figure, width: float) -> float:
        value = self._height(one.value, _value_size(one), width, bold=True)
        return 5 + self._height(one.label, 8.5, width) + value + self._height(one.note, 8.5, width)

    def _figure(self, one: Figure, left: float, top: float, width: float, height: float) -> None:
        pdf = self._pdf
        pdf.set_draw_color(*_LINE)
        pdf.set_line_width(0.2)
        pdf.rect(left, top, width, height, style="D", round_corners=True, corner_radius=1.5)
        at, inner = top + 2, width - 6
        for text, size, bold, colour in (
            (one.label, 8.5, False, _QUIET),
            (one.value, _value_size(one), True, _INK),
            (one.note, 8.5, False, _INK),
        ):
            at = self._at(left + 3, at, text, size, inner, bold=bold, colour=colour)

    def table(self, table: Table) -> None:
        """A table; its head stands again on every page, a row is never cut."""
        whole = sum(table.widths)
        widths = [_WIDTH * share / whole for share in table.widths]
        first = self._row_height(table.rows[0], widths) if table.rows else 0.0
        self._title(table.title, 7 + first)
        self._row(table.columns, widths, bold=True)
        for row in table.rows:
            if self._pdf.get_y() + self._row_height(row, widths) > _BOTTOM:
                self._pdf.add_page()
                self._row(table.columns, widths, bold=True)
            self._row(row, widths)
        self._note(table.note)

    def _row_height(self, row: Sequence[str], widths: Sequence[float]) -> float:
        return max(self._height(cell, 8, width - 2) for cell, width in zip(row, widths, strict=True)) + 1.6

    def _row(self, row: Sequence[str], widths: Sequence[float], *, bold: bool = False) -> None:
        pdf = self._pdf
        height, top, left = self._row_height(row, widths), pdf.get_y(), _MARGIN
        for cell, width in zip(row, widths, strict=True):
            self._at(left, top + 0.8, cell, 8, width - 2, bold=bold)
            left += width
        pdf.set_draw_color(*_LINE)
        pdf.set_line_width(0.2)
        pdf.line(_MARGIN, top + height, _MARGIN + _WIDTH, top + height)
        pdf.set_y(top + height)

    def pictures(self, group: PictureGroup) -> None:
        """Pictures beside each other, their names below them."""
        columns = max(1, int((_WIDTH + _GAP) / (group.side_mm + _GAP)))
        side = (_WIDTH - (columns - 1) * _GAP) / columns
        rows = list(_in_rows(group.pictures, columns))
        self._title(group.title, self._pictures_height(rows[0], side) if rows else 0.0)
        for row in rows:
            height = self._pictures_height(row, side)
            self._need(height)
            top = self._pdf.get_y()
            for place, one in enumerate(row):
                left = _MARGIN + place * (side + _GAP)
                self._pdf.image(io.BytesIO(one.jpeg), left, top, w=side, h=side * one.height_share)
                self._at(left, top + side * one.height_share + 0.8, one.label, 7, side, colour=_QUIET)
            self._pdf.set_y(top + height + 1)
        self._note(group.note)

    def _pictures_height(self, row: Sequence[Picture], side: float) -> float:
        return max(side * one.height_share + self._height(one.label, 7, side) for one in row) + 1.5

    def end(self) -> None:
        """The last words."""
        self._pdf.set_y(self._pdf.get_y() + 3)
        self._note(self._report.foot)
        if self._lacking:
            self._note(_LACKING)

    def _foot(self) -> None:
        """At the foot of every page: which report it belongs to."""
        foot = f"{self._short(self._report.title)} · made {self._report.made} · for research only"
        top = 297 - 10
        self._at(_MARGIN, top, foot, 7.5, _WIDTH - 25, colour=_QUIET)
        self._pdf.set_xy(_MARGIN, top)
        pages = f"Page {self._pdf.page_no()} of {_PAGES}"
        self._pdf.multi_cell(_WIDTH, _line(7.5), pages, align="R", new_x=XPos.LEFT, new_y=YPos.NEXT)

    def _title(self, title: str, below: float) -> None:
        """A heading that is not left alone at the foot of a page."""
        self._need(12 + below)
        self._pdf.set_y(self._pdf.get_y() + 4)
        self._text(title, 11.5, bold=True)
        self._pdf.set_y(self._pdf.get_y() + 1)

    def _note(self, text: str) -> None:
        if text:
            self._need(self._height(text, 8, _WIDTH) + 1)
            self._pdf.set_y(self._pdf.get_y() + 1)
            self._text(text, 8, colour=_QUIET)

    def _text(self, text: str, size: float, *, bold: bool = False, colour: tuple[int, int, int] = _INK) -> None:
        """A paragraph over the whole width."""
        self._need(min(self._height(text, size, _WIDTH), 100))
        self._pdf.set_y(self._at(_MARGIN, self._pdf.get_y(), text, size, _WIDTH, bold=bold, colour=colour))

    def _at(
        self,
        left: float,
        top: float,
        text: str,
        size: float,
        width: float,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] = _INK,
    ) -> float:
        """A text in a column; returns where the next one begins."""
        if not text:
            return top
        pdf = self._pdf
        pdf.set_font(_FONT, "B" if bold else "", size)
        pdf.set_text_color(*colour)
        pdf.set_xy(left, top)
        pdf.multi_cell(width, _line(size), self._shown(text), align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        return float(pdf.get_y())

    def _height(self, text: str, size: float, width: float, *, bold: bool = False) -> float:
        if not text:
            return 0.0
        key = (text, size, width, bold)
        if key in self._heights:
            return self._heights[key]
        # On paper of its own: to measure, fpdf2 copies the whole document with its pictures.
        self._ruler.set_font(_FONT, "B" if bold else "", size)
        height = self._ruler.multi_cell(width, _line(size), self._shown(text), align="L", dry_run=True, output="HEIGHT")
        assert isinstance(height, float), "that is what was asked for"
        self._heights[key] = height
        return height

    def _need(self, height: float) -> None:
        if self._pdf.get_y() + height > _BOTTOM and self._pdf.get_y() > _MARGIN + 1:
            self._pdf.add_page()

    def _shown(self, text: str) -> str:
        """The text in letters that the font has."""
        shown = "".join(one if ord(one) in self._letters else f"U+{ord(one):04X} " for one in text)
        self._lacking |= shown != text
        return shown

    @staticmethod
    def _short(text: str) -> str:
        return text if len(text) <= 60 else f"{text[:59]}…"


def _line(size: float) -> float:
    """Height of a line of letters of that size in points."""
    return size * 0.3528 * 1.35


def _value_size(one: Figure) -> float:
    return 15 if len(one.value) < 12 else 10.5


def _write_fonts(folder: Path) -> dict[str, Path]:
    """The font files by style."""
    import pymupdf_fonts

    files = {"": folder / "regular.ttf", "B": folder / "bold.ttf"}
    for style, name in (("", "figo"), ("B", "figbo")):
        files[style].write_bytes(pymupdf_fonts.myfont(name))
    return files


class _Document(FPDF):
    """A document with one empty page. foot: writes the foot of each page when it is full."""

    def __init__(self, fonts: dict[str, Path], foot: Callable[[], None] = lambda: None) -> None:
        super().__init__(format="A4", unit="mm")
        self._foot = foot
        self.alias_nb_pages(_PAGES)
        self.set_producer("Concentric")
        self.set_margins(_MARGIN, _MARGIN)
        self.c_margin = 0
        self.set_auto_page_break(False)
        for style, file in fonts.items():
            self.add_font(_FONT, style, file)
        self.set_text_shaping(True)
        self.add_page()

    def footer(self) -> None:
        """Called by fpdf2 at the end of every page."""
        self._foot()


def _letters(pdf: FPDF) -> frozenset[int]:
    """The letters that both fonts have."""
    has = [set(font.cmap) for font in pdf.fonts.values() if isinstance(font, TTFFont)]
    return frozenset(has[0].intersection(*has))


def _in_rows(many: Sequence[_One], length: int) -> Iterator[Sequence[_One]]:
    return (many[start : start + length] for start in range(0, len(many), length))
