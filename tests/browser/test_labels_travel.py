"""In a real browser: labels leave one installation as a file and come into an empty one with the same counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from db.engine import open_store
from db.fields import add_field, list_fields
from db.reviews import reviews_of
from mitosis_core.image.sample_field import draw_sample_field
from tests.browser.conftest import Server
from tests.train.finished import finished_fields

pytestmark = pytest.mark.browser
FIELDS = 3


def counts(folder: Path, reader: str) -> list[tuple[int, int, str]]:
    store = open_store(folder)
    try:
        reviews = [reviews_of(store, field.id)[reader] for field in list_fields(store)]
        return [(one.count("mitosis"), one.count("lookalike"), one.state) for one in reviews]
    finally:
        store.close()


def panel(page: Any, address: str, title: str) -> None:
    page.goto(f"{address}/data")
    page.get_by_text(title, exact=True).click()


def choose(page: Any, label: str, option: str) -> None:
    """Of a list; a page that is drawn anew just then closes it again."""
    from playwright.sync_api import TimeoutError as NotThere

    chosen = page.get_by_role("option", name=option)
    for _ in range(6):
        page.get_by_label(label, exact=False).first.click()
        with suppress(NotThere):
            chosen.click(timeout=10_000)
            return
    raise AssertionError(f"{label} does not offer {option}")


@pytest.fixture
def installations(tmp_path: Path) -> Iterator[list[Server]]:
    """One with reviews by Anna, one with the same images and nothing said about them."""
    finished_fields(tmp_path / "from", FIELDS).close()
    store = open_store(tmp_path / "to")
    for number in range(FIELDS):
        add_field(store, draw_sample_field(seed=number, size_px=320, mitoses=3, lookalikes=2).field)
    store.close()
    servers = [Server("tests/browser/fake_app.py", tmp_path / part) for part in ("from", "to")]
    try:
        yield [server.start() for server in servers]
    finally:
        for server in servers:
            server.kill()


def test_exported_from_one_and_imported_into_the_other(
    browser: Any, installations: list[Server], tmp_path: Path
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    panel(page, installations[0].address, "Export labels")
    choose(page, "Format", "QuPath GeoJSON")
    choose(page, "Labels", "Reader Anna")
    page.get_by_role("button", name="Export", exact=True).click()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download labels.zip").click()
    file = tmp_path / "labels.zip"
    coming.value.save_as(file)

    panel(page, installations[1].address, "Import labels")
    page.locator('input[type="file"]').nth(0).set_input_files(file)
    page.get_by_label("Reader", exact=True).fill("Bert")
    page.keyboard.press("Enter")
    page.get_by_text("Finish these fields").click()
    page.get_by_role("button", name="Import 15 marks").click()
    page.get_by_text("15 marks imported for Bert").wait_for()
    context.close()
    assert counts(tmp_path / "to", "Bert") == counts(tmp_path / "from", "Anna") == [(3, 2, "complete")] * FIELDS
