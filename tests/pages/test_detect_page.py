from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from db import disk_space
from db.engine import open_store
from db.errors import StoreFull
from db.fields import add_field, list_fields, list_unscaled
from db.predictions import versions_by_field
from mitosis_core.errors import ConcentricError
from mitosis_core.image.sample_field import the_sample
from mitosis_core.model import DEFAULT_VERSION, load_model
from pages.shared import session, store
from pages.shared.service import detecting, reviewing
from pages.shared.shell import plain
from pages.shared.views import quick_look_result
from tests.db.queued import list_detections
from tests.pages.fakes import SAMPLE_LOOKALIKES, SAMPLE_MITOSES, FakeDetector, FakeModel
from tests.pages.test_case_board import _enqueue
from tests.pages.test_detecting import png


@pytest.fixture
def page(detector: FakeDetector) -> AppTest:
    return AppTest.from_file("../../pages/detect.py", default_timeout=30).run()


def viewer(page: AppTest) -> dict[str, Any]:
    """What the viewer was given."""
    (component,) = page.get("bidi_component")
    data: dict[str, Any] = json.loads(component.proto.json)
    return data


def table(page: AppTest) -> Any:
    return page.dataframe[0].value


def upload(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    for name, data in files:
        page.file_uploader[0].upload(name, data, "image/png")
    return page.run()


def test_the_empty_page_explains_itself_and_offers_the_sample(page: AppTest, detector: FakeDetector) -> None:
    assert not page.exception and not page.get("bidi_component")
    assert "high-power fields" in page.markdown[0].value
    assert [button.label for button in page.button] == ["Try a sample field"]
    assert detector.asked == []


def test_the_version_says_when_to_choose_it(page: AppTest) -> None:
    page.button[0].click().run()
    assert plain(FakeModel.purpose) in [caption.value for caption in page.caption]


def test_the_sample_is_not_offered_for_keeping(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps() -> list[str]:
        return [one.label for one in page.run().button if one.label.startswith("Keep ")]

    page.button[0].click().run()
    assert keeps() == []
    monkeypatch.setattr(detecting, "is_sample", lambda *field: False)
    assert keeps() == ["Keep 1 field"]


def test_the_sample_is_analysed_and_shown(page: AppTest) -> None:
    page.button[0].click().run()
    data = viewer(page)
    sample = the_sample()
    assert len(data["points"]) == SAMPLE_MITOSES + SAMPLE_LOOKALIKES
    assert (data["points"][0]["x"], data["points"][0]["y"]) == pytest.approx(sample.mitoses_xy_px[0], abs=0.01)
    assert data["score"] == {"value": 0.5, "default": 0.5} and data["editable"] is False
    assert data["image"]["radius"] == pytest.approx(8 / 0.25)
    area_mm2 = (1024 * 0.25 / 1000) ** 2
    assert data["count"]["per_mm2"] == pytest.approx(1 / area_mm2)
    assert data["count"]["per_10_hpf"] == pytest.approx(10 * 0.23758 / area_mm2, rel=1e-4)
    assert table(page)["mitoses"].tolist() == [SAMPLE_MITOSES]


def test_another_score_counts_again_without_the_network(page: AppTest, detector: FakeDetector) -> None:
    page.button[0].click().run()
    page.session_state[session.SCORE] = 0.41
    page.run()
    assert table(page)["mitoses"].tolist() == [SAMPLE_MITOSES + 1]
    assert viewer(page)["score"]["value"] == 0.41
    assert len(detector.asked) == 1


def test_false_alarms_choose_the_score_and_a_score_lets_go_of_them(page: AppTest, detector: FakeDetector) -> None:
    page.button[0].click().run()
    assert page.selectbox(session.ALARMS).value is None
    page.selectbox(session.ALARMS).select(10.0).run()
    assert viewer(page)["score"]["value"] == 0.43 and table(page)["mitoses"].tolist() == [SAMPLE_MITOSES + 1]
    page.selectbox(session.ALARMS).select(2.0).run()
    assert table(page)["mitoses"].tolist() == [2] and len(detector.asked) == 1  # 0.95 and 0.90
    page.session_state[session.SCORE] = 0.41
    assert page.run().selectbox(session.ALARMS).value is None and viewer(page)["score"]["value"] == 0.41
    page.selectbox(session.ALARMS).select(2.0).run()
    page.selectbox(session.ALARMS).set_value(None).run()
    assert viewer(page)["score"]["value"] == 0.5


def test_a_rerun_sends_the_viewer_nothing_new(page: AppTest) -> None:
    page.button[0].click().run()
    before = viewer(page)
    assert viewer(page.run()) == before


def test_without_a_scale_the_page_asks_and_gives_no_number(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png()))
    assert any("How large is a pixel?" in one.value for one in page.markdown)
    assert detector.asked == [] and not page.get("bidi_component")
    page.selectbox(session.SCANNER).select("Leica GT450, 40x (MIDOG)").run()
    assert viewer(page)["um_per_px"] == 0.26
    assert table(page)["um_per_px"].tolist() == [0.26]


def test_a_scale_that_is_not_plausible_is_refused_in_the_open(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png()))
    page.selectbox(session.SCANNER).select(session.OTHER_SCANNER).run()
    page.number_input(session.SCALE).set_value(25.0).run()
    assert "not plausible" in page.error[0].value and detector.asked == []
    page.number_input(session.SCALE).set_value(0.3).run()
    assert not page.error and viewer(page)["um_per_px"] == 0.3


