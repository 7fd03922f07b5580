"""The Retrain page: what a run would learn from, how it goes, how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from db import runs, versions
from db.engine import Store, open_store
from db.fields import delete_field
from db.labels import label_readers, reviewed_fields
from db.runs import Run
from db.schema import Base, RunRow
from mitosis_core import model
from mitosis_core.model import DEFAULT_VERSION, load_model
from pages.shared import session, store
from pages.shared.service import run_answer, training
from tests.db.drawn_case import add_case, read
from tests.pages.test_models_page import MADE, damage, errors, labels, open_page, press
from tests.train.finished import ended_run, finished_fields
from train.retrain.config import HEADS_ONLY, RetrainConfig
from train.retrain.estimate import kind_of, work_of

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


def grids(page: AppTest) -> list[list[dict[str, Any]]]:
    """The pictures of each grid of small pictures on the page."""
    known = [json.loads(one.proto.json) for one in page.get("bidi_component")]
    return [one["pictures"] for one in known if "pictures" in one]


def queued(kept: Store) -> Run:
    return training.start(kept, by="Bert", source="", settings={})


def test_labels_are_offered_of_the_readers_who_have_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = open_store(tmp_path / "data")
    first, second = add_case(kept, "A", 2)
    monkeypatch.setattr("db.labels.is_sample", lambda digest, *size: digest == second.digest)
    known = {"Ann": (first, "complete"), "Bert": (first, ""), "Cleo": (first, "excluded"), "Dora": (second, "complete")}
    for reader, (field, state) in known.items():
        read(kept, field, reader, [(100, 100)], state=state)
    read(kept, second, "Ann", [])
    assert label_readers(kept) == [name for name in known if reviewed_fields(kept, name)] == ["Ann"]


def test_an_empty_store_says_what_is_missing_and_offers_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page("retrain")
    assert "at least 2 fields of one case" in text(page)
    assert labels(page) == ["Review fields"]  # what leads on


def test_too_little_is_a_reason_and_no_button(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_fields(tmp_path / "data", fields=2)
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    page = open_page("retrain")
    assert "Only 1 finished field would train" in text(page) and not set(labels(page)) & set(RETRAIN)


def test_what_is_learnt_from_and_judged_on_is_shown_and_a_run_begins(kept: Store) -> None:
    page = open_page("retrain")
    assert "**Learns from** · 2 fields, 6 mitoses, 4 look-alikes" in text(page)
    assert "**Judged on** · 2 fields, 6 mitoses, 4 look-alikes" in text(page)
    sides = grids(page)
    assert [[one["badge"] for one in side] for side in sides] == [["3", "3"], ["3", "3"]]
    assert all("-small.jpg" in one["shots"][0]["url"] for side in sides for one in side)
    page.number_input("setting-steps").set_value(7).run()
    press(page, "Retrain")
    (run,) = runs.list_runs(kept)
    assert (run.state, run.by, run.settings["steps"], run.base_version) == ("queued", "Anna", 7, DEFAULT_VERSION)
    assert "Queue another run" in labels(page) and "Cancel" in labels(page)


def test_a_setting_that_cannot_be_is_a_sentence(kept: Store) -> None:
    page = open_page("retrain")
    assert page.number_input("setting-crop_px").increment().run().number_input("setting-crop_px").value == 128
    page.number_input("setting-crop_px").set_value(97).run()
    assert not page.exception and not set(labels(page)) & set(RETRAIN)
    assert "crop px must be a multiple of 32, not 97" in page.error[0].value


def test_the_run_on_show_stays_on_show_when_it_ends(kept: Store) -> None:
    """A box whose words change falls back on its first choice: a click meant for one run would meet another."""
    first, _ = queued(kept), queued(kept)
    page = open_page("retrain")
    box = next(one for one in page.selectbox if one.label == "Run")
    named = box.options
    box.set_value(first.id).run()
    runs.end(kept, first.id, "cancelled")
    box = next(one for one in page.run().selectbox if one.label == "Run")
    assert box.value == first.id and box.options == named


def test_a_visit_writes_nothing(kept: Store) -> None:
    """A visit of the page, and nothing else, once fixed the hold-out for good."""
    ended_run(kept)

    def rows() -> dict[str, list[object]]:
        with kept.reading() as session:
            return {table.name: list(session.execute(table.select()).all()) for table in Base.metadata.sorted_tables}

    before = rows()
    for _ in range(2):
        open_page("retrain")
    assert rows() == before


def test_only_the_settings_that_act_for_the_version_are_shown_and_recorded(kept: Store) -> None:
    for file in (Path(model.__file__).parent / "versions").glob("rdlm-lite-1.*"):
        (model._SHIPPED / file.name).symlink_to(file)
    page = open_page("retrain")
    shown = {one.key for one in page.number_input}
    next(one for one in page.selectbox if one.label == "Starts from").set_value("rdlm-lite-1").run()
    gone = shown - {one.key for one in page.number_input}
    assert gone == {f"setting-{name}" for name in HEADS_ONLY} and len(shown) == 22
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


def filled(page: AppTest) -> list[str]:
    assert not page.exception
    return [one.key or one.label for one in page.button if one.proto.type == "primary"]


def better_run(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose challenger is better on so many mitoses as count."""
    monkeypatch.setattr(run_answer, "FEW_FIELDS", 2)
    monkeypatch.setattr(run_answer, "FEW_MITOSES", 4)
    ended_run(kept)


