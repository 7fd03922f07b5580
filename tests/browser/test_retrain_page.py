"""Retrain, Models and Compare in a browser: pictures are there, links lead to Review, nothing is cut on a tablet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Server
from tests.train.finished import ended_run, finished_fields
from tests.waiting import until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app over a store with finished fields and a run that has ended."""
    folder = tmp_path_factory.mktemp("retrained")
    ended_run(finished_fields(folder))
    one = Server("app.py", folder)
    try:
        yield one.start().address
    finally:
        one.kill()


def open_at(browser: Any, address: str, width_px: int) -> Any:
    context = browser.new_context(viewport={"width": width_px, "height": 1000}, bypass_csp=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(address)
    return page


def loaded(page: Any, selector: str) -> int:
    """How many pictures there are; all of them with pixels."""
    page.locator(selector).first.wait_for()
    count = page.locator(selector).count()
    for number in range(count):
        page.locator(selector).nth(number).scroll_into_view_if_needed()
    drawn = "all => all.every(one => one.complete && one.naturalWidth > 0)"
    until(lambda: page.locator(selector).evaluate_all(drawn))
    return int(count)


@pytest.mark.parametrize("width_px", [1440, 1024, 768])
def test_what_is_learnt_from_and_what_changed_is_seen(browser: Any, address: str, width_px: int) -> None:
    page = open_at(browser, f"{address}/retrain", width_px)
    assert loaded(page, ".grid a:not(.several) img") == 4
    assert loaded(page, ".grid .several img") == 4  # two cells, before and after
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".modebar").count() == 0  # no toolbar of Plotly
    page.context.close()


def test_a_crop_leads_to_its_cell_in_review(browser: Any, address: str) -> None:
    page = open_at(browser, f"{address}/retrain?reader=Anna", 1440)
    page.locator("a.several").first.click()
    page.wait_for_url("**/review?*field=*")
    page.locator(".viewer").wait_for()
    page.locator(".mark.selected").wait_for()
    page.context.close()


def test_cards_are_chosen_and_compared(browser: Any, address: str) -> None:
    page = open_at(browser, f"{address}/models", 1024)
    boxes = page.get_by_test_id("stCheckbox").locator("label")
    boxes.first.wait_for()
    boxes.nth(0).click()
    boxes.nth(1).click()
    page.get_by_role("button", name="Compare 2 versions").click()
    page.wait_for_url("**/compare?versions=*")
    assert Path(page.url.split("?")[0]).name == "compare"
    page.context.close()
