"""The Retrain page: what a run would learn from, how it goes, how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from db import runs, versions
from db.engine import Store
from db.runs import Run
from db.schema import RunRow
from mitosis_core import model
from mitosis_core.model import DEFAULT_VERSION
from pages.shared import store
from pages.shared.service import training
from tests.pages.test_models_page import MADE, damage, errors, labels, open_page, press
from tests.train.finished import ended_run, finished_fields
from train.retrain.config import HEADS_ONLY

RETRAIN = ("Retrain", "Queue another run")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    finished_fields(tmp_path / "data")
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(training, "launch", lambda store, run_id: None)  # no process
    st.cache_resource.clear()
    yield store.the_store()
    st.cache_resource.clear()


def text(page: AppTest) -> str:
    assert not page.exception
    return " ".join(one.value for kind in (page.markdown, page.info, page.warning, page.caption) for one in kind)


def queued(kept: Store) -> Run:
    return training.start(kept, by="Bert", source="", settings={})


def test_an_empty_store_says_what_is_missing_and_offers_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page("retrain")
    assert "at least 2 fields" in page.warning[0].value and "No run yet" in text(page)
    assert not set(labels(page)) & set(RETRAIN)


def test_too_little_is_a_reason_and_no_button(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_fields(tmp_path / "data", fields=2)
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    page = open_page("retrain")
    assert "Only 1 finished field would train" in text(page) and not set(labels(page)) & set(RETRAIN)


def test_the_plan_is_shown_and_a_run_begins(kept: Store) -> None:
    page = open_page("retrain")
    assert "**Trained on:** 2 fields, 6 mitoses, 4 look-alikes" in text(page)
    assert "**Held out for the comparison:** 2 fields, 6 mitoses, 4 look-alikes" in text(page)
    page.number_input("setting-steps").set_value(7).run()
    press(page, "Retrain")
    (run,) = runs.list_runs(kept)
    assert (run.state, run.by, run.settings["steps"], run.base_version) == ("queued", "Anna", 7, DEFAULT_VERSION)
    assert "Queue another run" in labels(page) and "Cancel" in labels(page)


def test_only_the_settings_that_act_for_the_version_are_shown_and_recorded(kept: Store) -> None:
    for file in (Path(model.__file__).parent / "versions").glob("rdlm-lite-1.*"):
        (model._SHIPPED / file.name).symlink_to(file)
    page = open_page("retrain")
    shown = {one.key for one in page.number_input}
    next(one for one in page.selectbox if one.label == "Starts from").set_value("rdlm-lite-1").run()
    gone = shown - {one.key for one in page.number_input}
    assert gone == {f"setting-{name}" for name in HEADS_ONLY} and len(shown) == 20
    press(page, "Retrain")
    (run,) = runs.list_runs(kept)
    assert run.settings.keys() == {name.removeprefix("setting-") for name in shown - gone}


def test_a_run_on_its_way_is_watched_and_cancelled(kept: Store) -> None:
    run = queued(kept)
    runs.start(kept, run.id)
    runs.beat(kept, run.id, {"step": 30, "steps": 300, "seconds_left": 40.0, "curve": [], "stage": "training"})
    page = open_page("retrain")
    assert not page.exception and "Cancel" in labels(page)
    press(page, "Cancel")
    assert runs.get_run(kept, run.id).cancel_asked
    assert "Cancelling" in text(page.run()) and "Cancel" not in labels(page)


def test_a_finished_run_shows_its_proof_and_is_promoted(kept: Store) -> None:
    ended_run(kept)
    page = open_page("retrain")
    assert "seems better" in text(page) and "not conclusive" in text(page) and "newly found: 2" in text(page)
    press(page, f"promote-{MADE}")
    assert training.active(kept) == MADE
    assert next(one for one in page.button if one.key == f"reject-{MADE}").disabled
    assert [(one.kind, one.by) for one in versions.decisions(kept)] == [("promote", "Anna")]
    assert "promoted by Anna" in text(page)
    assert next(one for one in page.selectbox if one.label == "Starts from").value == MADE


def test_a_damaged_version_is_not_promoted_here_either(kept: Store) -> None:
    ended_run(kept)
    damage(kept)
    page = open_page("retrain")
    press(page, f"promote-{MADE}")
    assert "do not match the stored sha256" in errors(page) and training.active(kept) == DEFAULT_VERSION


@pytest.mark.parametrize(("state", "said"), [("failed", "no room on Mars"), ("cancelled", "cancelled"), ("lost", "")])
def test_a_run_that_ended_badly_says_why_and_can_go_on(kept: Store, state: str, said: str) -> None:
    run = queued(kept)
    runs.start(kept, run.id)
    if state == "lost":
        with kept.writing() as session:
            session.execute(update(RunRow).values(heartbeat=datetime.now(UTC) - timedelta(minutes=5)))
    else:
        runs.end(kept, run.id, state, message=said)
    page = open_page("retrain")
    assert said in text(page) and "active version is as it was" in text(page)
    assert "Resume from the last checkpoint" not in labels(page)  # there is none
    press(page, "Start it again")
    assert runs.get_run(kept, run.id).state == "queued"


def test_a_run_with_a_checkpoint_goes_on_from_it(kept: Store) -> None:
    run = queued(kept)
    runs.end(kept, run.id, "failed", message="no room on Mars")
    folder = kept.folder / "runs" / str(run.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.pt").write_bytes(b"")
    press(open_page("retrain"), "Resume from the last checkpoint")
    assert runs.get_run(kept, run.id).state == "queued"


def split(page: AppTest) -> AppTest:
    return next(one for one in page.multiselect if one.label == "Held out of the other cases")


def test_the_split_is_proposed_changed_and_fixed_by_the_run_that_is_judged_on_it(kept: Store) -> None:
    page = open_page("retrain")
    assert split(page).value == ["case 1"] and not any(one.decided for one in training.case_splits(kept, ""))
    split(page).set_value(["case 0"]).run()
    assert "**Trained on:** 2 fields" in text(page) and split(page).value == ["case 0"]
    assert [(one.case, one.held_out, one.decided) for one in training.case_splits(kept, "")] == [
        ("case 0", True, True), ("case 1", False, True)]  # fmt: skip
    assert "Only 2 fields with 6 mitoses will judge" in text(page)
    press(page, "Retrain")
    page = open_page("retrain")
    assert not page.multiselect and "versions were judged on them: case 0" in text(page).replace("\\", "")


def test_nobody_decides_or_trains_without_a_name(kept: Store) -> None:
    ended_run(kept)
    page = AppTest.from_file("../../pages/retrain.py", default_timeout=60).run()
    press(page, f"promote-{MADE}")
    assert "say who you are" in errors(page) and versions.decisions(kept) == []
    press(page, "Retrain")
    assert "say who you are" in errors(page) and len(runs.list_runs(kept)) == 1


def test_a_version_that_was_deleted_is_remembered_by_its_run(kept: Store) -> None:
    ended_run(kept)
    versions.delete_version(kept, MADE, by="Anna")
    assert "was deleted" in text(open_page("retrain"))
