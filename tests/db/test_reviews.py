"""The rule of events: nothing lost, nothing twice, no stale page undoes a newer click, and replay gives the state."""

import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.engine import Store, open_store
from db.errors import FieldGone
from db.fields import StoredField, add_field
from db.predictions import save_prediction
from db.replay import Event
from db.reviews import (
    BadOp,
    Overview,
    Review,
    apply_ops,
    check_reader,
    history,
    overviews,
    parse_op,
    readers,
    replay,
    replayed,
    restore,
    review_of,
    reviews_of,
)
from mitosis_core.errors import ConcentricError
from mitosis_core.types import Detections, Prediction, Region
from tests.db.conftest import MakeOp, make_field, make_op, reopen, sent

ROOT = Path(__file__).parents[2]


def test_one_of_each_kind(store: Store, field: StoredField, op: MakeOp) -> None:
    ops = [op(), op("move", seq=2, x=11), op("class", seq=3, x=11, cls="lookalike"), op(id="m2", seq=4)]
    ops += [op("delete", id="m2", seq=5), op("area", seq=6, area=[0, 0, 50, 60]), op("time", seq=7, seconds=2.5)]
    ops += [op("time", seq=8, seconds=4), op("state", seq=9, state="complete")]
    applied = apply_ops(store, field.id, "Ann", ops)
    review = review_of(store, field.id, "Ann")
    assert applied.done == tuple(one.op_id for one in ops) and applied.rev == review.rev == 9 and not applied.missed
    assert [(m.id, m.x, m.y, m.verdict) for m in review.standing] == [("m1", 11, 20, "lookalike")]
    assert (review.state, review.shown_state, review.area, review.seconds) == (
        "complete",
        "complete_empty",
        Region(0, 0, 50, 60),
        6.5,
    )
    again = [op("state", seq=10, state="in_review"), op("restore", id="m2", seq=11)]
    apply_ops(store, field.id, "Ann", [*again, op("state", seq=12, state="complete")])
    assert review_of(store, field.id, "Ann").shown_state == "complete"


def test_sent_again_changes_nothing(store: Store, field: StoredField, op: MakeOp) -> None:
    one = op("time", seconds=3)
    first = apply_ops(store, field.id, "Ann", [one, one])
    again = apply_ops(store, field.id, "Ann", [one])
    assert first.done == again.done == (one.op_id,) and first.rev == again.rev
    assert review_of(store, field.id, "Ann").seconds == 3 and len(history(store, field.id)) == 1


def test_a_stale_page_never_undoes_a_newer_click(store: Store, field: StoredField, op: MakeOp) -> None:
    rev = apply_ops(store, field.id, "Ann", [op()]).rev
    apply_ops(store, field.id, "Ann", [op("class", client="new", base=rev, cls="unsure")])
    stale = [op("delete", seq=2), op(id="m2", seq=3), op("state", state="complete", seq=4)]
    applied = apply_ops(store, field.id, "Ann", stale)
    assert applied.superseded == (stale[0].op_id,) and applied.missed
    assert applied.done == (stale[1].op_id, stale[2].op_id)
    assert [m.verdict for m in review_of(store, field.id, "Ann").standing] == ["unsure", "mitosis"]
    assert [e.superseded for e in history(store, field.id)] == [False, False, True, False, False]
    assert apply_ops(store, field.id, "Ann", stale[:1]).superseded == (stale[0].op_id,)
    # Once it has looked again it may.
    fresh = [op("state", state="in_review", seq=5, base=applied.rev), op("delete", seq=6, base=applied.rev)]
    assert apply_ops(store, field.id, "Ann", fresh).done == tuple(one.op_id for one in fresh)