def test_a_wrong_scale_of_a_file_can_be_corrected_and_taken_back(page: AppTest) -> None:
    page.button[0].click().run()
    page.number_input(session.CORRECTED).set_value(0.5).run()
    assert table(page)["um_per_px"].tolist() == [0.5]
    assert viewer(page)["count"]["per_mm2"] == pytest.approx(1 / (1024 * 0.5 / 1000) ** 2)
    assert "0.5 µm/px (corrected)" in page.caption[-1].value
    page.number_input(session.CORRECTED).set_value(25.0).run()
    assert "not plausible" in page.error[0].value and table(page)["um_per_px"].tolist() == [0.25]
    page.number_input(session.CORRECTED).set_value(None).run()
    assert not page.error and table(page)["um_per_px"].tolist() == [0.25]


def test_a_bad_file_among_good_ones_is_one_sentence(page: AppTest, detector: FakeDetector) -> None:
    upload(page, ("a.png", png(1)), ("bad.png", b"nonsense"), ("c.png", png(2)))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    assert not page.exception and len(page.error) == 1 and "bad" in page.error[0].value
    assert detector.asked == ["a.png", "c.png"]
    assert table(page)["mitoses"].fillna(-1).tolist() == [1, -1, 1]
    assert any("2 mitoses" in one.value for one in page.markdown)


def test_an_unforeseen_fault_shows_no_traceback(page: AppTest, detector: FakeDetector) -> None:
    detector.breaks_on = "a.png"
    upload(page, ("a.png", png()))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    assert not page.exception and len(page.error) == 1
    assert "nobody foresaw" not in page.error[0].value


def test_a_file_name_is_shown_as_it_is_written(page: AppTest) -> None:
    upload(page, ("**b**![x](http://e).png", b"nonsense"))
    assert r"\*\*b\*\*\!\[x\]" in page.error[0].value


TWO_PAGES = """
import runpy
import streamlit as st
runpy.run_path(f"pages/{st.session_state.get('on_show', 'detect')}.py")
"""


def leave_and_come_back(page: AppTest) -> AppTest:
    for name in ("about", "detect"):
        page.session_state["on_show"] = name
        page.run()
    return page


def test_what_was_given_is_there_after_another_page_was_shown(detector: FakeDetector) -> None:
    page = AppTest.from_string(TWO_PAGES, default_timeout=30).run()
    upload(page, ("a.png", png(1)), ("b.png", png(2)), ("bad.png", b"nonsense"))
    page.selectbox(session.SCANNER).select(session.OTHER_SCANNER).run()
    page.number_input(session.SCALE).set_value(0.3).run()
    page.session_state[session.SCORE] = 0.25
    page.run()
    before, asked = table(page).to_csv(), list(detector.asked)
    page = leave_and_come_back(page)
    assert table(page).to_csv() == before and "bad" in page.error[0].value
    assert page.number_input(session.SCALE).value == 0.3
    assert detector.asked == asked == ["a.png", "b.png"]
    upload(page, ("c.png", png(3)))
    assert table(page)["file"].tolist() == ["a.png", "b.png", "bad.png", "c.png"]
    next(one for one in page.button if one.label == "Start over").click().run()
    assert [one.label for one in page.button] == ["Try a sample field"]


def test_a_version_that_is_gone_is_not_asked_for(page: AppTest) -> None:
    page.session_state[session.VERSION] = "deleted-1"
    page.button[0].click().run()
    assert not page.exception and page.selectbox(session.VERSION).value == "fake-1"


