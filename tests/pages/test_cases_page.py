"""The home page without a browser: what the board is given, and what is asked before something is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from db import detection_queue as queue
from db.engine import Store
from db.fields import list_fields, list_unscaled
from db.incoming_files import refuse_file, refused_files
from db.preferences import change_preferences, read_preferences
from db.reviews import apply_ops, review_of
from pages.shared import session, shell, store
from pages.shared.person import Person, Role
from pages.shared.service import case_actions, importing
from pages.shared.views import case_board
from tests.db.conftest import make_op
from tests.db.queued import list_detections
from tests.pages.fakes import FakeDetector
from tests.pages.test_case_board import _enqueue, add


@pytest.fixture
def kept(detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two fields of case A, one of case B; no worker is started."""
    for module in (importing, case_actions):
        monkeypatch.setattr(module, "detect_later", _enqueue)
    for module in (importing, case_board, store):
        monkeypatch.setattr(module, "start_worker", lambda store: None)
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    one = store.the_store()
    for case in ("A", "A", "B"):
        add(one, case, detected=2)
    return one


def open_page(**address: str) -> AppTest:
    page = AppTest.from_file("../../pages/cases.py", default_timeout=30)
    for name, value in address.items():
        page.query_params[name] = value
    return page.run()


def asked(page: AppTest, kind: str, **more: Any) -> AppTest:
    """The board asks for something; a dialog stays open through the next run, as it does in a browser."""
    return keep_open(keep_open(page, kind, **more).run(), kind, **more)


def keep_open(page: AppTest, kind: str, **more: Any) -> AppTest:
    page.session_state[session.WISH] = {"kind": kind, "n": 1, **more}
    return page


def board(page: AppTest) -> dict[str, Any]:
    assert not page.exception
    (component,) = page.get("bidi_component")
    data: dict[str, Any] = json.loads(component.proto.json)
    return data


def press(page: AppTest, label: str) -> AppTest:
    assert not page.exception
    return next(one for one in page.button if one.label == label).click().run()


def test_the_board_shows_cases_fields_and_what_the_address_asks_for(kept: Store) -> None:
    refuse_file(kept, "a.svs", "It is a whole slide.", by="Ann")
    data = board(open_page(search="tumour"))
    assert [(card["case"], len(card["tiles"]), card["next"]) for card in data["cards"]] == [
        ("A", 2, "Start reading"),
        ("B", 1, "Start reading"),
    ]
    assert data["search"] == "tumour" and data["may"] == {"add": True, "delete": True}
    assert [(one["name"], one["says"]) for one in data["refused"]] == [("a.svs", "It is a whole slide.")]
    tile = data["cards"][0]["tiles"][0]
    assert tile["count"] == 2 and f"{list_fields(kept)[0].digest}-small.jpg" in tile["url"]


def test_the_same_store_gives_the_same_data(kept: Store) -> None:
    page = open_page()
    assert board(page) == board(page.run()) == board(open_page())


@pytest.mark.parametrize("remember", [False, True])
def test_the_scale_is_asked_in_the_open_and_remembered_if_wished(kept: Store, remember: bool) -> None:
    waiting = [add(kept, "C", scaled=False), add(kept, "CC", scaled=False)]
    queue.enqueue(kept, waiting, "v1", by="Ann")
    page = open_page()
    assert any("2 fields do not say" in one.value for one in page.markdown)
    assert [card["state"] for card in board(page)["cards"]][2:] == ["needs_scale", "needs_scale"]
    page.selectbox(session.SCANNER_OF_CASES).select("Leica GT450, 40x (MIDOG)").run()
    if remember:
        next(one for one in page.checkbox if one.label.startswith("Remember")).check().run()
    press(page, "Use it")
    assert list_unscaled(kept) == [] and list_fields(kept)[-1].um_per_px == 0.26
    assert read_preferences(kept, "").um_per_px == (0.26 if remember else None)
    page = open_page()
    assert not any("do not say" in one.value for one in page.markdown)
    assert board(page)["scanner"] == ("0.26 µm/px" if remember else "")


def test_a_scale_that_is_not_plausible_is_refused_and_nothing_is_remembered(kept: Store) -> None:
    add(kept, "C", scaled=False)
    page = open_page()
    page.selectbox(session.SCANNER_OF_CASES).select(session.OTHER_SCANNER).run()
    page.number_input(session.SCALE_OF_CASES).set_value(25.0).run()
    press(page, "Use it")
    assert "not plausible" in page.error[0].value
    assert len(list_unscaled(kept)) == 1 and read_preferences(kept, "").um_per_px is None


