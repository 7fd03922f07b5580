"""The row that every page begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from db import versions
from db.detection_queue import enqueue
from db.engine import data_folder, open_store
from db.fields import add_field
from db.preferences import read_preferences
from db.schema import DetectionRow
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import DEFAULT_VERSION
from pages.shared import navigation, session
from pages.shared.service import detection_worker

PAGES = sorted(path.stem for path in Path("pages").glob("[a-z]*.py"))


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_worker, "start_worker", lambda *_: None)
    monkeypatch.setattr("pages.shared.store.start_worker", lambda *_: None)


def open_page(name: str, **address: str) -> AppTest:
    page = AppTest.from_file(f"../../pages/{name}.py", default_timeout=60)
    for key, value in address.items():
        page.query_params[key] = value
    page.session_state[session.READER_OPEN] = True
    page.run()
    assert not page.exception
    return page


def popovers(page: AppTest) -> list[str]:
    return [one.proto.popover.label for one in page.get("popover")]


def reader_of(page: AppTest) -> Any:
    return page.selectbox(key="frame_reader")


def read_as(page: AppTest, name: str) -> AppTest:
    """Type a name in the frame."""
    reader_of(page).options.append(name)  # AppTest knows no new options
    return reader_of(page).select(name).run()


def test_the_navigation_knows_every_page() -> None:
    assert sorted(navigation.TITLES) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_its_title_the_active_version_and_help(name: str) -> None:
    page = open_page(name)
    (title,) = [one.proto.body for one in page.get("html") if "<h1" in one.proto.body]
    assert title.endswith(f">{navigation.TITLES[name]}</h1>")
    assert DEFAULT_VERSION in [one.proto.label.replace("\\", "") for one in page.get("page_link")]
    assert "Who is reading?" in popovers(page) and ("Help" in popovers(page)) == (name != "about")


def test_the_reader_is_the_same_on_every_page_and_after_a_restart() -> None:
    read_as(open_page("cases"), "Dr. Weber")
    assert read_preferences(open_store(data_folder()), "").reader == "Dr. Weber"
    for name in PAGES:
        assert reader_of(open_page(name)).value == "Dr. Weber"


def test_a_name_that_cannot_be_one_is_refused_with_a_sentence_and_the_reader_stays() -> None:
    page = read_as(open_page("cases"), "Anna")
    read_as(page, "x" * 61)
    assert page.error and reader_of(page).value == "Anna"
    assert read_preferences(open_store(data_folder()), "").reader == "Anna"


def test_the_reader_that_the_address_names_is_taken_once() -> None:
    page = open_page("cases", reader="Anna")
    assert reader_of(page).value == "Anna"
    read_as(page, "Bert")
    assert reader_of(page).value == "Bert" and page.query_params["reader"] in ("Bert", ["Bert"])


def test_a_roll_back_is_recorded_under_the_readers_name() -> None:
    read_as(open_page("cases"), "Anna")
    store = open_store(data_folder())
    versions.store_version(store, "other-1", b"weights", "{}", by="Anna", parent=None)
    versions.record_decision(store, "promote", "other-1", by="Anna")
    page = open_page("models")
    for key in ("roll-back", "roll-back-now"):
        next(one for one in page.button if one.key == key).click().run()
    assert [(one.kind, one.by) for one in versions.decisions(store)][-1] == ("roll_back", "Anna")


def test_the_queue_is_told_on_every_page_while_it_works_and_then_no_more() -> None:
    store = open_store(data_folder())
    fields = [
        add_field(store, draw_sample_field(seed, size_px=320, mitoses=3, lookalikes=2).field, case="A")[0]
        for seed in (1, 2)
    ]
    enqueue(store, [one.id for one in fields], DEFAULT_VERSION, by="Anna")
    assert "Detecting 0 of 2" in [one.proto.text for one in open_page("about").get("progress")]
    with store.writing() as session_:
        session_.execute(update(DetectionRow).where(DetectionRow.field_id == fields[0].id).values(state="done"))
    assert "Detecting 1 of 2" in [one.proto.text for one in open_page("about").get("progress")]
    with store.writing() as session_:
        session_.execute(update(DetectionRow).values(state="done"))
    assert not open_page("about").get("progress")


def test_a_store_that_has_gone_since_it_was_opened_is_one_sentence() -> None:
    page = open_page("about")
    for file in data_folder().glob("*.sqlite*"):
        file.rename(file.with_suffix(".away"))
    page.run()
    assert not page.exception