@pytest.mark.parametrize("state", ["complete", "excluded"])
def test_a_finished_field_is_locked_until_it_is_reopened(
    store: Store, field: StoredField, op: MakeOp, state: str
) -> None:
    apply_ops(store, field.id, "Ann", [op(), op("state", state=state, seq=2)])
    stray = [op("delete", seq=3), op(id="m2", seq=4), op("area", area=[0, 0, 9, 9], seq=5)]
    applied = apply_ops(store, field.id, "Ann", [*stray, op("time", seconds=2, seq=6)])
    assert [op_id for op_id, _ in applied.refused] == [one.op_id for one in stray] and len(applied.done) == 1
    assert applied.locked == {why for _, why in applied.refused}.pop() and "Reopen it to change it." in applied.locked
    review = review_of(store, field.id, "Ann")
    assert (review.state, review.area, [mark.id for mark in review.standing]) == (state, None, ["m1"])
    # Reopened in the same request, the same changes are taken; then it is locked again.
    reopened = [op("state", state="in_review", seq=7), *stray, op("state", state="complete", seq=8), op(id="m3", seq=9)]
    applied = apply_ops(store, field.id, "Ann", reopened)
    assert applied.done == tuple(one.op_id for one in reopened[:-1]) and applied.locked
    assert [mark.id for mark in review_of(store, field.id, "Ann").standing] == ["m2"]
    assert replayed(store, field.id) == (reviews_of(store, field.id), True)


def test_a_field_that_one_reader_has_finished_is_open_to_the_others(
    store: Store, field: StoredField, op: MakeOp
) -> None:
    apply_ops(store, field.id, "Ann", [op("state", state="complete")])
    assert not apply_ops(store, field.id, "Bob", [op()]).refused


def test_a_stale_page_does_not_reopen_what_was_finished_elsewhere(store: Store, field: StoredField, op: MakeOp) -> None:
    first = apply_ops(store, field.id, "Ann", [op(), op("state", state="complete", seq=2)])
    stale = [op("state", client="old", state="in_review", seq=1), op(id="m2", client="old", seq=2)]
    applied = apply_ops(store, field.id, "Ann", stale)
    assert applied.superseded == (stale[0].op_id,) and applied.locked and applied.rev == first.rev + 1
    assert review_of(store, field.id, "Ann").state == "complete"


def test_a_request_that_comes_late_does_not_undo_its_own_page(store: Store, field: StoredField, op: MakeOp) -> None:
    late, early = op(seq=1), op("move", seq=2, x=50)
    apply_ops(store, field.id, "Ann", [early])
    assert apply_ops(store, field.id, "Ann", [late]).superseded == (late.op_id,)
    assert review_of(store, field.id, "Ann").marks[0].x == 50


def test_readers_do_not_touch_each_other(store: Store, field: StoredField, op: MakeOp) -> None:
    apply_ops(store, field.id, "Ann", [op()])
    applied = apply_ops(store, field.id, "Bob", [op("delete", client="other")])
    assert applied.superseded == () and not applied.missed
    found = reviews_of(store, field.id)
    assert readers(store) == ["Ann", "Bob"] == list(found)
    assert (len(found["Ann"].standing), len(found["Bob"].standing)) == (1, 0)
    assert [event.reader for event in history(store, field.id, "Bob")] == ["Bob"]


def test_a_proposal_keeps_what_the_server_knows_of_it(store: Store, field: StoredField, op: MakeOp) -> None:
    found = Detections(np.array([[10, 20]]), np.array([0.75]), np.array([9.0]))
    number = save_prediction(store, field.id, Prediction(found, 0.5, "v1", 1.0, 0.1))
    other = add_field(store, make_field(1))[0]
    elsewhere = save_prediction(store, other.id, Prediction(found, 0.5, "v1", 1.0, 0.1))
    apply_ops(store, field.id, "Ann", [op("class", id=f"p{number}-0", cls="lookalike")])
    (mark,) = review_of(store, field.id, "Ann").marks
    assert (mark.version, mark.score) == ("v1", 0.75)
    assert (history(store, field.id)[0].version, history(store, field.id)[0].score) == ("v1", 0.75)
    forged = [op("class", id=key, seq=2) for key in (f"p{elsewhere}-0", f"p{number}-1", "p999-0", f"p{'9' * 12}-0")]
    applied = apply_ops(store, field.id, "Ann", [*forged, op(id="mine", seq=3)])
    assert [op_id for op_id, _ in applied.refused] == [one.op_id for one in forged] and len(applied.done) == 1


