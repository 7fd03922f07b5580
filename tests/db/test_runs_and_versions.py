"""Runs give signs of life, cases keep their part, and the champion follows from what was decided."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import update

from db import runs, versions
from db.engine import Store
from db.errors import FULL, RunGone, StoreFull, VersionGone
from db.fields import StoredField, add_field
from db.labels import reviewed_fields
from db.reviews import apply_ops, parse_op
from db.runs import Run
from db.schema import RunRow
from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.types import Field
from tests.db.conftest import before_its_turn

SHIPPED = "shipped-1"


def field(store: Store, number: int, case: str = "") -> StoredField:
    return add_field(store, Field(np.full((60, 60, 3), number, np.uint8), 0.25, f"{number}.png"), case=case)[0]


def queued(store: Store) -> Run:
    return runs.queue_run(
        store,
        by="Anna",
        base_version=SHIPPED,
        source="",
        last_event=7,
        settings={"steps": 3},
        split={"train": [1], "held_out": [2]},
        code="abc",
    )


def version(store: Store, name: str) -> None:
    versions.store_version(store, name, name.encode(), "{}", by="Anna")


# ---- runs


def test_a_run_remembers_what_it_needs_to_be_done_again(store: Store) -> None:
    run = runs.get_run(store, queued(store).id)
    assert (run.state, run.last_event, run.settings, run.split) == (
        "queued",
        7,
        {"steps": 3},
        {"train": [1], "held_out": [2]},
    )


def test_a_silent_run_is_lost_and_takes_its_place_again_when_it_speaks(store: Store) -> None:
    run = queued(store)
    runs.start(store, run.id)
    long_ago = datetime.now(UTC) - runs.LOST_AFTER - timedelta(seconds=1)
    with store.writing() as session:
        session.execute(update(RunRow).values(heartbeat=long_ago))
    assert runs.list_runs(store)[0].state == "lost"
    assert runs.beat(store, run.id, {"step": 1}) is False
    assert runs.get_run(store, run.id).state == "running"


def test_the_wish_to_cancel_comes_back_with_the_next_sign_of_life(store: Store) -> None:
    run = queued(store)
    runs.ask_to_cancel(store, run.id)
    assert runs.beat(store, run.id) is True


def test_a_run_that_is_taken_up_again_forgets_its_end(store: Store) -> None:
    run = queued(store)
    runs.end(store, run.id, "failed", message="no")
    runs.requeue(store, run.id)
    again = runs.get_run(store, run.id)
    assert (again.state, again.message, again.finished_at) == ("queued", "", None)


def test_an_unknown_run_is_a_sentence(store: Store) -> None:
    with pytest.raises(RunGone, match="no run 5"):
        runs.get_run(store, 5)


# ---- labels


def act(store: Store, one: StoredField, reader: str, seq: int, kind: str, **own: object) -> int:
    op = {
        "op_id": f"{one.id:08x}{hash(reader) % 2**32:08x}{seq:016x}",
        "client": reader.lower(),
        "seq": seq,
        "t": 0,
        "field": str(one.id),
        "base": 0,
        "kind": kind,
    }
    return apply_ops(store, one.id, reader, [parse_op({**op, **own})]).rev


def test_labels_come_from_finished_fields_as_they_stood(store: Store) -> None:
    done, unfinished = field(store, 1), field(store, 2)
    act(store, done, "Anna", 1, "add", id="m", x=5.0, y=6.0, cls="mitosis")
    act(store, done, "Anna", 2, "add", id="l", x=30.0, y=6.0, cls="lookalike")
    act(store, done, "Anna", 3, "add", id="u", x=50.0, y=6.0, cls="unsure")
    then = act(store, done, "Anna", 4, "state", state="complete")
    act(store, unfinished, "Anna", 1, "add", id="m", x=5.0, y=6.0, cls="mitosis")
    act(store, done, "Anna", 5, "state", state="in_review")
    act(store, done, "Anna", 6, "class", id="m", x=5.0, y=6.0, cls="lookalike")
    act(store, done, "Anna", 7, "state", state="complete")
    (now,), (earlier,) = reviewed_fields(store), reviewed_fields(store, "Anna", until=then)
    assert (len(now.mitoses_xy_px), len(now.lookalikes_xy_px), len(now.unsure_xy_px)) == (0, 2, 1)
    assert earlier.mitoses_xy_px.tolist() == [[5, 6]] and earlier.last_event == then
    assert reviewed_fields(store, "Bert") == []


def test_the_consensus_needs_a_majority(store: Store) -> None:
    one = field(store, 1)
    for reader, verdict in (("Anna", "mitosis"), ("Bert", "mitosis"), ("Cleo", "lookalike")):
        act(store, one, reader, 1, "add", id="m", x=5.0, y=6.0, cls=verdict)
        act(store, one, reader, 2, "state", state="complete")
    (labels,) = reviewed_fields(store)
    assert len(labels.mitoses_xy_px) == 1
    assert len(reviewed_fields(store, "Cleo")[0].lookalikes_xy_px) == 1


# ---- versions


def test_the_champion_follows_from_the_decisions(store: Store) -> None:
    for name in ("v1", "v2"):
        version(store, name)
    assert versions.champion(store, SHIPPED) == SHIPPED
    for name in ("v1", "v2"):
        versions.record_decision(store, "promote", name, by="Anna")
    assert versions.champion(store, SHIPPED) == "v2"
    assert versions.roll_back(store, SHIPPED, by="Bert", note="worse on case 7") == "v1"
    assert versions.roll_back(store, SHIPPED, by="Bert") == versions.champion(store, SHIPPED) == SHIPPED
    with pytest.raises(VersionGone):
        versions.roll_back(store, SHIPPED, by="Bert")
    assert [one.kind for one in versions.decisions(store)] == ["promote", "promote", "roll_back", "roll_back"]


def test_a_promotion_knows_the_roll_back_that_took_it_back(store: Store) -> None:
    def back(name: str) -> str:
        one = versions.rolled_back(versions.decisions(store), name, SHIPPED)
        return one.by if one else ""

    for name in ("v1", "v2", "v1"):  # v1 twice: one roll-back takes it off and leaves the earlier one below
        versions.record_decision(store, "promote", name, by="Anna")
    assert (back("v1"), back("v2"), back("v3")) == ("", "", "")
    versions.roll_back(store, SHIPPED, by="Bert")
    assert (back("v1"), back("v2")) == ("Bert", "")
    versions.roll_back(store, SHIPPED, by="Cleo")
    assert (back("v1"), back("v2")) == ("", "Cleo")  # v1 is active again
    versions.record_decision(store, "promote", "v2", by="Anna")
    assert back("v2") == ""


def test_of_two_who_roll_back_at_once_each_records_what_became_active(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v1", "v2", "v3"):
        versions.record_decision(store, "promote", name, by="Anna")
    before_its_turn(store, monkeypatch, lambda: versions.roll_back(store, SHIPPED, by="Bert"))
    assert versions.roll_back(store, SHIPPED, by="Anna") == versions.champion(store, SHIPPED) == "v1"
    assert [(one.by, one.version) for one in versions.decisions(store)[3:]] == [("Bert", "v2"), ("Anna", "v1")]


def test_of_two_who_roll_back_the_version_that_both_saw_the_second_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("v1", "v2", "v3"):
        versions.record_decision(store, "promote", name, by="Anna")
    before_its_turn(store, monkeypatch, lambda: versions.roll_back(store, SHIPPED, by="Bert", shown="v3"))
    with pytest.raises(ConcentricError, match="it is v2 now, not v3"):
        versions.roll_back(store, SHIPPED, by="Anna", shown="v3")
    assert versions.champion(store, SHIPPED) == "v2"


def test_what_was_deleted_is_not_promoted_and_what_was_promoted_not_deleted(store: Store) -> None:
    version(store, "v1")
    version(store, "v2")
    versions.delete_version(store, "v1", by="Anna")
    with pytest.raises(VersionGone, match="v1 was deleted"):
        versions.record_decision(store, "promote", "v1", by="Bert")
    versions.record_decision(store, "promote", "v2", by="Bert")
    with pytest.raises(UnusableModel, match="v2 is active"):
        versions.delete_version(store, "v2", by="Anna")
    assert versions.weights_path(store, "v2").exists() and versions.champion(store, SHIPPED) == "v2"


def test_of_two_who_store_one_name_the_first_keeps_its_files(store: Store) -> None:
    def put(by: str) -> str:
        try:
            return versions.store_version(store, "v1", by.encode() * 100_000, "{}", by=by).by
        except UnusableModel:
            return ""

    with ThreadPoolExecutor(4) as people:
        (by,) = filter(None, people.map(put, ("Anna", "Bert", "Cleo", "Dora")))
    assert versions.weights_path(store, "v1").read_bytes() == by.encode() * 100_000


def test_the_active_version_cannot_be_rejected(store: Store) -> None:
    version(store, "v1")
    versions.record_decision(store, "promote", "v1", by="Anna")
    with pytest.raises(UnusableModel, match="active version"):
        versions.record_decision(store, "reject", "v1", by="Anna")
    versions.roll_back(store, SHIPPED, by="Anna")
    versions.record_decision(store, "reject", "v1", by="Anna")
    assert [one.kind for one in versions.decisions(store)] == ["promote", "roll_back", "reject"]


@pytest.mark.parametrize("nobody", ["", "  "])
def test_every_decision_has_a_name(store: Store, nobody: str) -> None:
    for name in ("v1", "v2"):
        version(store, name)
    versions.record_decision(store, "promote", "v1", by="Anna")
    for decide in (
        lambda: versions.record_decision(store, "promote", "v2", by=nobody),
        lambda: versions.roll_back(store, SHIPPED, by=nobody),
        lambda: versions.delete_version(store, "v2", by=nobody),
    ):
        with pytest.raises(ConcentricError, match="who you are"):
            decide()
    assert [one.by for one in versions.decisions(store)] == ["Anna"] and len(versions.list_stored(store)) == 2


def test_deleting_keeps_the_history_and_never_the_champion(store: Store) -> None:
    for name in ("v1", "v2"):
        version(store, name)
    versions.record_decision(store, "promote", "v1", by="Anna")
    versions.delete_version(store, "v2", by="Anna")
    assert not versions.weights_path(store, "v2").exists()
    assert [one.name for one in versions.list_stored(store)] == ["v1"]
    assert versions.get_version(store, "v2").deleted_at is not None
    with pytest.raises(UnusableModel, match="active"):
        versions.delete_version(store, "v1", by="Anna")


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 99])
def test_a_name_cannot_lead_out_of_the_folder(store: Store, name: str) -> None:
    with pytest.raises(VersionGone):
        versions.weights_path(store, name)


def test_a_lost_run_that_had_not_begun_waits_again_when_it_speaks(store: Store) -> None:
    run = queued(store)
    runs.start(store, run.id)
    runs.requeue(store, run.id)
    with store.writing() as session:
        session.execute(update(RunRow).values(heartbeat=datetime.now(UTC) - runs.LOST_AFTER - timedelta(seconds=1)))
    assert runs.get_run(store, run.id).state == "lost"
    runs.beat(store, run.id)
    assert runs.get_run(store, run.id).state == "queued"


def test_of_a_version_that_is_refused_nothing_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.store_version(store, "v1", b"weights", "{}", by="Anna")
    with pytest.raises(UnusableModel, match="v1 already"):
        versions.store_version(store, "v1", b"others", "{}", by="Bert")
    assert versions.weights_path(store, "v1").read_bytes() == b"weights"

    def full(*_: object, **__: object) -> None:
        raise StoreFull(FULL)

    monkeypatch.setattr(versions, "_enter", full)
    with pytest.raises(StoreFull):
        versions.store_version(store, "v2", b"weights", "{}", by="Anna")
    assert {file.name for file in (store.folder / "versions").iterdir()} == {"v1.safetensors", "v1.json"}


def test_the_way_back_is_known(store: Store) -> None:
    version(store, "v1")
    assert versions.previous_champion(store, SHIPPED) is None
    versions.record_decision(store, "promote", "v1", by="Anna")
    assert versions.previous_champion(store, SHIPPED) == SHIPPED
