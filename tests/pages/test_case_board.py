"""Cases as cards, and what is done with many fields at once, without Streamlit."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import detection_queue as queue
from db.assignments import assign
from db.engine import Store, open_store
from db.fields import StoredField, add_field, add_unscaled, get_field, list_fields
from db.incoming_files import refuse_file
from db.predictions import save_prediction
from db.reviews import apply_ops, parse_op, review_of
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Detections, Field, Prediction
from pages.shared.service import case_actions, importing
from pages.shared.service.case_board import Card, ReaderProgress, read_board


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose worker is never started."""
    for module in (importing, case_actions):
        monkeypatch.setattr(module, "detect_later", _enqueue)
    monkeypatch.setattr(importing, "start_worker", lambda store: None)
    one = open_store(tmp_path / "data")
    yield one
    one.close()


def _enqueue(store: Store, ids: Any, version: str, *, by: str) -> int:
    return queue.enqueue(store, ids, version, by=by)


def add(store: Store, case: str, *, detected: int | None = None, scaled: bool = True) -> int:
    seed = len(list_fields(store)) + 17 * len(case)
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    kept, _ = add_unscaled(store, Field(pixels, 0.25 if scaled else None, f"{case}_{seed}.png"), case=case)
    if detected is not None:
        assert isinstance(kept, StoredField)
        scores = np.full(detected, 0.9)
        boxes = Detections(np.ones((detected, 2)), scores, np.full(detected, 9.0))
        save_prediction(store, kept.id, Prediction(boxes, 0.5, DEFAULT_VERSION, 0.1, kept.area_mm2))
    return kept.id


def say(store: Store, field_id: int, reader: str, *kinds: str) -> None:
    """Marks ("mark") and states of one reader."""
    own: dict[str, Any]
    for number, kind in enumerate(kinds, start=1):
        own = {"kind": "state", "state": kind}
        if kind == "mark":
            own = {"kind": "add", "id": f"m{number}", "x": 5 + number, "y": 5, "cls": "mitosis"}
        common = {
            "op_id": uuid.uuid4().hex,
            "client": "c",
            "seq": number,
            "t": 0,
            "field": str(field_id),
            "base": 10**6,
        }
        assert apply_ops(store, field_id, reader, [parse_op({**common, **own})]).done


def card(store: Store, reader: str = "Ann", case: str = "A") -> Card:
    return next(one for one in read_board(store, reader, DEFAULT_VERSION).cards if one.name == case)


def step(store: Store, reader: str = "Ann") -> tuple[str, str, str]:
    one = card(store, reader)
    return one.state, one.word, one.next_step


def test_a_case_goes_from_its_files_to_its_result(store: Store) -> None:
    """Every state of a case of two fields, its word, and the one button that leads on."""
    ids = [add(store, "A", scaled=False) for _ in range(1)]
    assert step(store) == ("needs_scale", "Needs µm/px", "Give µm/px")
    importing.give_scale(store, ids, 0.25)
    queue.enqueue(store, ids, DEFAULT_VERSION, by="Ann")
    assert step(store) == ("detecting", "Detecting 0 of 1", "Detecting 0 of 1") and card(store).step == ""
    ids.append(add(store, "A", detected=3))
    assert step(store) == ("detecting", "Detecting 1 of 2", "Start reading")
    taken = queue.take_next(store)
    assert taken is not None
    queue.fail(store, taken.id, "It is damaged.")
    assert step(store) == ("failed", "1 failed", "Start reading")
    assert card(store).tiles[0].says.endswith("It is damaged.")
    empty = Detections()
    save_prediction(store, ids[0], Prediction(empty, 0.5, DEFAULT_VERSION, 0.1, 0.1))
    queue.enqueue(store, [ids[0]], DEFAULT_VERSION, by="Ann")
    assert step(store) == ("to_read", "To read", "Start reading")
    assert card(store).figure == f"3 detected by {DEFAULT_VERSION}"
    say(store, ids[1], "Ann", "mark", "mark", "complete")
    assert step(store) == ("reading", "1 of 2 read", "Go on reading")
    assert card(store).figure == "2 mitoses in 1 field read"
    say(store, ids[0], "Ann", "complete")
    assert step(store) == ("read", "Read", "Result") and card(store).figure == "2 mitoses"


def test_a_case_of_failed_fields_alone_is_detected_again(store: Store) -> None:
    queue.enqueue(store, [add(store, "A")], DEFAULT_VERSION, by="Ann")
    taken = queue.take_next(store)
    assert taken is not None
    queue.fail(store, taken.id, "It is damaged.")
    assert step(store) == ("failed", "1 failed", "Detect again") and card(store).step == "detect"


