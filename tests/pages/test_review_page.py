"""The Review page without a browser: what the viewer is given, and what follows from what was stored."""

from __future__ import annotations

import json
import math
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from db.engine import Store
from db.errors import StoreBusy
from db.fields import add_unscaled, get_field, list_fields, set_case, tombstones
from db.preferences import change_preferences, read_preferences
from db.reviews import apply_ops, history, parse_op, review_of
from mitosis_core.types import Field
from pages.shared import session, shell, store
from pages.shared.person import Person, Role
from pages.shared.service import detecting, reviewing
from pages.shared.service.detecting import PredictionCache
from pages.shared.shell import plain
from pages.shared.viewer.viewer import QueueStep
from pages.shared.views import disputes, review_viewer
from tests.pages.fakes import SAMPLE_LOOKALIKES, SAMPLE_MITOSES, STORABLE, FakeDetector, FakeModel, drawn
from tests.pages.test_detecting import png


@pytest.fixture
def kept(detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with a drawn field of case A and two other fields of case B."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    one = store.the_store()
    model, known = FakeModel(), PredictionCache()
    others = [detecting.open_file(f"b{n}.png", png(n)) for n in (1, 2)]
    for case, files in (
        ("A", [detecting.Analysis("drawn", drawn(STORABLE).field)]),
        ("B", detecting.give_scale(others, 0.25)),
    ):
        reviewing.store_for_review(one, detecting.analyse(files, model, known), case=case, keep_names=True)  # type: ignore[arg-type]
    return one


@pytest.fixture
def page(kept: Store) -> AppTest:
    return open_page("Anna")


def open_page(reader: str, field: int | None = None) -> AppTest:
    page = AppTest.from_file("../../pages/review.py", default_timeout=30)
    page.session_state[session.READER] = reader
    if field:
        page.query_params["field"] = str(field)
    return page.run()


def viewer(page: AppTest) -> dict[str, Any]:
    assert not page.exception
    (component,) = page.get("bidi_component")
    data: dict[str, Any] = json.loads(component.proto.json)
    return data


def act(kept: Store, reader: str, field: int, kind: str, **own: Any) -> None:
    """One change, as a page would send it."""
    common = {"op_id": uuid.uuid4().hex, "client": "c", "seq": 1, "t": 0, "field": str(field), "base": 0}
    applied = apply_ops(kept, field, reader, [parse_op({**common, "kind": kind, **own})])
    assert applied.done


def points(data: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [one for one in data["points"] if all(one[name] == value for name, value in wanted.items())]


def test_without_fields_the_page_says_where_they_come_from(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page("Anna")
    assert not page.exception and "Correct what" in page.markdown[0].value
    assert [one.label for one in page.button] == ["Add fields"]


def test_a_data_folder_that_cannot_be_used_is_one_sentence(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "file"))
    page = open_page("Anna")
    assert not page.exception and len(page.error) == 1


def test_nobody_reviews_without_a_name(kept: Store) -> None:
    page = open_page("")
    assert not page.exception and not page.get("bidi_component")
    assert "**Who is reading?**" in page.markdown[0].value


def test_the_reader_sees_the_proposals_of_the_first_field(page: AppTest) -> None:
    data = viewer(page)
    assert data["editable"] and data["user"] == "Anna" and data["review"]["state"] == "unseen"
    assert len(points(data, decided=False, src="model")) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES
    assert [one["key"] for one in data["classes"]] == ["1", "2", "3"]
    assert len(data["prefetch"]) == 2 and data["image"]["url"] not in data["prefetch"]


def test_a_decided_proposal_keeps_where_it_came_from(kept: Store, page: AppTest) -> None:
    best = max(viewer(page)["points"], key=lambda one: one["score"])
    field = int(viewer(page)["field"])
    act(kept, "Anna", field, "class", id=best["id"], x=best["x"], y=best["y"], cls="lookalike")
    (mark,) = points(viewer(page.run()), decided=True)
    assert mark == {**best, "cls": "lookalike", "decided": True}
    assert history(kept, field)[0].version == "fake-1"


@pytest.mark.parametrize(("away_px", "shown"), [(19.0, 0), (21.0, 1)])  # 5 µm are 20 px here
def test_a_proposal_on_a_cell_that_is_marked_by_hand_is_not_shown_again(
    kept: Store, page: AppTest, away_px: float, shown: int
) -> None:
    best = max(viewer(page)["points"], key=lambda one: one["score"])
    act(kept, "Anna", int(viewer(page)["field"]), "add", id="h", x=best["x"] + away_px, y=best["y"], cls="mitosis")
    assert len(points(viewer(page.run()), id=best["id"])) == shown


def test_readers_have_own_verdicts_and_see_those_of_others_when_they_ask(kept: Store, page: AppTest) -> None:
    field = int(viewer(page)["field"])
    act(kept, "Bert", field, "add", id="m", x=5.0, y=5.0, cls="mitosis")
    assert not points(viewer(page.run()), decided=True)
    page.toggle(session.OTHERS).set_value(True)
    (mark,) = points(viewer(page.run()), decided=True)
    assert mark["by"] == "Bert"


def test_a_blind_reader_sees_nothing_until_the_field_is_finished(kept: Store, page: AppTest) -> None:
    field = int(viewer(page)["field"])
    act(kept, "Bert", field, "add", id="m", x=5.0, y=5.0, cls="mitosis")
    page.toggle(session.BLIND).set_value(True)
    page.toggle(session.OTHERS).set_value(True)
    data = viewer(page.run())
    assert data["blind"] and data["points"] == []
    act(kept, "Anna", field, "state", state="complete")
    data = viewer(page.run())
    assert not data["blind"] and len(data["points"]) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES + 1


def test_the_queue_can_be_one_case_and_begin_where_there_is_most_doubt(page: AppTest) -> None:
    assert len(page.selectbox(session.FIELD_ID).options) == 3
    page.selectbox(session.CASE).set_value("B").run()
    assert [name.split()[1] for name in page.selectbox(session.FIELD_ID).options] == ["b1.png", "b2.png"]
    page.selectbox(session.CASE).set_value("").run()
    page.selectbox(session.ORDER).set_value("uncertainty").run()
    # The sample has candidates at 0.45 to 0.55, the others at 0.9 and 0.3.
    assert not page.selectbox(session.FIELD_ID).options[0].split()[1].startswith("b")


def test_the_first_field_still_open_is_shown_first(kept: Store) -> None:
    first, second, _ = list_fields(kept)
    act(kept, "Anna", first.id, "state", state="complete")
    assert viewer(open_page("Anna"))["field"] == str(second.id)


def test_a_field_that_no_version_has_seen_is_detected_when_it_is_opened(
    kept: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detecting, "load_model", lambda version=None: FakeModel("fake-2"))
    asked = len(detector.asked)
    data = viewer(open_page("Anna"))
    assert len(detector.asked) == asked + 1 and len(points(data, decided=False)) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES


def test_history_looks_back_and_brings_back(kept: Store, page: AppTest) -> None:
    field = int(viewer(page)["field"])
    act(kept, "Anna", field, "add", id="m1", x=5.0, y=5.0, cls="mitosis")
    act(kept, "Anna", field, "add", id="m2", x=50.0, y=50.0, cls="unsure")
    page.segmented_control(session.MODE).set_value("History").run()
    assert not viewer(page)["editable"] and len(viewer(page)["points"]) == 2
    page.slider[0].set_value(1).run()
    assert [one["id"] for one in viewer(page)["points"]] == ["m1"]
    next(button for button in page.button if button.label == "Restore this state").click().run()
    assert [mark.id for mark in review_of(kept, field, "Anna").standing] == ["m1"]
    assert len(history(kept, field)) == 3  # nothing was taken out of the history


def test_a_link_to_a_field_that_waits_for_its_scale_opens_no_other(kept: Store) -> None:
    unscaled = Field(np.full((64, 64, 3), 200, np.uint8), None, "h.png")
    waiting, _ = add_unscaled(kept, unscaled, case="H")
    page = open_page("Anna", waiting.id)
    assert "h.png waits for its µm/px" in page.markdown[-1].value.replace("\\", "")
    assert not page.get("bidi_component") and [one.label for one in page.button][-1] == "Give it on Cases"


@pytest.mark.parametrize("diameter_mm", [None, 0.44])  # as it comes, and as the reader sets it
def test_history_counts_for_the_same_microscope(kept: Store, page: AppTest, diameter_mm: float | None) -> None:
    act(kept, "Anna", int(viewer(page)["field"]), "add", id="m1", x=5.0, y=5.0, cls="mitosis")
    if diameter_mm:
        page.number_input(session.DIAMETER).set_value(diameter_mm).run()
    now = viewer(page.run())["count"]
    then = viewer(page.segmented_control(session.MODE).set_value("History").run())["count"]
    assert then["per_10_hpf"] == now["per_10_hpf"] and then["per_mm2"] == now["per_mm2"]


def test_the_diameter_is_the_same_in_review_history_and_tomorrow(kept: Store, page: AppTest) -> None:
    """Chosen once, it held on the page where it was chosen alone: History said 0.5 where Review said 0.55 mm."""
    act(kept, "Anna", int(viewer(page)["field"]), "add", id="m1", x=5.0, y=5.0, cls="mitosis")
    page.number_input(session.DIAMETER).set_value(0.5).run()
    assert read_preferences(kept, "").field_diameter_mm == 0.5
    later = open_page("Anna")  # another session: nothing of the first is left
    assert later.number_input(session.DIAMETER).value == 0.5
    area_mm2 = 1 / viewer(later)["count"]["per_mm2"]
    wanted = 10 * math.pi * 0.25**2 / area_mm2  # ten fields of 0.5 mm
    assert viewer(later)["count"]["per_10_hpf"] == pytest.approx(wanted)
    later.segmented_control(session.MODE).set_value("History").run()
    assert viewer(later)["count"]["per_10_hpf"] == pytest.approx(wanted)


def test_what_was_chosen_in_the_viewer_is_remembered_for_the_user(kept: Store, page: AppTest) -> None:
    assert viewer(page)["preferences"] == {"advance": True, "key_layout": "standard"}
    change_preferences(kept, "", advance=False, key_layout="left hand")
    assert viewer(open_page("Anna"))["preferences"] == {"advance": False, "key_layout": "left hand"}


def test_the_strip_has_the_fields_of_the_case_alone(kept: Store) -> None:
    first, second, third = list_fields(kept)
    act(kept, "Anna", third.id, "add", id="m", x=5.0, y=5.0, cls="mitosis")
    page = open_page("Anna", field=second.id)
    strip = viewer(page)["strip"]
    assert [one["id"] for one in strip] == [str(second.id), str(third.id)]
    assert [(one["state"], one["mitoses"]) for one in strip] == [("unseen", 0), ("in_review", 1)]
    assert viewer(open_page("Anna", field=first.id))["strip"][0]["id"] == str(first.id)


def test_the_next_undecided_cell_may_be_in_a_field_after_one_without(kept: Store, page: AppTest) -> None:
    first, second, third = list_fields(kept)
    targets = viewer(page)["next_fields"]["targets"]
    assert targets["onward"] == str(second.id)
    for one in points(viewer(open_page("Anna", field=second.id)), decided=False):
        act(kept, "Anna", second.id, "class", id=one["id"], x=one["x"], y=one["y"], cls="lookalike")
    targets = viewer(open_page("Anna", field=first.id))["next_fields"]["targets"]
    assert (targets["onward"], targets["next"], targets["finish"]) == (str(third.id), str(second.id), str(second.id))


def test_the_gallery_has_the_data_of_all_fields_of_the_case_while_it_is_open(kept: Store) -> None:
    _, second, third = list_fields(kept)
    page = open_page("Anna", field=second.id)
    assert viewer(page)["gallery"] is None
    page.session_state[session.GALLERY] = True
    gallery = viewer(page.run())["gallery"]
    assert gallery["title"] == "Case B" and gallery["missing"] == 0
    assert [one["data"]["field"] for one in gallery["fields"]] == [str(second.id), str(third.id)]
    assert all(one["data"]["points"] and one["data"]["api"]["token"] for one in gallery["fields"])


def test_the_gallery_shows_a_blind_reader_no_proposals(kept: Store, page: AppTest) -> None:
    page.session_state[session.GALLERY] = True
    page.toggle(session.BLIND).set_value(True)
    assert not any(one["data"]["points"] for one in viewer(page.run())["gallery"]["fields"])


@pytest.mark.parametrize(
    ("asked", "field"), [({"case": "B"}, 1), ({"case": "A"}, 0), ({"field": "3"}, 2), ({"case": "B", "field": "3"}, 2)]
)
def test_the_address_names_what_is_on_review(kept: Store, asked: dict[str, str], field: int) -> None:
    page = AppTest.from_file("../../pages/review.py", default_timeout=30)
    page.session_state[session.READER] = "Anna"
    page.query_params.update(asked)
    page.run()
    assert viewer(page)["field"] == str(list_fields(kept)[field].id)
    assert len(page.selectbox(session.FIELD_ID).options) == {"B": 2, "A": 1}.get(asked.get("case", ""), 3)
    assert page.query_params["field"] == str(list_fields(kept)[field].id)
    # Another link in the same session, as by the browser's way back.
    page.query_params.clear()
    page.query_params["field"] = str(list_fields(kept)[0].id)
    assert viewer(page.run())["field"] == str(list_fields(kept)[0].id)


def test_a_step_is_not_undone_by_the_address_that_the_browser_still_has(kept: Store) -> None:
    first, _second, third = list_fields(kept)
    page = open_page("Anna", field=first.id)
    page.button("step1").click().run()
    page.button("step1").click()
    page.query_params["field"] = str(first.id)  # the browser has not heard of the step to the second
    assert viewer(page.run())["field"] == str(third.id)
    page.query_params["field"] = str(first.id)  # nothing was done on the page: the browser's way back
    assert viewer(page.run())["field"] == str(first.id)


@pytest.mark.parametrize("asked", [{"case": "nowhere"}, {"field": "99"}, {"field": "²"}, {"field": "9" * 400}])
def test_an_address_that_names_nothing_is_a_sentence(kept: Store, asked: dict[str, str]) -> None:
    page = AppTest.from_file("../../pages/review.py", default_timeout=30)
    page.session_state[session.READER] = "Anna"
    page.query_params.update(asked)
    page.run()
    assert not page.exception and len(page.info) == 1 and viewer(page)["points"]


def test_a_case_that_is_read_leads_on_to_the_next(kept: Store) -> None:
    first, second, third = list_fields(kept)
    page = open_page("Anna", field=second.id)
    for one in (second, third):
        assert not [button for button in page.run().button if button.label.startswith("Next case")]
        act(kept, "Anna", one.id, "state", state="complete")
    page.run()
    assert "Case B is read" in page.markdown[0].value
    next(button for button in page.button if button.label == "Next case: A").click().run()
    assert viewer(page)["field"] == str(first.id)


def test_the_case_that_was_just_read_is_told_also_when_the_queue_has_gone_on(kept: Store) -> None:
    first, second, _ = list_fields(kept)
    act(kept, "Anna", first.id, "state", state="complete")
    page = open_page("Anna", field=second.id)
    assert "is read" not in "".join(one.value for one in page.markdown)
    page.session_state[session.CASE_READ] = first.id
    assert "Case A is read" in page.run().markdown[0].value and viewer(page)["field"] == str(second.id)
    assert not [button for button in page.button if button.label.startswith("Next case")]


def test_a_dispute_is_shown_and_settled_only_by_who_has_finished_the_field(kept: Store, page: AppTest) -> None:
    field = int(viewer(page)["field"])
    for reader, verdict in (("Anna", "mitosis"), ("Bert", "lookalike")):
        act(kept, reader, field, "add", id="m", x=100.0, y=100.0, cls=verdict)
        act(kept, reader, field, "state", state="complete")

    def settle(one: AppTest) -> Any:
        one.segmented_control(session.MODE).set_value("Agreement").run()
        return next(button for button in one.button if button.key == "settle-lookalike")

    assert settle(open_page("Cleo")).disabled  # an admin who has not read the field
    button = settle(page)
    assert not button.disabled
    button.click().run()
    assert not page.exception and "No cell is disputed" in page.success[0].value
    (mark,) = review_of(kept, field, "Anna").standing
    assert (mark.verdict, mark.settles) == ("lookalike", True)
    assert "settles a dispute" in reviewing.describe_event(history(kept, field, "Anna")[-2])


def _busy(*given: Any, **named: Any) -> None:
    raise StoreBusy("The store is busy.")


def test_a_dispute_that_cannot_be_settled_now_says_why(
    kept: Store, page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = int(viewer(page)["field"])
    for reader, verdict in (("Anna", "mitosis"), ("Bert", "lookalike")):
        act(kept, reader, field, "add", id="m", x=100.0, y=100.0, cls=verdict)
        act(kept, reader, field, "state", state="complete")
    page.segmented_control(session.MODE).set_value("Agreement").run()
    monkeypatch.setattr(disputes, "settle", _busy)
    next(button for button in page.button if button.key == "settle-lookalike").click().run()
    assert [one.value for one in page.toast] == [plain("The store is busy.")] and not page.exception


def test_a_preference_that_cannot_be_kept_now_says_why(kept: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(review_viewer.st, "toast", lambda sentence, icon: said.append(sentence))
    monkeypatch.setattr(review_viewer, "chosen_preferences", lambda key: {"advance": False})
    monkeypatch.setattr(review_viewer, "change_preferences", _busy)
    review_viewer._keep_preferences(kept, Person("Anna", Role.REVIEWER))
    assert said == [plain("The store is busy.")]


def test_a_queue_that_cannot_be_read_now_keeps_the_field_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    state = {session.FIELD_ID: 7}
    monkeypatch.setattr(review_viewer.st, "session_state", state)
    monkeypatch.setattr(review_viewer.st, "toast", lambda sentence, icon: said.append(sentence))
    monkeypatch.setattr(review_viewer, "keep_on_review", lambda: None)
    monkeypatch.setattr(review_viewer, "requested_step", lambda key: QueueStep("finish", 7, 1, 0))
    review_viewer._go([], _busy)
    assert said == [plain("The store is busy.")] and state[session.FIELD_ID] == 7
    review_viewer._go([], list)  # the field was deleted meanwhile
    assert state[session.FIELD_ID] == 7


def test_agreement_of_two_readers_is_counted(kept: Store, page: AppTest) -> None:
    field = int(viewer(page)["field"])
    for reader, places in (("Anna", (100.0, 300.0)), ("Bert", (104.0, 600.0))):
        for x in places:
            act(kept, reader, field, "add", id=f"m{x:.0f}", x=x, y=100.0, cls="mitosis")
        act(kept, reader, field, "state", state="complete")
    page.segmented_control(session.MODE).set_value("Agreement").run()
    assert not page.exception
    row = page.dataframe[0].value.iloc[0]
    assert (row["both"], row["only A"], row["only B"], row["F1"]) == (1, 1, 1, 0.5)
    assert "Consensus: 1 mitosis** by majority in 1 field, 2 disputed cells" in page.markdown[0].value


def test_a_case_is_named_once_and_another_readers_name_for_it_stays(kept: Store, page: AppTest) -> None:
    shown = list_fields(kept)[0]
    box = next(one for one in page.text_input if one.label.startswith("Case of"))
    box.set_value("Case  12").run()
    assert not page.exception and get_field(kept, shown.id).case == "Case 12"
    set_case(kept, shown.id, "B77")  # somebody else
    page.run()
    assert get_field(kept, shown.id).case == "B77"
    assert next(one for one in page.text_input if one.label.startswith("Case of")).value == "B77"


def test_deleting_asks_first(kept: Store, page: AppTest) -> None:
    next(button for button in page.button if button.label.startswith("Delete this field")).click().run()
    assert not page.exception and len(list_fields(kept)) == 3
    assert "Delete field" in [button.label for button in page.button]


def test_a_field_is_deleted_in_the_name_of_the_log_in(
    kept: Store, page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "person", lambda: Person("ann@lab.example", Role.ADMIN))
    # AppTest does not click within a dialog; so every field is deleted, one after the other.
    monkeypatch.setattr("streamlit.button", lambda label, **_: label.startswith("Delete"))
    page.run()
    assert not page.exception and [one.by for one in tombstones(kept)] == ["ann@lab.example"] * 3
