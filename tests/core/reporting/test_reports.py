"""Reports as HTML and PDF: the same every time, whole, and deaf to whatever a name holds."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mitosis_core.image.encoding import encode_jpeg
from mitosis_core.reporting.figures import Figure
from mitosis_core.reporting.html import html_report
from mitosis_core.reporting.pdf import pdf_report
from mitosis_core.reporting.report import Picture, PictureGroup, Report, Table

MADE = datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
LATER = datetime(2027, 1, 2, 3, 4, tzinfo=UTC)
HOSTILE = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style></title><h1>", "&amp;<b>", "{nb}"),
    *("\ue000", "محمد الأحمدي", "שלום", "Łódź Ünïcode", "山田太郎", "देवनागरी", "😀", "x" * 200),
    *("(a) Tj ET /JS \\", "**b** --", "a\u2028b", "\u0301"),
]


def picture(label: str, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    return Picture(encode_jpeg(pixels), 40 / 60, label)


def report(name: str = "A03", pictures: int = 3, rows: int = 2) -> Report:
    return Report(
        f"Case {name}",
        f"Mitotic count by {name}",
        (f"Preliminary: {name}",),
        (Figure("Mitoses", "56", name), Figure("Per mm²", "36.1"), Figure("Mitotic score", "none", "Too little.")),
        (
            Table("Read by", ("Reader", "Fields"), ((name, "7"),) * rows, (3, 1), f"A note on {name}."),
            PictureGroup("Counted", tuple(picture(f"{name} {n}", n) for n in range(pictures)), 23.0, "Each 40 µm."),
        ),
        f"Program, {name}.",
        MADE,
    )


def pages(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b(?!s)", pdf))


class Shape(HTMLParser):
    """The elements of a page with their attributes, and its words."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self.feed(data.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_same_report_is_the_same_html_but_for_its_date() -> None:
    one = html_report(report())
    assert html_report(report()) == one
    assert html_report(replace(report(), made_at=LATER)).replace(b"2027-01-02 03:04", b"2026-11-28 06:30") == one


def test_the_same_report_is_the_same_pdf() -> None:
    one = pdf_report(report())
    assert pdf_report(report()) == one and one.startswith(b"%PDF-")
    later = pdf_report(replace(report(), made_at=LATER))
    assert later != one and b"D:20270102030400" in later and b"D:20261128063000" in one


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_words_in_html(name: str) -> None:
    page, usual = Shape(html_report(report(name))), Shape(html_report(report()))
    assert page.tags == usual.tags  # no element more, none less
    assert page.words.count(name) == usual.words.count("A03")
    kept = [(tag, attribute) for tag, attribute, _ in page.attributes]
    assert kept == [(tag, attribute) for tag, attribute, _ in usual.attributes]


def test_html_needs_no_network_and_runs_nothing() -> None:
    data = html_report(report())
    page = Shape(data)
    assert "script" not in page.tags and "link" not in page.tags
    assert not [one for one in page.attributes if one[1].startswith("on")]
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 3 and all(one.startswith("data:image/jpeg;base64,") for one in sources)
    assert b"default-src 'none'" in data and b"url(" not in data and b"@page { size: A4" in data


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_breaks_a_pdf(name: str) -> None:
    data = pdf_report(report(name))
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")
    assert b"/JavaScript" not in data and b"/OpenAction << /S" not in data
    assert pages(data) == (2 if len(name) > 100 else 1)


def test_long_tables_and_many_pictures_go_on_over_the_pages() -> None:
    assert pages(pdf_report(report(rows=200, pictures=100))) > 4
    assert pages(pdf_report(report(pictures=0, rows=0))) == 1


def test_pictures_reach_both_unchanged() -> None:
    """A crop is evidence: the JPEG of the report is the JPEG in the file."""
    one = report(pictures=1)
    (group,) = [section for section in one.sections if isinstance(section, PictureGroup)]
    jpeg = group.pictures[0].jpeg
    assert jpeg in pdf_report(one)
    assert Image.open(io.BytesIO(jpeg)).size == (60, 40)