def test_what_does_not_belong_here_is_refused_alone(store: Store, field: StoredField, op: MakeOp) -> None:
    other = add_field(store, make_field(1))[0]
    taken = make_op(other.id)
    apply_ops(store, other.id, "Ann", [taken])
    wrong = [
        op(x=101),
        op(y=-1.5),
        op("area", area=[0, 0, 200, 50]),
        op("area", area=[-0.5, 0, 0, 9]),
        make_op(other.id),
        taken,
    ]
    right = [op(x=99.9, y=-0.5, id="edge"), op("area", area=[0, 0, 100, 100])]
    applied = apply_ops(store, field.id, "Ann", [*wrong, *right])
    assert {op_id for op_id, _ in applied.refused} == {one.op_id for one in wrong} and len(applied.done) == 2
    assert all(why.endswith(".") for _, why in applied.refused)
    with pytest.raises(FieldGone):
        apply_ops(store, 99, "Ann", right)
    with pytest.raises(BadOp, match="many"):
        apply_ops(store, field.id, "Ann", [right[0]] * 5001)


MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("add", {"kind": "explode"}),
    ("add", {"kind": ["add"]}),
    ("add", {"extra": 1}),
    ("add", {"op_id": "short"}),
    ("add", {"op_id": None}),
    ("add", {"client": "c" * 65}),
    ("add", {"client": "a b"}),
    ("add", {"id": "m" * 65}),
    ("add", {"id": ":state"}),
    ("add", {"id": 7}),
    ("add", {"seq": -1}),
    ("add", {"seq": 1.0}),
    ("add", {"seq": True}),
    ("add", {"base": 2**53}),
    ("add", {"base": 2**63}),
    ("add", {"seq": 2**53}),
    ("add", {"t": 2**53}),
    ("add", {"op_id": "\ud800" * 32}),
    ("add", {"id": "\ud800"}),
    ("add", {"cls": "\ud800"}),
    ("add", {"t": float("nan")}),
    ("add", {"x": float("nan")}),
    ("add", {"x": "1"}),
    ("add", {"y": float("inf")}),
    ("add", {"y": 10**400}),
    ("add", {"y": None}),
    ("add", {"cls": "cell"}),
    ("add", {"cls": ["mitosis"]}),
    ("add", {"field": 1}),
    ("state", {"state": "unseen"}),
    ("state", {"state": None}),
    ("area", {"area": [0, 0, 1]}),
    ("area", {"area": [5, 0, 1, 9]}),
    ("area", {"area": "all"}),
    ("area", {"area": [0, 0, 1, float("nan")]}),
    ("time", {"seconds": 3600.5}),
    ("time", {"seconds": -1}),
]
OWN: dict[str, dict[str, Any]] = {
    "add": {},
    "state": {"state": "complete"},
    "area": {"area": None},
    "time": {"seconds": 1},
}


@pytest.mark.parametrize(("kind", "wrong"), MALFORMED)
def test_malformed_changes_are_sentences(kind: str, wrong: dict[str, Any]) -> None:
    good = sent(1, kind, **OWN[kind])
    assert parse_op(good).op_id == good["op_id"]
    with pytest.raises(BadOp, match=r"\.$"):
        parse_op(good | wrong)


@pytest.mark.parametrize("wrong", [None, [], "add", 3, {}])
def test_what_is_no_change_at_all(wrong: object) -> None:
    with pytest.raises(BadOp):
        parse_op(wrong)


def test_a_part_that_is_missing() -> None:
    whole = sent(1)
    for name in whole:
        with pytest.raises(BadOp):
            parse_op({key: value for key, value in whole.items() if key != name})