def test_fields_are_shown_one_by_one_as_they_are_analysed(
    page: AppTest, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second field is analysed, the first one is on the page with its table."""
    drawn: list[tuple[int, int]] = []
    show, predict = quick_look_result.show_result, detector.predict

    def shown(files: Any, *given: Any) -> None:
        drawn.append((len(detector.asked), sum(one.prediction is not None for one in files)))
        show(files, *given)

    monkeypatch.setattr(quick_look_result, "show_result", shown)
    monkeypatch.setattr(detecting, "predict", predict)
    upload(page, *((f"{number}.png", png(number)) for number in range(3)))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    assert [one for one in drawn if one[0]] == [(1, 1), (2, 2), (3, 3)]
    assert len(detector.asked) == 3


def test_errors_and_progress_are_not_inside_the_popover(page: AppTest) -> None:
    upload(page, ("slide.svs", b"II*"), ("bad.png", b"nonsense"), ("a.png", png()))
    hidden = [one.value for popover in page.get("popover") for one in popover.children.values() if one.type == "error"]
    assert not hidden and len(page.error) == 1
    assert "whole slide" in page.error[0].value and "QuPath" in page.error[0].value and "bad" in page.error[0].value


def test_kept_fields_go_to_their_cases_without_a_second_detection(
    page: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(reviewing, "detect_later", _enqueue)
    upload(page, ("A00_01.png", png(1)), ("A02_01.png", png(2)), ("bad.png", b"nonsense"))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()
    next(one for one in page.button if one.label == "Keep 2 fields").click().run()
    kept = store.the_store()
    assert [(one.name, one.case) for one in list_fields(kept)] == [("A00_01.png", "A00"), ("A02_01.png", "A02")]
    assert [one.state for one in list_detections(kept)] == ["done", "done"]
    assert sorted(versions_by_field(kept).values()) == [{"fake-1"}, {"fake-1"}]


def test_what_is_handed_over_before_it_was_analysed_waits_in_the_queue(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = open_store(tmp_path / "data")
    monkeypatch.setattr(reviewing, "detect_later", _enqueue)
    waiting, unscaled = (detecting.open_file(f"A_{number}.png", png(number)) for number in (1, 2))
    left_out = [detecting.open_file("bad.png", b"x"), detecting.open_sample()]
    files = [*detecting.give_scale([waiting], 0.25), unscaled, *left_out]
    ids, _ = reviewing.hand_over(kept, files, version="fake-1", by="Ann", case=None, keep_names=False)
    assert [(one.field_id, one.state) for one in list_detections(kept)] == [
        (ids[0], "waiting"),
        (ids[1], "needs_scale"),
    ]
    assert [(one.name, one.case) for one in list_fields(kept)] == [("Field 1", "")]


def test_fields_that_are_not_analysed_yet_need_room_on_the_disk_too(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = open_store(tmp_path / "data")
    waiting = detecting.give_scale([detecting.open_file("A_1.png", png(1))], 0.25)
    room = disk_space.reserve_bytes() + 1
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: SimpleNamespace(free=room))
    with pytest.raises(StoreFull):
        reviewing.hand_over(kept, waiting, version="fake-1", by="Ann", case=None, keep_names=True)
    assert list_unscaled(kept) == list_fields(kept) == []


def test_a_field_that_is_stored_at_another_scale_is_detected_again_instead(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found at 0.25 µm/px is no result of a field of 0.5."""
    kept = open_store(tmp_path / "data")
    monkeypatch.setattr(reviewing, "detect_later", _enqueue)
    pixels = detecting.open_file("A_1.png", png(1)).field
    assert pixels is not None
    add_field(kept, replace(pixels, um_per_px=0.5))
    model, known = FakeModel(), detecting.PredictionCache()
    given = detecting.give_scale([detecting.open_file("A_1.png", png(1))], 0.25)
    files = detecting.analyse(given, model, known)  # type: ignore[arg-type]
    (field,), elsewhere = reviewing.hand_over(kept, files, version="fake-1", by="Ann", case=None, keep_names=True)
    assert [one.um_per_px for one in list_fields(kept)] == [0.5]
    assert versions_by_field(kept) == {} and [one.state for one in list_detections(kept)] == ["waiting"]
    assert list_detections(kept)[0].field_id == field and elsewhere == [""]  # it stays without a case


def test_keeping_that_fails_is_said_on_the_page(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(page, ("a.png", png(1)))
    page.selectbox(session.SCANNER).select("Any other scanner, 40x").run()

    def full(*given: Any, **named: Any) -> None:
        raise ConcentricError("The disk is full.")

    monkeypatch.setattr(reviewing, "hand_over", full)
    next(one for one in page.button if one.label == "Keep 1 field").click().run()
    assert [one.value for one in page.main.error] == [r"The disk is full\."]


def test_the_about_page_says_what_it_is_not(detector: FakeDetector) -> None:
    about = AppTest.from_file("../../pages/about.py", default_timeout=30).run()
    assert not about.exception and "not a medical device" in about.markdown[0].value


def test_the_about_page_names_all_that_the_default_version_learned_from(detector: FakeDetector) -> None:
    about = AppTest.from_file("../../pages/about.py", default_timeout=30).run().markdown[0].value
    named = re.findall(r"(\w+) et al\.", load_model(DEFAULT_VERSION).card.data["note"])
    assert len(named) > 2 and all(author in about for author in named), named
