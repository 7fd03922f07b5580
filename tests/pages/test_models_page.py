"""The Models page, and what the pages do when a version's file was damaged."""

from __future__ import annotations

import json
import re
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


def keys(page: AppTest) -> set[str]:
    return {one.key or "" for one in page.button}


def errors(page: AppTest) -> str:
    return " ".join(one.value for one in page.error)


def page_text(page: AppTest) -> str:
    """All that a page says, its own HTML too."""
    assert not page.exception
    kinds = (page.markdown, page.info, page.warning, page.caption, page.error)
    return " ".join([*(one.value for kind in kinds for one in kind), *html(page)])


def html(page: AppTest) -> list[str]:
    return [one.proto.body for one in page.get("html")]


def heads(page: AppTest) -> list[str]:
    """The head of every card: title and role."""
    assert not page.exception
    return [re.sub(r"<[^>]+>", " ", body).strip() for body in html(page) if body.startswith('<div class="roles">')]


def damage(kept: Store, name: str = MADE) -> None:
    path = versions.weights_path(kept, name)
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_an_empty_store_shows_the_shipped_version_and_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page()
    assert len(heads(page)) == 1 and DEFAULT_VERSION in heads(page)[0] and "active" in heads(page)[0]
    assert json.loads(page.json[0].value)["version"] == DEFAULT_VERSION
    assert "SegMitos, two networks" in page_text(page) and "Mitoses found" in page_text(page)
    # Nothing to roll back to, to promote, to reject or to delete.
    assert not {"Roll back", "Promote", "Reject", "Delete"} & set(labels(page))


@pytest.mark.parametrize("wrong", ['"data": []', '"parent": {}', '"data": {"fields": 1e999}', '"weights_sha256": ""'])
def test_a_stored_card_that_cannot_be_is_told_and_the_page_goes_on(kept: Store, wrong: str) -> None:
    card = versions.weights_path(kept, MADE).with_suffix(".json")
    card.write_text(card.read_text().rstrip().removesuffix("}") + f", {wrong}}}")  # the last of two entries counts
    load_model.cache_clear()
    page = open_page()
    assert len(page.error) == 1 and "card cannot be understood" in errors(page)
    assert f"delete-{MADE}" in keys(page) and f"promote-{MADE}" not in keys(page)
    for name in ("detect", "retrain", "compare"):
        assert not open_page(name).exception


def test_a_version_shows_what_it_is_where_it_comes_from_and_its_proof(kept: Store) -> None:
    page = open_page()
    assert [" ".join(head.split()) for head in heads(page)] == [f"{DEFAULT_VERSION} active", f"{MADE} challenger"]
    text = page_text(page).replace("\\", "")
    assert f"Trained from {DEFAULT_VERSION}" in text and "run 1 by Anna" in text
    assert "Finds 2 of 2 mitoses with 0 false, on 1 field of 1 case held out here" in text
    assert json.loads(page.json[1].value)["parent"] == DEFAULT_VERSION
    (lineage,) = (body for body in html(page) if 'class="lineage"' in body)
    assert lineage.index(DEFAULT_VERSION) < lineage.index(MADE) and lineage.count("elbow") == 1


def test_promote_and_roll_back_are_asked_once_and_recorded_with_a_name(kept: Store) -> None:
    page = press(open_page(), f"promote-{MADE}")
    assert versions.decisions(kept) == []  # it asks first
    page.text_input(f"promote-{MADE}-note").set_value("better on case 1")
    press(page, f"promote-{MADE}-now")
    assert training.active(kept) == MADE and heads(page.run())[0].startswith(MADE)
    press(page, "roll-back")
    press(page, "roll-back-now")
    assert training.active(kept) == DEFAULT_VERSION and "roll-back" not in keys(page.run())
    said = [(one.kind, one.version, one.by, one.note) for one in versions.decisions(kept)]
    assert said == [("promote", MADE, "Anna", "better on case 1"), ("roll_back", DEFAULT_VERSION, "Anna", "")]
    shown = next(one.value for one in page.dataframe if "what" in one.value)
    assert shown["what"].tolist() == ["rolled back to", "promoted"]


def test_a_roll_back_of_a_version_that_another_rolled_back_meanwhile_is_refused(kept: Store) -> None:
    versions.store_version(kept, "second", b"x", "{}", by="Anna")
    for name in ("second", MADE):
        versions.record_decision(kept, "promote", name, by="Anna")
    page = press(open_page(), "roll-back")
    versions.roll_back(kept, DEFAULT_VERSION, by="Bert")  # while the question is read
    press(page, "roll-back-now")
    assert training.active(kept) == "second" and "nothing was done" in errors(page)
    press(page, "roll-back-now")  # of what is shown now
    assert training.active(kept) == DEFAULT_VERSION