def test_names_of_readers() -> None:
    assert check_reader("  Dr. Jörg Ärzt ") == "Dr. Jörg Ärzt" and len(check_reader("x" * 60)) == 60
    for name in ("", "   ", "x" * 61, "a\nb", "a\x00", "a\ud800"):
        with pytest.raises(BadOp):
            check_reader(name)


def test_overviews_count_what_stands(store: Store, field: StoredField, op: MakeOp) -> None:
    other = add_field(store, make_field(1))[0]
    ops = [op(id=f"m{n}", cls=cls, seq=n + 1) for n, cls in enumerate(["mitosis", "mitosis", "lookalike", "unsure"])]
    apply_ops(store, field.id, "Ann", [*ops, op("delete", id="m0", seq=9), op("time", seconds=7)])
    apply_ops(store, other.id, "Ann", [make_op(other.id, "state", state="complete")])
    assert overviews(store, "Ann") == {
        field.id: Overview("in_review", 1, 1, 1, 7),
        other.id: Overview("complete_empty"),
    }
    assert overviews(store, "Bob") == {}


def test_any_earlier_state_comes_back_as_new_events(store: Store, field: StoredField, op: MakeOp) -> None:
    ops = [op(), op(id="m2", seq=2), op("move", x=30, seq=3), op("delete", id="m2", seq=4), op(id="m3", seq=5)]
    ops += [op("area", seq=6, area=[0, 0, 9, 9]), op("state", seq=7, state="complete"), op("time", seconds=5, seq=8)]
    apply_ops(store, field.id, "Ann", ops)
    before = history(store, field.id)
    for event in before:
        then = review_of(store, field.id, "Ann", until=event.id)
        applied = restore(store, field.id, "Ann", event.id)
        now = review_of(store, field.id, "Ann")
        assert (now.standing, now.state, now.area, now.seconds) == (then.standing, then.state, then.area, 5)
        assert applied.superseded == () and applied.rev == now.rev
    assert history(store, field.id)[: len(before)] == before
    reopened = op("state", state="in_review", client="other", base=history(store, field.id)[-1].id)
    late = op("move", x=70, seq=9)  # a page that has not seen the restoring
    assert apply_ops(store, field.id, "Ann", [reopened, late]).superseded == (late.op_id,)


def test_a_comment_is_part_of_the_mark_and_comes_back_with_it(store: Store, field: StoredField, op: MakeOp) -> None:
    apply_ops(store, field.id, "Ann", [op(), op("class", seq=2, comment=" out of focus ")])
    (mark,) = review_of(store, field.id, "Ann").standing
    assert mark.comment == "out of focus" and history(store, field.id)[1].comment == "out of focus"
    commented = history(store, field.id)[1].id
    apply_ops(store, field.id, "Ann", [op("class", seq=3, comment="")])
    assert review_of(store, field.id, "Ann").standing[0].comment is None
    restore(store, field.id, "Ann", commented)
    assert review_of(store, field.id, "Ann").standing[0].comment == "out of focus"
    assert replayed(store, field.id) == (reviews_of(store, field.id), True)


@pytest.mark.parametrize("comment", [3, "x" * 501, "two\nlines", ["a"], "\x00"])
def test_a_comment_that_cannot_be_kept_is_refused(op: MakeOp, comment: object) -> None:
    with pytest.raises(BadOp, match="comment"):
        op("class", comment=comment)


def test_no_page_may_say_that_its_verdict_settles_a_dispute(op: MakeOp) -> None:
    with pytest.raises(BadOp):
        op("class", settles=True)


def test_only_moments_of_this_review_can_be_restored(store: Store, field: StoredField, op: MakeOp) -> None:
    rev = apply_ops(store, field.id, "Ann", [op()]).rev
    for reader, event_id in (("Bob", rev), ("Ann", rev + 1)):
        with pytest.raises(ConcentricError, match="history"):
            restore(store, field.id, reader, event_id)


