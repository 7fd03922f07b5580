"""The home page in a real browser with the real detector: what was dropped is kept, whatever the user does next."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from db.case_overview import read_overview
from db.detection_queue import enqueue
from db.engine import Store, open_store
from db.fields import list_fields
from db.incoming_files import refused_files
from db.preferences import change_preferences
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import DEFAULT_VERSION
from tests.browser.conftest import Server
from tests.waiting import until

pytestmark = pytest.mark.browser


class Lab:
    """A server over a folder of its own, and pages on it."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.server = browser, Server("app.py", folder)
        self.store: Store = open_store(folder)
        self.contexts: list[Any] = []

    def open(self, **options: Any) -> Any:
        context = self.browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True, **options)
        context.set_default_timeout(60_000)
        self.contexts.append(context)
        page = context.new_page()
        page.goto(self.server.address)
        page.locator(".board[data-ready]").wait_for()
        return page

    def detected(self) -> list[str]:
        return [one.name for one in read_overview(self.store, DEFAULT_VERSION) if one.detected is not None]


@pytest.fixture
def lab(browser: Any, tmp_path: Path) -> Iterator[Lab]:
    one = Lab(browser, tmp_path / "data")
    one.server.start()
    yield one
    for context in one.contexts:
        context.close()
    one.server.kill()
    one.store.close()


def file(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data}


def drawn(name: str, seed: int, size_px: int = 320) -> dict[str, Any]:
    kept = BytesIO()
    Image.fromarray(draw_sample_field(seed, size_px=size_px, mitoses=3, lookalikes=2).field.pixels).save(kept, "PNG")
    return file(name, kept.getvalue())


def add(page: Any, files: list[dict[str, Any]]) -> None:
    page.get_by_label("Add fields").locator("xpath=self::input").first.set_input_files(files)


SEVEN = [f"A00_0{number}.png" for number in range(1, 8)]


def test_seven_fields_are_kept_and_analysed_though_the_page_is_left_at_once(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    add(page, [drawn(name, seed) for seed, name in enumerate(SEVEN, start=20)])
    page.get_by_role("link", name="Models").click()
    page.wait_for_url("**/models*")
    until(lambda: len(lab.detected()) == 7)
    page.get_by_role("link", name="Cases").click()
    card = page.locator(".card[data-case='A00']")
    card.get_by_text("To read").wait_for()
    assert card.locator(".tile .badge:visible").count() == 7
    assert sorted(lab.detected()) == SEVEN


def test_what_cannot_be_read_stays_in_the_list_with_its_sentence(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    files = [
        drawn("A00_01.png", 30),
        file("A00_02.png", b"nonsense"),
        file("A00.svs", b"II*\0"),
        drawn("A00_03.png", 31),
    ]
    add(page, [*files, file(".DS_Store", b"x")])
    page.get_by_text("2 files could not be taken", exact=True).wait_for()
    page.locator(".tile").nth(1).wait_for()
    for _ in range(2):
        assert page.get_by_text("is a whole slide").is_visible() and page.get_by_text("not an image").is_visible()
        page.reload()
        page.locator(".board[data-ready]").wait_for()
    page.get_by_role("button", name="Dismiss all").click()
    page.locator(".refused").wait_for(state="hidden")
    assert refused_files(lab.store) == [] and len(list_fields(lab.store)) == 2


def test_fields_without_scale_wait_in_the_open_and_one_answer_is_for_all(lab: Lab) -> None:
    page = lab.open()
    add(page, [drawn(name, seed) for seed, name in enumerate(SEVEN[:2], start=40)])
    page.get_by_text("2 fields do not say").wait_for()
    page.locator(".tile.needs_scale").nth(1).wait_for()
    assert page.locator(".tile.needs_scale").count() == 2
    page.get_by_role("combobox", name="Scanner").click()
    page.get_by_role("option").filter(has_text="Leica").click()
    page.get_by_role("button", name="Use it").click()
    page.locator(".tile .badge:visible").nth(1).wait_for()
    assert [one.um_per_px for one in list_fields(lab.store)] == [0.26, 0.26]


def test_many_fields_are_chosen_quickly_and_deleted_after_one_question(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    rng = np.random.default_rng(0)
    files = []
    for name in (*SEVEN[:4], "B1_1.png"):
        kept = BytesIO()
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8)).save(kept, "PNG")
        files.append(file(name, kept.getvalue()))
    add(page, files)
    card = page.locator(".card[data-case='A00']")
    card.locator(".tile").nth(3).wait_for()
    card.locator("a.open").nth(0).focus()
    page.keyboard.press(" ")
    card.locator("a.open").nth(2).click(modifiers=["Shift"])
    assert page.get_by_text("3 fields selected").is_visible()
    card.locator("a.open").nth(1).click()
    assert page.get_by_text("2 fields selected").is_visible()
    page.keyboard.press("Escape")
    assert page.locator(".selection").is_hidden()
    card.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_text("4 fields of A00").wait_for()
    page.get_by_role("button", name="Delete 4 fields").click()
    card.wait_for(state="detached")
    assert [one.case for one in list_fields(lab.store)] == ["B1"]


def test_a_question_asked_as_detection_begins_takes_its_answer(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    add(page, [drawn("A00_01.png", 60)])
    until(lambda: len(lab.detected()) == 1)
    page.locator(".card .pill.to_read").wait_for()
    page.reload()  # now it looks for news every ten seconds
    page.locator(".board[data-ready]").wait_for()
    enqueue(lab.store, [one.id for one in list_fields(lab.store)], "segmitos-lite-2", by="another window")
    card = page.locator(".card[data-case='A00']")
    card.get_by_role("button", name="Select all").click()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Delete 1 field").click()
    card.wait_for(state="detached")


def test_search_and_state_find_cases_and_a_card_leads_to_its_review(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    add(page, [drawn("A00_01.png", 50), drawn("B07_01.png", 51)])
    until(lambda: len(lab.detected()) == 2)
    page.locator(".card .pill.to_read").nth(1).wait_for()
    page.get_by_role("searchbox").fill("b07")
    assert page.locator(".card:visible").evaluate_all("cards => cards.map((one) => one.dataset.case)") == ["B07"]
    page.get_by_role("link", name="Start reading").click()
    page.wait_for_url("**/review?case=B07*")
    page.get_by_text("Each reader has verdicts of their own.").wait_for()
    page.get_by_role("link", name="Cases").click()
    page.locator(".board[data-ready]").wait_for()
    assert page.get_by_role("searchbox").input_value() == "b07"


DROP = """(card, [name, bytes]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name));
    const options = { dataTransfer: transfer, bubbles: true, composed: true, cancelable: true };
    for (const kind of ["dragenter", "dragover", "drop"]) card.dispatchEvent(new DragEvent(kind, options));
}"""


def test_a_file_dropped_anywhere_comes_in_and_on_a_card_it_is_of_that_case(lab: Lab) -> None:
    change_preferences(lab.store, "", um_per_px=0.25)
    page = lab.open()
    for seed, (name, target) in enumerate([("A00_01.png", ".empty"), ("B7_9.png", ".card[data-case='A00']")], start=60):
        page.locator(target).evaluate(DROP, [name, list(drawn(name, seed)["buffer"])])
        page.locator(".tile").nth(seed - 60).wait_for()
    assert [(one.name, one.case) for one in list_fields(lab.store)] == [("A00_01.png", "A00"), ("B7_9.png", "A00")]