def test_each_reader_sees_an_own_state_and_the_progress_of_all(store: Store) -> None:
    ids = [add(store, "A", detected=1) for _ in range(3)]
    say(store, ids[0], "Ann", "complete")
    say(store, ids[1], "Ann", "excluded")
    say(store, ids[0], "Bob", "mark")
    assign(store, ids[:2], "Cid", by="Ann")
    assert step(store, "Ann")[1:] == ("2 of 3 read", "Go on reading")
    assert step(store, "Bob")[1:] == ("0 of 3 read", "Go on reading")
    assert step(store, "Dan")[1:] == ("To read", "Start reading")
    assert step(store, "")[1:] == ("2 of 3 read", "Go on reading")
    assert card(store).readers == (
        ReaderProgress("Ann", 2, 3),
        ReaderProgress("Bob", 0, 3),
        ReaderProgress("Cid", 0, 2),
    )


def test_an_excluded_field_counts_for_no_figure(store: Store) -> None:
    ids = [add(store, "A", detected=4) for _ in range(2)]
    say(store, ids[0], "Ann", "mark", "complete")
    say(store, ids[1], "Ann", "mark", "mark", "excluded")
    assert card(store).figure == "1 mitosis in 1 field read"
    assert [(tile.read, tile.excluded) for tile in card(store).tiles] == [(True, False), (True, True)]


def test_cases_of_a_day_are_in_the_order_of_their_numbers_and_what_was_refused_is_there(store: Store) -> None:
    for case in ("case 10", "case 9", "Case 1", ""):
        add(store, case)
    refuse_file(store, "a.svs", "It is a whole slide.", by="Ann")
    board = read_board(store, "Ann", DEFAULT_VERSION)
    assert [one.name for one in board.cards] == ["", "Case 1", "case 9", "case 10"]
    assert [one.name for one in board.refused] == ["a.svs"]
    assert board.cards[0].next_step == "Detect" and not board.detecting and board.waiting_for_scale == ()


def test_a_figure_that_is_no_decimal_digit_is_a_letter_of_the_name(store: Store) -> None:
    """int("²") is an error; the page with all cases must not fail for a name."""
    for case in ("T1²", "T1", "E. coli 10³", "5③"):
        add(store, case)
    assert {one.name for one in read_board(store, "Ann", DEFAULT_VERSION).cards} == {"T1²", "T1", "E. coli 10³", "5③"}


def test_fields_are_excluded_finished_ones_too_and_put_back(store: Store) -> None:
    ids = [add(store, "A", detected=1) for _ in range(3)]
    say(store, ids[0], "Ann", "mark", "complete")
    case_actions.set_excluded(store, [*ids[:2], 999], "Ann", True)
    states = [review_of(store, one, "Ann").state for one in ids]
    assert states == ["excluded", "excluded", "unseen"]
    assert len(review_of(store, ids[0], "Ann").standing) == 1
    case_actions.set_excluded(store, ids, "Ann", False)
    assert [review_of(store, one, "Ann").state for one in ids] == ["in_review", "in_review", "unseen"]


def test_what_is_deleted_is_named_first(store: Store) -> None:
    ids = [add(store, "A", detected=1), add(store, "B"), add(store, "C")]
    say(store, ids[0], "Ann", "mark", "mark", "complete")
    said = case_actions.say_what_goes(store, ids[:2])
    assert "2 fields of A, B" in said and "1 of them finished" in said and "Ann (2 mitoses" in said
    assert "finished" not in case_actions.say_what_goes(store, ids[2:])
    case_actions.delete_fields(store, [*ids[:2], ids[0]], by="Ann")
    assert [one.id for one in list_fields(store)] == ids[2:]


def test_many_fields_change_their_case_at_once(store: Store) -> None:
    ids = [add(store, case) for case in ("A", "B", "B")]
    case_actions.put_into_case(store, [*ids[:2], 999], "New")
    assert [one.case for one in list_fields(store)] == ["New", "New", "B"]


def test_detecting_again_says_what_would_give_the_same(store: Store) -> None:
    ids = [add(store, "A", detected=1), add(store, "A")]
    said = case_actions.detect_again(store, ids, DEFAULT_VERSION, by="Ann")
    assert (
        said.startswith(f"1 field will be analysed by {DEFAULT_VERSION}.")
        and "1 field was analysed by it already" in said
    )
    assert case_actions.detect_again(store, ids, "other", by="Ann") == "2 fields will be analysed by other."


def test_a_corrected_scale_is_detected_at(store: Store) -> None:
    ids = [add(store, "A", detected=1)]
    case_actions.correct_scale(store, ids, 0.5, DEFAULT_VERSION, by="Ann")
    assert get_field(store, ids[0]).um_per_px == 0.5 and card(store).detecting
    add_field(store, Field(np.zeros((64, 64, 3), np.uint8), 0.25, "x"), case="B")
    assert not card(store, case="B").detecting
