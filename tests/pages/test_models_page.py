"""The Models page, and what the pages do when a version's file was damaged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from db import versions
from db.engine import Store
from mitosis_core.model import DEFAULT_VERSION, load_model, save_model
from pages.shared import session, store
from pages.shared.service import training
from tests.pages.test_packing import REFUSED, version
from tests.train.finished import ended_run, finished_fields


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with finished fields and a version that a run has made."""
    finished_fields(tmp_path / "data", fields=2)
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    one = store.the_store()
    ended_run(one)
    yield one
    st.cache_resource.clear()


MADE = f"{DEFAULT_VERSION}-r1"


def open_page(name: str = "models") -> AppTest:
    page = AppTest.from_file(f"../../pages/{name}.py", default_timeout=60)
    page.session_state[session.READER] = "Anna"
    return page.run()


def press(page: AppTest, key: str) -> AppTest:
    next(one for one in page.button if key in (one.key, one.label)).click().run()
    assert not page.exception
    return page


def labels(page: AppTest) -> list[str]:
    return [one.label for one in page.button]


def errors(page: AppTest) -> str:
    return " ".join(one.value for one in page.error)


def overview(page: AppTest) -> dict[str, dict[str, object]]:
    assert not page.exception
    return {row["version"]: row for row in page.dataframe[0].value.to_dict("records")}


