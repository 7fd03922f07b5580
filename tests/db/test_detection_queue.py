"""The queue in the store: in order, nothing twice, nothing lost, and how far it is."""

from __future__ import annotations

import time

import numpy as np
import pytest

from db import detection_queue as queue
from db.detection_queue import MOST_ATTEMPTS, Detection, Progress
from db.engine import Store
from db.fields import (
    StoredField,
    add_field,
    add_unscaled,
    appearances,
    delete_field,
    get_field,
    list_fields,
    set_scale,
)
from db.predictions import proposals, save_prediction
from mitosis_core.types import Detections, Field, Prediction
from tests.db.conftest import make_field
from tests.db.queued import list_detections

LOOK = (0.1, 0.2, 0.3, 0.4, 0.5)


@pytest.fixture
def fields(store: Store) -> list[StoredField]:
    return [add_field(store, make_field(n), case=f"case {n % 2}")[0] for n in range(4)]


def found(version: str = "v1") -> Prediction:
    return Prediction(Detections(np.array([[1, 2]]), np.array([0.9]), np.array([9.0])), 0.5, version, 0.2, 0.1)


def do(store: Store, one: Detection, seconds: float = 1.0) -> None:
    field = get_field(store, one.field_id)
    queue.finish(store, one.id, field, found(one.version), LOOK, seconds=seconds)


def states(store: Store) -> list[str]:
    return [one.state for one in list_detections(store)]


def taken(store: Store) -> Detection:
    one = queue.take_next(store)
    assert one is not None
    return one


def test_it_is_worked_off_in_the_order_it_was_asked_for(store: Store, fields: list[StoredField]) -> None:
    assert queue.enqueue(store, [3, 1], "v1", by="Ann") == 2 and queue.enqueue(store, [2], "v2", by="Bob") == 1
    order = []
    while (one := queue.take_next(store)) is not None:
        order.append((one.field_id, one.version, one.by, one.attempts))
        assert list_detections(store)[len(order) - 1].state == "running" == one.state
        do(store, one)
    assert order == [(3, "v1", "Ann", 1), (1, "v1", "Ann", 1), (2, "v2", "Bob", 1)] and set(states(store)) == {"done"}
    assert proposals(store, 3, "v1") is not None and appearances(store)[3] == LOOK and not queue.has_work(store)


def test_no_field_is_detected_twice_for_one_version(store: Store, fields: list[StoredField]) -> None:
    save_prediction(store, 1, found())
    assert queue.enqueue(store, [1, 2, 2, 99], "v1", by="Ann") == 1 and queue.enqueue(store, [2], "v1", by="Bob") == 0
    assert [(one.field_id, one.state) for one in list_detections(store)] == [(1, "done"), (2, "waiting")]
    save_prediction(store, 2, found())  # a page was quicker
    assert queue.take_next(store) is None and states(store) == ["done", "done"]
    assert queue.enqueue(store, [1, 2], "v1", by="Ann") == 0


def test_a_field_whose_scale_was_corrected_is_detected_again(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1], "v1", by="Ann")
    one = taken(store)
    before = get_field(store, 1)
    set_scale(store, 1, 0.5)
    queue.finish(store, one.id, before, found(), LOOK, seconds=1)  # what was found at the old one
    assert states(store) == ["waiting"] and proposals(store, 1, "v1") is None
    do(store, taken(store))
    set_scale(store, 1, 0.3)
    assert queue.enqueue(store, [1], "v1", by="Ann") == 1


def test_a_field_without_a_scale_waits_until_it_has_one(store: Store, fields: list[StoredField]) -> None:
    waiting, _ = add_unscaled(store, Field(make_field(9).pixels, None, "b.png"), case="case 0")
    queue.enqueue(store, [waiting.id, 1], "v1", by="Ann")
    assert states(store) == ["needs_scale", "waiting"]
    assert queue.progress_by_case(store)["case 0"].counts["needs_scale"] == 1 and queue.progress(store).open == 1
    do(store, taken(store))
    assert queue.take_next(store) is None and not queue.has_work(store)
    set_scale(store, waiting.id, 0.25)
    assert queue.has_work(store) and taken(store).field_id == waiting.id


def test_what_a_killed_worker_left_is_taken_up_and_fails_after_three(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1, 2], "v1", by="Ann")
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert (taken(store).field_id, list_detections(store)[0].attempts) == (1, attempt)
        queue.take_up(store)
    first, second = list_detections(store)
    assert (first.state, second.state) == ("failed", "waiting") and "cut off 3 times" in first.message
    assert taken(store).field_id == 2
    assert queue.enqueue(store, [1], "v1", by="Ann") == 1 and list_detections(store)[0].attempts == 0


