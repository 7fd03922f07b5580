"""A dispute of two readers is settled by one of them, in the own review, and nothing stored is lost."""

from __future__ import annotations

import uuid

import pytest

from db.disputes import settle
from db.engine import Store
from db.fields import StoredField
from db.labels import reviewed_fields
from db.reader_agreement import compare
from db.reviews import apply_ops, history, parse_op, review_of
from mitosis_core.vocabulary import Verdict


def say(store: Store, field: StoredField, reader: str, *changes: dict[str, object]) -> None:
    common = {"client": "page", "t": 0, "field": str(field.id), "base": 0}
    ops = [parse_op({**common, "op_id": uuid.uuid4().hex, "seq": n, **change}) for n, change in enumerate(changes, 1)]
    assert not apply_ops(store, field.id, reader, ops).refused


@pytest.fixture
def disputed(store: Store, field: StoredField) -> StoredField:
    """Anna says mitosis at (20, 20), Bob look-alike one pixel beside it; both have finished."""
    for reader, x, verdict in (("Anna", 20.0, "mitosis"), ("Bob", 21.0, "lookalike")):
        mark = {"kind": "add", "id": "m", "x": x, "y": 20.0, "cls": verdict, "comment": f"by {reader}"}
        say(store, field, reader, mark, {"kind": "state", "state": "complete"})
    return field


def labels(store: Store) -> dict[str, int]:
    (one,) = reviewed_fields(store)
    return {"mitosis": len(one.mitoses_xy_px), "lookalike": len(one.lookalikes_xy_px), "unsure": len(one.unsure_xy_px)}


@pytest.mark.parametrize("verdict", ["mitosis", "lookalike"])
def test_a_settled_cell_is_what_was_settled_whoever_said_so_before(
    store: Store, disputed: StoredField, verdict: Verdict
) -> None:
    assert labels(store) == {"mitosis": 0, "lookalike": 0, "unsure": 1}
    assert not settle(store, disputed, "Anna", 20.5, 20.0, verdict).refused
    assert labels(store) == {"mitosis": 0, "lookalike": 0, "unsure": 0} | {verdict: 1}
    (mark,) = review_of(store, disputed.id, "Anna").standing
    assert (mark.verdict, mark.settles, mark.comment, mark.x) == (verdict, True, "by Anna", 20.0)
    assert review_of(store, disputed.id, "Anna").state == "complete"
    (other,) = review_of(store, disputed.id, "Bob").standing
    assert (other.verdict, other.settles) == ("lookalike", False)


def test_settling_only_adds_to_the_history_and_the_later_verdict_stands(store: Store, disputed: StoredField) -> None:
    before = history(store, disputed.id)
    settle(store, disputed, "Anna", 20.5, 20.0, "lookalike")
    settle(store, disputed, "Anna", 20.5, 20.0, "mitosis")
    events = history(store, disputed.id)
    assert events[: len(before)] == before
    assert [event.kind for event in events[len(before) :]] == ["state", "class", "state"] * 2
    assert labels(store)["mitosis"] == 1


def test_two_who_settle_differently_leave_it_to_the_votes(store: Store, disputed: StoredField) -> None:
    settle(store, disputed, "Anna", 20.5, 20.0, "mitosis")
    settle(store, disputed, "Bob", 20.5, 20.0, "lookalike")
    assert labels(store)["unsure"] == 1


def test_who_has_no_mark_there_gets_one(store: Store, disputed: StoredField) -> None:
    say(store, disputed, "Cleo", {"kind": "state", "state": "complete"})
    settle(store, disputed, "Cleo", 20.5, 20.0, "mitosis")
    (mark,) = review_of(store, disputed.id, "Cleo").standing
    assert (mark.x, mark.y, mark.verdict, mark.settles) == (20.5, 20.0, "mitosis", True)
    assert labels(store)["mitosis"] == 1


def test_settling_does_not_make_the_readers_agree(store: Store, disputed: StoredField) -> None:
    (before,) = compare(store, [disputed])
    settle(store, disputed, "Anna", 20.5, 20.0, "lookalike")
    (after,) = compare(store, [disputed])
    assert before.by_pair == after.by_pair and [one.only_a for one in after.by_pair.values()] == [1]
    assert before.disputes and not after.disputes
