"""Names and notes of versions."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from db.engine import Store
from db.version_labels import label_version, version_labels
from db.versions import store_version
from mitosis_core.errors import ConcentricError
from mitosis_core.model import DEFAULT_VERSION
from tests.db.conftest import before_its_turn


def test_the_latest_name_and_note_count_and_nothing_said_is_lost(store: Store) -> None:
    label_version(store, "v-r1", name="  Breast,\n spring ", note="hot stain", by="Ann")
    label_version(store, "v-r1", name="Breast, spring", note="", by="Bob")
    one = version_labels(store)["v-r1"]
    assert (one.name, one.note, one.by) == ("Breast, spring", "", "Bob")
    with store.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM version_label")) == 2
    with pytest.raises(IntegrityError), store.writing() as session:
        session.execute(text("UPDATE version_label SET note = 'x'"))


@pytest.mark.parametrize(("name", "note", "by"), [("n" * 61, "", "Ann"), ("n", "x" * 501, "Ann"), ("n", "", " ")])
def test_a_label_that_cannot_be_is_a_sentence(store: Store, name: str, note: str, by: str) -> None:
    with pytest.raises(ConcentricError):
        label_version(store, "v", name=name, note=note, by=by)
    assert version_labels(store) == {}


def test_two_versions_never_have_one_name(store: Store) -> None:
    label_version(store, "v", name="Spring", note="", by="Ann")
    with pytest.raises(ConcentricError, match="Another version is called Spring"):
        label_version(store, "w", name="Spring", note="", by="Ann")
    label_version(store, "v", name="Spring", note="again", by="Ann")


@pytest.mark.parametrize("name", ["v-r1", DEFAULT_VERSION])
def test_no_version_is_called_by_the_own_name_of_another(store: Store, name: str) -> None:
    store_version(store, "v-r1", b"x", "{}", by="Ann")
    with pytest.raises(ConcentricError, match=f"Another version is called {name}"):
        label_version(store, "w", name=name, note="", by="Ann")
    label_version(store, name, name=name, note="its own", by="Ann")


def test_of_two_who_give_one_name_at_once_the_second_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before_its_turn(store, monkeypatch, lambda: label_version(store, "v", name="Spring", note="", by="Ann"))
    with pytest.raises(ConcentricError, match="Another version is called Spring"):
        label_version(store, "w", name="Spring", note="", by="Bob")
    assert list(version_labels(store)) == ["v"]