def damage(kept: Store, name: str = MADE) -> None:
    path = versions.weights_path(kept, name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_an_empty_store_shows_the_shipped_version_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page()
    assert list(overview(page)) == [DEFAULT_VERSION] and overview(page)[DEFAULT_VERSION]["active"] == "★"
    assert json.loads(page.json[0].value)["version"] == DEFAULT_VERSION
    assert labels(page) == ["Import"]  # nothing to roll back to, to promote or to delete


@pytest.mark.parametrize("wrong", ['"data": []', '"parent": {}', '"data": {"fields": 1e999}', '"weights_sha256": ""'])
def test_a_stored_card_that_cannot_be_is_told_and_the_page_goes_on(kept: Store, wrong: str) -> None:
    card = versions.weights_path(kept, MADE).with_suffix(".json")
    card.write_text(card.read_text().rstrip().removesuffix("}") + f", {wrong}}}")  # the last of two entries counts
    load_model.cache_clear()
    page = open_page()
    assert overview(page)[MADE]["state"] == "damaged" and overview(page)[DEFAULT_VERSION]["state"] == ""
    page.selectbox[0].set_value(MADE).run()
    assert not page.exception and "card cannot be understood" in errors(page)
    assert "Delete this version" in labels(page)
    for name in ("detect", "retrain", "compare"):
        assert not open_page(name).exception


def test_a_version_shows_where_it_comes_from_and_its_proof(kept: Store) -> None:
    page = open_page()
    row = overview(page)[MADE]
    assert (row["parent"], row["run"], row["by"]) == (DEFAULT_VERSION, 1, "Anna")
    assert row["F1 on held-out fields"] == 1.0
    page.selectbox[0].set_value(MADE).run()
    assert f"{MADE} seems better".replace("-", r"\-") in " ".join(one.value for one in page.markdown)
    assert json.loads(page.json[0].value)["parent"] == DEFAULT_VERSION


def test_promote_reject_and_roll_back_are_recorded(kept: Store) -> None:
    page = open_page()
    page.selectbox[0].set_value(MADE).run()
    page.text_input(f"note-{MADE}").set_value("better on case 1").run()
    press(page, f"promote-{MADE}")
    assert training.active(kept) == MADE and overview(page)[MADE]["active"] == "★"
    assert page.button(f"promote-{MADE}").disabled
    press(page, "roll-back")
    assert training.active(kept) == DEFAULT_VERSION and "roll-back" not in [one.key for one in page.button]
    page.selectbox[0].set_value(MADE).run()
    press(page, f"reject-{MADE}")
    said = [(one.kind, one.version, one.by, one.note) for one in versions.decisions(kept)]
    assert said == [
        ("promote", MADE, "Anna", "better on case 1"),
        ("roll_back", DEFAULT_VERSION, "Anna", ""),
        ("reject", MADE, "Anna", ""),
    ]
    shown = next(one.value for one in page.dataframe if "what" in one.value)
    assert shown["what"].tolist() == ["reject", "roll_back", "promote"]


def test_deleting_keeps_the_history_and_never_the_active_version(kept: Store) -> None:
    versions.record_decision(kept, "promote", MADE, by="Anna")
    page = open_page()
    page.selectbox[0].set_value(MADE).run()
    press(page, "Delete this version")
    assert "active" in errors(page) and versions.weights_path(kept, MADE).exists()
    versions.roll_back(kept, DEFAULT_VERSION, by="Anna")
    page = open_page()
    page.selectbox[0].set_value(MADE).run()
    press(page, "Delete this version")
    row = overview(page)[MADE]
    assert (row["state"], row["parent"], row["F1 on held-out fields"]) == ("deleted", DEFAULT_VERSION, 1.0)
    assert MADE not in page.selectbox[0].options and not versions.weights_path(kept, MADE).exists()
    assert [one.kind for one in versions.decisions(kept)] == ["promote", "roll_back", "delete"]


def test_a_version_is_taken_in_or_refused_in_a_sentence(kept: Store) -> None:
    page = open_page()
    page.file_uploader[0].upload("theirs.zip", version(), "application/zip")
    press(page, "Import")
    assert "Imported theirs" in page.success[0].value
    assert "theirs" in overview(page.run())
    page.file_uploader[0].upload("x.zip", REFUSED["a zip with a pickle"], "application/zip")
    press(page, "Import")
    assert "nothing else" in errors(page) and set(overview(page)) == {DEFAULT_VERSION, MADE, "theirs"}


# ---- a damaged file


def test_a_damaged_version_is_not_promoted(kept: Store) -> None:
    page = open_page()
    page.selectbox[0].set_value(MADE).run()
    damage(kept)  # after the page was shown
    press(page, f"promote-{MADE}")
    assert "do not match the stored sha256" in errors(page)
    assert training.active(kept) == DEFAULT_VERSION and versions.decisions(kept) == []


def test_a_damaged_version_can_be_rejected_and_deleted(kept: Store) -> None:
    damage(kept)
    page = open_page()
    assert overview(page)[MADE]["state"] == "damaged"
    page.selectbox[0].set_value(MADE).run()
    press(page, f"reject-{MADE}")
    press(page, "Delete this version")
    assert overview(page)[MADE]["state"] == "deleted"


def test_swapped_weights_are_not_used(kept: Store) -> None:
    """A whole version, weights and card agreeing, in the place of the one that was entered."""
    model = versions.load_version(kept, MADE)
    net = model.net()
    next(net.parameters()).data.zero_()
    save_model(net, model.card, versions.weights_path(kept, MADE))
    assert "do not match the stored sha256" in training.damage(kept, MADE)


def test_a_card_that_does_not_fit_its_weights_is_a_sentence_on_the_page(kept: Store) -> None:
    card = versions.weights_path(kept, MADE).with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), "stride": 8}))
    load_model.cache_clear()
    versions.record_decision(kept, "promote", MADE, by="Anna")
    detect = AppTest.from_file("../../pages/detect.py", default_timeout=60)
    detect.session_state[session.SAMPLE] = True
    detect.run()
    assert not detect.exception and "answers every 4 pixels, not every 8" in errors(detect)


def test_when_the_champion_itself_is_damaged_there_is_a_way_on(kept: Store) -> None:
    versions.record_decision(kept, "promote", MADE, by="Anna")
    damage(kept)
    detect = AppTest.from_file("../../pages/detect.py", default_timeout=60)
    detect.session_state[session.SAMPLE] = True
    detect.run()
    assert not detect.exception and "roll back" in errors(detect) and not detect.get("bidi_component")
    detect.selectbox(session.VERSION).set_value(DEFAULT_VERSION).run()  # one way: another version
    assert not detect.exception and not detect.error and detect.get("bidi_component")
    for name in ("review", "retrain", "about"):  # a sentence at most
        assert not open_page(name).exception
    page = open_page()
    assert overview(page)[MADE]["state"] == "damaged" and "do not match the stored sha256" in errors(page)
    press(page, "roll-back")  # the other
    assert training.active(kept) == DEFAULT_VERSION
    again = AppTest.from_file("../../pages/detect.py", default_timeout=60)
    again.session_state[session.SAMPLE] = True
    assert not again.run().error and again.get("bidi_component")