OWNS = st.one_of(
    st.tuples(
        st.sampled_from(["add", "delete", "restore", "move", "class"]),
        st.fixed_dictionaries(
            {
                "id": st.sampled_from(["m1", "m2", "p1-0", "p1-1"]),
                "x": st.floats(0, 99),
                "y": st.floats(0, 99),
                "cls": st.sampled_from(["mitosis", "lookalike", "unsure"]),
            }
        ),
    ),
    st.tuples(st.just("state"), st.fixed_dictionaries({"state": st.sampled_from(["complete", "excluded"])})),
    st.tuples(st.just("area"), st.fixed_dictionaries({"area": st.sampled_from([None, [0, 0, 9, 9], [5, 5, 50, 60]])})),
    st.tuples(st.just("time"), st.fixed_dictionaries({"seconds": st.floats(0, 100)})),
)
CHANGES = st.lists(
    st.tuples(OWNS, st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 15), st.sampled_from(["Ann", "Bob"])),
    min_size=1,
    max_size=15,
)


def by_the_rule(event: Event, events: list[Event]) -> bool:
    """The rule said at length, from the whole list."""
    earlier = [
        one
        for one in events
        if one.id < event.id and not one.superseded and (one.reader, one.target) == (event.reader, event.target)
    ]
    newer_elsewhere = any(one.client != event.client and one.id > event.base for one in earlier)
    newer_here = any(one.client == event.client and one.seq > event.seq for one in earlier)
    return event.kind != "time" and (newer_elsewhere or newer_here)


@pytest.mark.slow
@settings(max_examples=40)
@given(CHANGES, st.data())
def test_replaying_the_events_gives_the_tables(changes: list[Any], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        field = add_field(store, make_field())[0]
        found = Detections(np.array([[1, 2]]), np.array([0.5]), np.array([9.0]))
        save_prediction(store, field.id, Prediction(found, 0.5, "v1", 1.0, 0.1))
        ops = [
            (who, make_op(field.id, kind, client=client, seq=seq, base=base, **own))
            for (kind, own), client, seq, base, who in changes
        ]
        told: dict[str, str] = {}
        for number in data.draw(st.lists(st.integers(0, len(ops) - 1), min_size=1, max_size=30)):  # any order, repeats
            who, op = ops[number]
            applied = apply_ops(store, field.id, who, [op])
            (answer,) = (
                ["done"] * len(applied.done)
                + ["superseded"] * len(applied.superseded)
                + ["refused"] * len(applied.refused)
            )
            assert told.setdefault(op.op_id, answer) == answer
        events = history(store, field.id)
        assert [event.op_id for event in events] == [key for key, answer in told.items() if answer != "refused"]
        assert [event.superseded for event in events] == [told[event.op_id] == "superseded" for event in events]
        assert [event.superseded for event in events] == [by_the_rule(event, events) for event in events]
        for who in ("Ann", "Bob"):
            own = [event for event in events if event.reader == who]
            assert replay(own) == review_of(store, field.id, who) == reviews_of(store, field.id).get(who, Review())
        store.close()


WRITER = """
import sys
from pathlib import Path
from db.engine import open_store
from db.reviews import apply_ops
from tests.db.conftest import make_op
store, seq = open_store(Path(sys.argv[1]), url=sys.argv[3]), 0
while True:
    seq += 1
    op = make_op(int(sys.argv[2]), id=f"m{seq % 7}", seq=seq)
    print(*apply_ops(store, int(sys.argv[2]), "Ann", [op]).done, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is of POSIX")
def test_what_was_acknowledged_survives_a_kill(store: Store, field: StoredField) -> None:
    command = [sys.executable, "-c", WRITER, str(store.folder), str(field.id), store.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(40)]
        writer.kill()
        acknowledged += writer.stdout.read().split()
    again = reopen(store)
    kept = [event.op_id for event in history(again, field.id)]
    assert all(acknowledged) and kept[: len(acknowledged)] == acknowledged and len(kept) - len(acknowledged) in (0, 1)
    assert len(set(kept)) == len(kept)
    assert replay(history(again, field.id)) == review_of(again, field.id, "Ann")
    assert list(again.database.faults()) == []