def test_deleting_asks_once_and_names_what_goes(kept: Store) -> None:
    page = asked(open_page(), "delete", ids=[1, 3, "x", -4])
    assert any("2 fields of A, B" in one.value and "cannot be undone" in one.value for one in page.markdown)
    assert len(list_fields(kept)) == 3
    press(page, "Delete 2 fields")
    assert [one.id for one in list_fields(kept)] == [2]


def test_fields_get_a_case_and_a_case_another_name(kept: Store) -> None:
    page = asked(open_page(), "case", ids=[1])
    page = keep_open(page.selectbox[0].select("B").run(), "case", ids=[1])
    press(page, "Set the case of 1 field")
    assert [one.case for one in list_fields(kept)] == ["B", "A", "B"]
    page = asked(open_page(), "rename", case="B")
    page = keep_open(page.text_input[0].set_value("New").run(), "rename", case="B")
    press(page, "Rename")
    assert [one.case for one in list_fields(kept)] == ["New", "A", "New"]


def test_the_board_is_of_who_reads_in_this_session_whoever_reads_elsewhere(kept: Store) -> None:
    page = open_page()
    page.session_state[session.READER] = "Bert"
    change_preferences(kept, "", reader="Ann")
    apply_ops(kept, 1, "Ann", [make_op(1, "state", state="complete")])
    assert not any(tile["read"] for card in board(page.run())["cards"] for tile in card["tiles"])
    page.session_state[session.READER] = "Ann"
    assert any(tile["read"] for card in board(page.run())["cards"] for tile in card["tiles"])


def test_fields_that_quick_look_found_in_another_case_are_told_once(kept: Store) -> None:
    page = open_page()
    page.session_state[session.KEPT_ELSEWHERE] = ["A", "B", "A"]
    (said,) = page.run().toast
    assert said.value == "3 fields were there already and stay where they are: A, B."
    assert not page.run().toast


def test_fields_are_excluded_for_the_reader_who_is_known(kept: Store) -> None:
    change_preferences(kept, "", reader="Ann")
    press(asked(open_page(), "exclude", ids=[1, 2]), "Exclude")
    assert [review_of(kept, one, "Ann").state for one in (1, 2, 3)] == ["excluded", "excluded", "unseen"]
    assert board(open_page())["cards"][0]["state"] == "read"


def test_fields_are_detected_in_again_with_the_version_that_was_chosen(kept: Store) -> None:
    page = asked(open_page(), "detect", ids=[1, 2])
    assert page.selectbox[0].options == ["fake-1"]
    press(page, "Detect in 2 fields")
    assert [(one.field_id, one.version) for one in list_detections(kept)] == [(1, "fake-1"), (2, "fake-1")]
    assert [card["state"] for card in board(open_page())["cards"]] == ["detecting", "to_read"]


def test_detection_is_stopped_and_taken_up_again(kept: Store) -> None:
    queue.enqueue(kept, [1, 2, 3], "fake-1", by="Ann")
    page = asked(open_page(), "stop", ids=[1, 3])
    assert not page.exception and [one.field_id for one in list_detections(kept)] == [2]
    assert {one["case"]: one["detecting"] for one in board(open_page())["cards"]} == {"A": True, "B": False}


def test_a_refused_file_is_dismissed(kept: Store) -> None:
    for name in ("a.svs", "b.svs", "c.svs"):
        refuse_file(kept, name, "It is a whole slide.", by="Ann")
    asked(open_page(), "dismiss", ids=[1])
    assert [one.name for one in refused_files(kept)] == ["c.svs", "b.svs"]
    asked(open_page(), "dismiss", ids=None)
    assert refused_files(kept) == []


@pytest.mark.parametrize(
    ("role", "refused"), [(Role.READER, ("case", "detect", "delete")), (Role.REVIEWER, ("delete",))]
)
def test_who_may_not_is_not_even_asked(
    kept: Store, monkeypatch: pytest.MonkeyPatch, role: Role, refused: tuple[str, ...]
) -> None:
    monkeypatch.setattr(shell, "person", lambda: Person("Bob", role))
    for kind in refused:
        page = asked(open_page(), kind, ids=[1])
        assert not page.exception and not page.button and not page.selectbox
    data = board(open_page())
    assert data["may"] == {"add": role >= Role.REVIEWER, "delete": False}
    assert bool(data["files"]["token"]) == (role >= Role.REVIEWER)


def test_a_data_folder_that_cannot_be_used_is_one_sentence(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "file"))
    page = open_page()
    assert not page.exception and len(page.error) == 1


def test_a_name_that_is_markdown_is_shown_as_it_is(kept: Store) -> None:
    add(kept, "**A**")
    page = asked(open_page(), "delete", ids=[4])
    assert any(r"\*\*A\*\*" in one.value for one in page.markdown)