def test_a_roll_back_by_nobody_is_refused(kept: Store) -> None:
    versions.record_decision(kept, "promote", MADE, by="Anna")
    page = AppTest.from_file("../../pages/models.py", default_timeout=60).run()
    press(page, "roll-back")
    press(page, "roll-back-now")
    assert "say who you are" in errors(page) and training.active(kept) == MADE


def test_a_name_given_on_one_page_signs_a_roll_back_on_another_tomorrow(kept: Store) -> None:
    """Roll-backs were once logged by "somebody", since a name was lost with its page."""
    versions.record_decision(kept, "promote", MADE, by="Anna")
    before = AppTest.from_file("../../pages/retrain.py", default_timeout=60).run()
    before.selectbox(session.PAGE_READER).options.append("Bert")  # AppTest knows no new options
    before.selectbox(session.PAGE_READER).select("Bert").run()
    page = AppTest.from_file("../../pages/models.py", default_timeout=60).run()  # another session
    press(page, "roll-back")
    press(page, "roll-back-now")
    assert versions.decisions(kept)[-1].by == "Bert" and training.active(kept) == DEFAULT_VERSION


def test_only_what_makes_sense_is_offered(kept: Store) -> None:
    assert {f"promote-{MADE}", f"reject-{MADE}", f"delete-{MADE}"} <= keys(open_page())
    versions.record_decision(kept, "promote", MADE, by="Anna")
    active = keys(open_page())
    assert "roll-back" in active and not {f"promote-{MADE}", f"reject-{MADE}", f"delete-{MADE}"} & active


def test_deleting_is_asked_once_and_keeps_the_history(kept: Store) -> None:
    page = press(open_page(), f"delete-{MADE}")
    assert versions.weights_path(kept, MADE).exists()
    press(page, f"delete-{MADE}-now")
    assert len(heads(page.run())) == 1 and not versions.weights_path(kept, MADE).exists()
    assert [one.name for one in versions.list_stored(kept, deleted=True)] == [MADE]
    assert [one.kind for one in versions.decisions(kept)] == ["delete"]


def test_a_version_is_given_a_name_and_a_note(kept: Store) -> None:
    page = open_page()
    for label, value in (("Name", "Breast"), ("Note", "hot stain")):
        next(one for one in page.text_input if one.label == label and MADE in one.form_id).set_value(value)
    next(one for one in page.button if one.label == "Save name and note" and MADE in one.form_id).click().run()
    page.run()
    assert heads(page)[1].startswith("Breast") and MADE in heads(page)[1] and "hot stain" in page_text(page)


def test_two_to_four_cards_are_compared(kept: Store) -> None:
    page = open_page()
    assert next(one for one in page.button if one.key == "compare").disabled
    for name in (DEFAULT_VERSION, MADE):
        page.checkbox(f"compare-{name}").check()
    assert not next(one for one in page.run().button if one.key == "compare").disabled


def test_more_than_four_chosen_cards_are_told(kept: Store) -> None:
    for number in range(3):
        training.import_version(kept, version(f"v{number}"), by="Anna")
    page = open_page()
    assert "Choose two to four versions" in page_text(page)
    for one in page.checkbox:
        if (one.key or "").startswith("compare-"):
            one.check()
    assert "5 are chosen; at most four" in page_text(page.run())


def test_a_version_is_taken_in_or_refused_in_a_sentence(kept: Store) -> None:
    page = open_page()
    page.file_uploader[0].upload("theirs.zip", version(), "application/zip")
    press(page, "Import")
    assert "Imported theirs" in page.success[0].value
    assert any("theirs" in head and "imported" in head for head in heads(page.run()))
    page.file_uploader[0].upload("x.zip", REFUSED["a zip with a pickle"], "application/zip")
    press(page, "Import")
    assert "nothing else" in errors(page) and len(heads(page)) == 3


# ---- a damaged file


def test_a_damaged_version_is_not_promoted(kept: Store) -> None:
    page = press(open_page(), f"promote-{MADE}")
    damage(kept)  # after the page was shown
    press(page, f"promote-{MADE}-now")
    assert "do not match the stored sha256" in errors(page)
    assert training.active(kept) == DEFAULT_VERSION and versions.decisions(kept) == []


def test_a_damaged_version_can_be_rejected_and_deleted(kept: Store) -> None:
    damage(kept)
    page = open_page()
    assert "do not match the stored sha256" in errors(page)
    press(page, f"reject-{MADE}")
    press(page, f"delete-{MADE}")
    press(page, f"delete-{MADE}-now")
    assert len(heads(page.run())) == 1


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
    assert "do not match the stored sha256" in errors(page)
    press(page, "roll-back")  # the other
    press(page, "roll-back-now")
    assert training.active(kept) == DEFAULT_VERSION
    again = AppTest.from_file("../../pages/detect.py", default_timeout=60)
    again.session_state[session.SAMPLE] = True
    assert not again.run().error and again.get("bidi_component")