@pytest.mark.parametrize(("counts", "left"), [(True, "failed"), (False, "waiting")])
def test_a_disk_that_was_full_is_no_attempt(store: Store, fields: list[StoredField], counts: bool, left: str) -> None:
    queue.enqueue(store, [1], "v1", by="Ann")
    for _ in range(MOST_ATTEMPTS):
        queue.put_back(store, taken(store).id, "No room.", counts=counts)
    (one,) = list_detections(store)
    assert (one.state, one.message, one.attempts) == (left, "No room.", MOST_ATTEMPTS * counts)


def test_why_it_waits_is_said_at_the_one_whose_turn_is_next(store: Store, fields: list[StoredField]) -> None:
    without, _ = add_unscaled(store, Field(make_field(9).pixels, None, "b.png"))
    queue.enqueue(store, [without.id, 1, 2], "v1", by="Ann")
    queue.say_why_it_waits(store, "The disk is full.")
    assert [one.message for one in list_detections(store)] == ["", "The disk is full.", ""]


def test_what_failed_says_why_and_is_tried_anew_when_asked_for(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1], "v1", by="Ann")
    queue.fail(store, taken(store).id, "The stored image is damaged.")
    assert list_detections(store)[0].message == "The stored image is damaged." and not queue.has_work(store)
    queue.enqueue(store, [1], "v1", by="Ann")
    assert [(one.state, one.message) for one in list_detections(store)] == [("waiting", "")]


def test_a_deleted_field_leaves_the_queue(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1, 2], "v1", by="Ann")
    one, before = taken(store), get_field(store, 1)
    delete_field(store, 1, by="Ann")
    queue.finish(store, one.id, before, found(), LOOK, seconds=1)
    queue.beat(store, one.id)
    queue.put_back(store, one.id, "x", counts=True)
    assert [one.field_id for one in list_detections(store)] == [2]


def test_fields_are_taken_out_while_they_wait(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1, 2, 3], "v1", by="Ann")
    taken(store)
    assert queue.withdraw(store, [1, 2]) == 1 and [one.field_id for one in list_detections(store)] == [1, 3]


def test_progress_counts_by_case_and_reckons_from_what_was_measured(store: Store) -> None:
    sizes = [100, 100, 200, 100]  # px; a field of 200 px has four times the pixels
    for number, (size, case) in enumerate(zip(sizes, ["a", "b", "a", ""], strict=True)):
        add_field(store, Field(np.full((size, size, 3), number, np.uint8), 0.25, "f"), case=case)
    queue.enqueue(store, [1, 2, 3, 4], "v1", by="Ann")
    assert queue.progress(store).seconds_left is None  # nothing was measured yet
    do(store, taken(store), seconds=2.0)
    taken(store)
    by_case = queue.progress_by_case(store)
    assert by_case["a"] == Progress({"waiting": 1, "needs_scale": 0, "running": 0, "done": 1, "failed": 0}, 8.0)
    assert by_case["b"].counts["running"] == 1 and by_case[""].counts["waiting"] == 1
    over_all = queue.progress(store)
    assert (over_all.open, over_all.total, over_all.seconds_left) == (3, 4, pytest.approx(12.0))
    assert [one.field_id for one in list_detections(store, "a")] == [1, 3]


def test_progress_asks_the_store_as_often_for_many_fields_as_for_few(store: Store, fields: list[StoredField]) -> None:
    from sqlalchemy import event

    def asked() -> int:
        seen: list[str] = []
        listen = lambda *given: seen.append(given[2])  # noqa: E731
        event.listen(store.engine, "before_cursor_execute", listen)
        queue.progress(store)
        event.remove(store.engine, "before_cursor_execute", listen)
        return len(seen)

    queue.enqueue(store, [1], "v1", by="Ann")
    few = asked()
    queue.enqueue(store, [one.id for one in list_fields(store)], "v2", by="Ann")
    assert asked() == few


def test_a_sign_of_life(store: Store, fields: list[StoredField]) -> None:
    queue.enqueue(store, [1], "v1", by="Ann")
    one = taken(store)
    time.sleep(0.01)
    queue.beat(store, one.id)
    (now,) = list_detections(store)
    assert one.heartbeat and now.heartbeat and now.heartbeat > one.heartbeat
