"""The Results page in a real browser: pictures are there, reports come down whole, a cell leads to its field."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from db.engine import open_store
from db.fields import StoredField
from db.preferences import change_preferences
from tests.browser.conftest import Server, download
from tests.db.drawn_case import add_case, read

pytestmark = pytest.mark.browser


@dataclass
class Desk:
    """The page of a case of two fields, which Ann has read: one mitosis in the first, two in the second."""

    page: Any
    address: str
    fields: list[StoredField]

    def open_export(self) -> None:
        self.page.get_by_role("button", name="Report and export").click()

    def download(self, button: str, into: Path) -> Path:
        return download(self.page, button, into)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[StoredField]]]:
    folder = tmp_path_factory.mktemp("results")
    store = open_store(folder)
    fields = add_case(store, "A", 2)
    read(store, fields[0], "Ann", [(100, 100)])
    read(store, fields[1], "Ann", [(200, 200), (300, 100)])
    change_preferences(store, "", reader="Ann")
    store.close()
    server = Server("tests/browser/fake_app.py", folder)
    try:
        yield server.start().address, fields
    finally:
        server.kill()


@pytest.fixture
def desk(browser: Any, case: tuple[str, list[StoredField]]) -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True, bypass_csp=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{case[0]}/results?case=A")
    page.locator(".case-figures").wait_for()
    yield Desk(page, *case)
    context.close()


def test_every_counted_cell_and_field_is_a_picture(desk: Desk) -> None:
    desk.page.locator(".grid a").nth(4).wait_for()
    pictures = desk.page.locator(".grid img")
    assert pictures.count() == 5  # two fields, three cells
    for one in pictures.all():
        one.scroll_into_view_if_needed()
        desk.page.wait_for_function("(image) => image.naturalWidth > 0", arg=one.element_handle())


def test_a_click_on_a_cell_opens_it_in_review(desk: Desk) -> None:
    desk.page.locator(".grid a[title='1.png, 200, 200 px']").click()
    desk.page.wait_for_url(f"**/review?*field={desk.fields[1].id}*")
    desk.page.locator(f".viewer[data-ready='{desk.fields[1].id}']").wait_for()
    chosen = desk.page.locator(".gallery .crop[aria-pressed='true']")
    chosen.wait_for()
    assert chosen.evaluate("(one) => [one.point.x, one.point.y]") == [200, 200]


def test_reports_and_marks_come_down_whole(desk: Desk, browser: Any, tmp_path: Path) -> None:
    desk.open_export()
    pdf = desk.download("Report (PDF)", tmp_path)
    html = desk.download("Report (HTML)", tmp_path)
    marks = desk.download("Marks (CSV)", tmp_path)
    drawn = desk.download("Annotated pictures (zip)", tmp_path)
    assert pdf.name == "A_report.pdf" and pdf.read_bytes().startswith(b"%PDF-")
    assert len(marks.read_text(encoding="utf-8").splitlines()) == 4  # its head and three mitoses
    assert len(zipfile.ZipFile(drawn).namelist()) == 2
    _check_alone(browser, html, [one.digest for one in desk.fields])


def _check_alone(browser: Any, html: Path, digests: list[str]) -> None:
    """The file shows all its pictures on a computer without a network, and asks for nothing."""
    context = browser.new_context(offline=True)
    page, asked = context.new_page(), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(html.as_uri())
    assert page.locator("h1").inner_text() == "Case A"
    assert all(digest in page.locator("body").inner_text() for digest in digests)
    images = page.locator("img")
    assert images.count() == 3 + 2 + 3  # cells, fields, densities with their scale
    assert all(one.evaluate("(image) => image.complete && image.naturalWidth > 0") for one in images.all())
    assert [one for one in asked if not one.startswith(("file:", "data:"))] == []
    context.close()
