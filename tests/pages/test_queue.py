"""The queue of the Review page: what would teach most comes first, and a button makes the orders mean something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event

from db.assignments import assign
from db.engine import Store, open_store
from db.fields import StoredField, add_field, appearances, image_path, list_fields, save_appearances
from db.predictions import save_prediction, versions_by_field
from db.reviews import apply_ops, parse_op
from db.splits import case_of
from mitosis_core.types import Detections, Field, Prediction
from pages.shared import session
from pages.shared import store as store_module
from pages.shared.service import detecting, reviewing
from pages.shared.service.detecting import PredictionCache
from tests.db.conftest import sent
from tests.pages.fakes import STORABLE, FakeDetector, FakeModel, drawn
from tests.pages.test_review_page import open_page


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Four fields: two alike, one a little paler, one very pale."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    one = store_module.the_store()
    for number, strength in enumerate((1.0, 1.0, 0.8, 0.4)):
        add_field(one, tissue(number, strength))
    return one


def tissue(seed: int, strength: float) -> Field:
    dark = np.random.default_rng(seed).integers(60, 200, (100, 100, 3)) * strength
    return Field((255 - dark).astype(np.uint8), 0.25, f"f{seed}.png")


def found(store: Store, field: StoredField, version: str, detections: int) -> None:
    xy = np.array([[40.0 * n, 10.0] for n in range(detections)]).reshape(-1, 2)
    ones = np.ones(detections)
    save_prediction(store, field.id, Prediction(Detections(xy, ones, ones), 0.5, version, 1.0, 0.1))


def finish(store: Store, field: StoredField, reader: str = "Bert") -> None:
    apply_ops(store, field.id, reader, [parse_op(sent(field.id, "state", state="complete"))])


def names(entries: list[reviewing.QueueEntry]) -> list[str]:
    return [entry.field.name for entry in entries]


def test_the_fields_on_which_versions_disagree_come_first_and_the_unknown_last(store: Store) -> None:
    fields = list_fields(store)
    for field, old, new in zip(fields[1:], (1, 0, 2), (1, 2, 1), strict=True):
        found(store, field, "old", old)
        found(store, field, "new", new)
    found(store, fields[0], "new", 2)  # only one version has looked
    entries = reviewing.queue(store, "Anna", "new", order="disagreement")
    assert names(entries) == ["f2.png", "f3.png", "f1.png", "f0.png"]
    rows = reviewing.table(entries, "disagreement")
    assert [row["disagreement"] for row in rows] == [2, 1, 0, None] and rows[0]["compared with"] == "old"


def test_the_least_like_a_reviewed_field_come_first(store: Store) -> None:
    assert all(entry.order_value is None for entry in reviewing.queue(store, "Anna", "v", order="novelty"))
    reviewing.store_appearances(store)
    first, _, _, pale = list_fields(store)
    finish(store, first)
    entries = reviewing.queue(store, "Anna", "v", order="novelty")
    assert names(entries) == ["f3.png", "f2.png", "f1.png", "f0.png"]
    assert entries[-1].order_value == reviewing.OrderValue(0.0)
    finish(store, pale)  # now the paler one is the least like any
    assert names(reviewing.queue(store, "Anna", "v", order="novelty"))[0] == "f2.png"


def test_the_next_field_is_the_next_one_down_or_the_first_of_a_changed_order(store: Store) -> None:
    finish(store, list_fields(store)[0], "Anna")
    entries = reviewing.queue(store, "Anna", "v")
    assert reviewing.next_open(entries, 3) == 4 and reviewing.next_open(entries, 4) == 2
    assert reviewing.next_open(entries, 3, from_top=True) == 2 == reviewing.next_open(entries, 1, from_top=True)
    assert reviewing.next_open(entries, 2, from_top=True) == 3


def test_fields_are_described_once_when_kept_or_when_asked_for(
    store: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [detecting.Analysis("drawn", drawn(STORABLE).field)]
    answers = detecting.analyse(files, FakeModel(), PredictionCache())  # type: ignore[arg-type]
    (kept,), _ = reviewing.store_for_review(store, answers, case="", keep_names=True)
    assert set(appearances(store)) == {kept.id}
    image_path(store, list_fields(store)[0].digest).write_bytes(b"damaged")
    seen: list[str] = []
    reviewing.store_appearances(store, lambda share, name: seen.append(name))
    reviewing.store_appearances(store, lambda share, name: seen.append(name))
    assert seen == ["f0.png", "f1.png", "f2.png", "f3.png"] and appearances(store)[1] == ()


def test_who_has_to_look_so_that_an_order_is_known(store: Store) -> None:
    fields = list_fields(store)
    found(store, fields[0], "new", 1)
    found(store, fields[1], "other", 1)
    entries = reviewing.queue(store, "Anna", "new")
    assert [one.id for one, _ in reviewing.not_analysed(store, entries, "new")] == [2, 3, 4]
    asked = [(one.id, name) for one, name in reviewing.not_analysed(store, entries, "new", "old")]
    assert asked == [(2, "new"), (3, "new"), (4, "new"), (1, "old"), (3, "old"), (4, "old")]


def test_a_field_that_cannot_be_looked_at_does_not_stop_the_others(store: Store, detector: FakeDetector) -> None:
    entries = reviewing.queue(store, "Anna", "fake-1")
    image_path(store, entries[0].field.digest).write_bytes(b"damaged")
    detector.breaks_on = "f1.png"
    shares: list[float] = []
    problems = reviewing.analyse_fields(
        store,
        reviewing.not_analysed(store, entries, "fake-1"),
        FakeModel,
        PredictionCache(),  # type: ignore[arg-type]
        lambda share, name: shares.append(share),
    )
    assert [problem.split(":")[0] for problem in problems] == ["f0.png", "f1.png"]
    assert set(versions_by_field(store)) == {3, 4}
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


def test_the_page_orders_by_disagreement_once_the_versions_have_looked(
    store: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detecting, "list_versions", lambda: ["fake-1", "fake-2"])
    monkeypatch.setattr(detecting, "load_model", FakeModel)
    last = list_fields(store)[-1]
    found(store, last, "old", 3)  # fake-1 will find one detection in every field, the same one as fake-2
    page = open_page("Anna")
    page.selectbox(session.ORDER).set_value("disagreement").run()
    page.button("analyse-all").click().run()
    assert not page.exception and not [one for one in page.button if one.key == "analyse-all"]
    table = page.dataframe[0].value
    assert table["field"].tolist()[0] == last.name and table["compared with"].tolist() == ["old", *["fake-2"] * 3]
    assert table["disagreement"].tolist()[1:] == [0, 0, 0] and table["disagreement"][0] > 0
    assert page.selectbox(session.FIELD_ID).options[0].split()[1] == last.name


def test_the_page_says_what_novelty_waits_for(store: Store, detector: FakeDetector) -> None:
    page = open_page("Anna")
    page.selectbox(session.ORDER).set_value("novelty").run()
    assert not page.exception and any("No field is finished yet" in one.value for one in page.caption)
    assert len(appearances(store)) == 4
    finish(store, list_fields(store)[0])
    table = page.run().dataframe[0].value
    assert table["field"].tolist()[0] == "f3.png" and table["novelty"].tolist()[-1] == 0
    page.selectbox(session.ORDER).set_value("added").run()
    assert page.selectbox(session.FIELD_ID).value == 1
    page.selectbox(session.ORDER).set_value("novelty").run()  # another order begins with its first field
    assert page.selectbox(session.FIELD_ID).value == 4


@pytest.mark.parametrize("order", ["uncertainty", "disagreement", "novelty"])
def test_an_order_asks_the_database_as_often_for_many_fields_as_for_few(tmp_path: Path, order: str) -> None:
    assert queries(many(tmp_path / "few", 4), order) == queries(many(tmp_path / "many", 60), order)


def queries(store: Store, order: str) -> int:
    """How often the database is asked while the queue is made."""
    asked: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert all(entry.order_value for entry in reviewing.queue(store, "Anna", "v0", order=order))
    return len(asked)


def many(folder: Path, number: int) -> Store:
    """Fields that two versions have looked at and one reader has finished in part."""
    store = open_store(folder)
    for seed in range(number):
        field = add_field(store, Field(np.full((16, 16, 3), seed, np.uint8), 0.25, f"f{seed}.png"))[0]
        for version in ("v0", "v1"):
            found(store, field, version, 3)
    save_appearances(store, {field.id: (field.id / number, 0.0) for field in list_fields(store)})
    finish(store, list_fields(store)[0])
    return store


def test_the_fields_that_a_reader_was_asked_for_come_first_and_can_stand_alone(store: Store) -> None:
    fields = list_fields(store)
    assign(store, [fields[3].id, fields[1].id], "Anna", by="Bert")
    assert names(reviewing.queue(store, "Anna", "v")) == ["f1.png", "f3.png", "f0.png", "f2.png"]
    assert names(reviewing.queue(store, "Anna", "v", only_asked=True)) == ["f1.png", "f3.png"]
    assert names(reviewing.queue(store, "Bert", "v")) == ["f0.png", "f1.png", "f2.png", "f3.png"]
    found(store, fields[3], "v", 1)
    found(store, fields[3], "w", 3)
    ordered = reviewing.queue(store, "Anna", "v", order="disagreement")
    assert names(ordered)[:2] == ["f3.png", "f1.png"]  # the order holds among them
    assert [row["asked of you"] for row in reviewing.table(ordered)] == ["yes", "yes", "", ""]
    assert "asked of you" not in reviewing.table(reviewing.queue(store, "Bert", "v"))[0]


def test_the_next_case_is_one_that_the_reader_was_asked_for(store: Store) -> None:
    fields = list_fields(store)
    assign(store, [fields[3].id], "Anna", by="Bert")
    following = [reviewing.next_case(store, reader, case_of(fields[0])) for reader in ("Anna", "Bert")]
    assert [one and one.id for one in following] == [fields[3].id, fields[1].id]


def test_the_page_shows_only_what_was_asked_for_while_the_switch_is_on(store: Store, detector: FakeDetector) -> None:
    fields = list_fields(store)
    assign(store, [fields[2].id], "Anna", by="Bert")
    page = open_page("Anna")
    (switch,) = [one for one in page.toggle if one.key == session.ONLY_ASKED]
    assert page.session_state[session.FIELD_ID] == fields[2].id
    switch.set_value(True).run()
    assert not page.exception and [len(one.options) for one in page.selectbox if one.label == "Field"] == [1]
    assert not [one for one in open_page("Bert").toggle if one.key == session.ONLY_ASKED]