def test_promote_is_filled_only_where_the_challenger_is_better(kept: Store) -> None:
    ended_run(kept)  # better, but on 2 fields with 4 mitoses
    page = open_page("retrain")
    said = text(page).replace("\\", "")
    assert f"The challenger {MADE} finds 4 instead of 2 of 4 mitoses" in said and "keep the active version" in text(
        page
    )
    assert filled(page) == [f"reject-{MADE}"]
    assert {f"Promote {MADE}", f"Reject {MADE}"} <= {one.replace("\\", "") for one in labels(page)}


def test_a_better_challenger_is_promoted_after_one_question(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    better_run(kept, monkeypatch)
    page = open_page("retrain")
    assert "**Promote it" in text(page) and filled(page) == [f"promote-{MADE}"]
    assert "**2 mitoses newly found**" in text(page)
    pairs = next(grid for grid in grids(page) if len(grid[0]["shots"]) == 2)
    assert [[shot["ring"] for shot in one["shots"]] for one in pairs] == [[False, True]] * 2  # marked after, not before
    assert {one["field"] for one in pairs} == {2, 4} and all(one["at"] for one in pairs)
    press(page, f"promote-{MADE}")
    assert training.active(kept) == DEFAULT_VERSION  # it asks first
    press(page, f"promote-{MADE}-now")
    assert training.active(kept) == MADE
    assert [(one.kind, one.by) for one in versions.decisions(kept)] == [("promote", "Anna")]
    page.run()
    assert "Promoted by Anna" in text(page) and "This version is active" in text(page)
    assert not {f"promote-{MADE}", f"reject-{MADE}"} & {one.key for one in page.button}
    assert filled(page) == ["Retrain"]
    assert next(one for one in page.selectbox if one.label == "Starts from").value == MADE


def test_keeping_the_active_version_is_a_decision_too(kept: Store) -> None:
    ended_run(kept)
    page = press(open_page("retrain"), f"reject-{MADE}")
    assert [(one.kind, one.by) for one in versions.decisions(kept)] == [("reject", "Anna")]
    page.run()
    assert "Rejected by Anna" in text(page) and filled(page) == ["Retrain"]


def test_a_roll_back_is_told_with_the_promotion_that_it_took_back(kept: Store) -> None:
    ended_run(kept)
    versions.record_decision(kept, "promote", MADE, by="Anna")
    versions.roll_back(kept, DEFAULT_VERSION, by="Bert")
    said = text(open_page("retrain"))
    assert "Promoted by Anna" in said and "; rolled back by Bert" in said


def test_cells_of_fields_that_were_deleted_since_are_told(kept: Store) -> None:
    ended_run(kept)
    delete_field(kept, 2, by="Anna")
    said = text(open_page("retrain"))
    assert "**1 mitosis newly found**" in said and "1 more cell that changed cannot be shown" in said


def test_an_earlier_run_says_how_long_the_next_will_take(kept: Store) -> None:
    assert "How long will it take?" in labels(open_page("retrain"))
    run = ended_run(kept)
    card = load_model().card
    work = work_of(card, 2, 2, RetrainConfig())
    seconds = dict.fromkeys(work, 60.0)
    runs.beat(kept, run.id, {"kind": kind_of(card), "work": work, "seconds": seconds})
    page = open_page("retrain")
    assert "About 5 min, by an earlier run on this machine" in text(page)
    assert "How long will it take?" not in labels(page)


def test_a_damaged_version_is_not_promoted_here_either(kept: Store) -> None:
    ended_run(kept)
    damage(kept)
    page = press(open_page("retrain"), f"promote-{MADE}")
    press(page, f"promote-{MADE}-now")
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
    assert said in text(page) and "is still the active version" in text(page)
    assert "Go on from the last checkpoint" not in labels(page)  # there is none
    press(page, "Start it again")
    assert runs.get_run(kept, run.id).state == "queued"


def test_a_run_with_a_checkpoint_goes_on_from_it(kept: Store) -> None:
    run = queued(kept)
    runs.end(kept, run.id, "failed", message="no room on Mars")
    folder = kept.folder / "runs" / str(run.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.pt").write_bytes(b"")
    press(open_page("retrain"), "Go on from the last checkpoint")
    assert runs.get_run(kept, run.id).state == "queued"


def test_where_all_cases_are_on_one_side_the_way_back_is_told(kept: Store) -> None:
    page = press(open_page("retrain"), "move-case 0")  # both are judged on now
    assert "No finished field would train" in text(page) and "“Learn from it”" in text(page)
    for case in ("move-case 0", "move-case 1"):
        press(page, case)
    assert "No finished field is held out" in text(page) and "“Judge on it”" in text(page)


def sides(kept: Store) -> list[tuple[str, bool, bool]]:
    return [(one.case, one.held_out, one.decided) for one in training.material(kept, "").cases]


def test_the_split_is_proposed_changed_and_fixed_by_the_run_that_is_judged_on_it(kept: Store) -> None:
    page = open_page("retrain")
    assert sides(kept) == [("case 0", False, False), ("case 1", True, False)]
    press(page, "move-case 0")  # both are judged on now
    press(page, "move-case 1")
    assert sides(kept) == [("case 0", True, True), ("case 1", False, True)]
    assert "Only 2 fields with 6 mitoses will judge" in text(page)
    press(page, "Retrain")
    page = open_page("retrain")
    assert "fixed: versions were judged on it" in text(page) and "fixed: versions have learnt from it" in text(page)
    assert not [one for one in page.button if (one.key or "").startswith("move-")]


def test_nobody_decides_or_trains_without_a_name(kept: Store) -> None:
    ended_run(kept)
    page = AppTest.from_file("../../pages/retrain.py", default_timeout=60).run()
    press(page, f"promote-{MADE}")
    press(page, f"promote-{MADE}-now")
    assert "say who you are" in errors(page) and versions.decisions(kept) == []
    press(page, "Retrain")
    assert "say who you are" in errors(page) and len(runs.list_runs(kept)) == 1


def test_a_version_that_was_deleted_is_remembered_by_its_run(kept: Store) -> None:
    ended_run(kept)
    versions.delete_version(kept, MADE, by="Anna")
    assert "was deleted" in text(open_page("retrain"))


def test_a_cluster_that_cannot_be_reached_is_a_sentence_and_the_run_can_stay_here(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DASK", "tcp://127.0.0.1:1")
    monkeypatch.setattr("pages.shared.service.cluster_runs._CONNECT_S", 0.2)
    page = open_page("retrain")
    press(page, "Retrain")
    assert "No Dask scheduler answers" in page.error[0].value and "this computer instead" in page.error[0].value
    assert runs.list_runs(kept) == []
    page.radio(session.TRAINS_ON).set_value("This computer").run()
    press(page, "Retrain")
    assert len(runs.list_runs(kept)) == 1
