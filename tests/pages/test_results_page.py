"""The Results page without a browser: whose verdicts are counted, what is shown, what is said when it is not all."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from db.case_counts import CountBy
from db.engine import Store
from db.fields import add_field, add_unscaled, rename_case
from db.preferences import read_preferences
from db.reviews import Review
from mitosis_core.types import Region
from pages.shared import session, shell, store
from pages.shared.person import Person, Role
from pages.shared.service import case_result
from pages.shared.viewer.review_data import ReviewView, review_data
from tests.db.drawn_case import HEIGHT_PX, VERSION, WIDTH_PX, add_case, detect, glass, half_tissue, read


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store, as the pages open it."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    return store.the_store()


def open_page(**query: str) -> AppTest:
    page = AppTest.from_file("../../pages/results.py", default_timeout=30)
    for key, value in query.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    """The tiles with the figures."""
    return "".join(one.proto.body for one in page.get("html"))


def pictures(page: AppTest) -> dict[str, list[dict[str, Any]]]:
    """What the two grids show: the fields and the counted cells, by the smallest width of a picture."""
    given = [json.loads(one.proto.json) for one in page.get("bidi_component")]
    grids = [one for one in given if isinstance(one, dict) and "side_px" in one]
    return {"cells" if grid["side_px"] < 150 else "fields": grid["pictures"] for grid in grids}


def box(page: AppTest, label: str) -> Any:
    """The select box with that label."""
    return next(one for one in page.selectbox if one.label == label)


def said(page: AppTest) -> str:
    """All that stands in boxes, captions and paragraphs, without the marks that keep Markdown from reading it."""
    parts = [*page.info, *page.warning, *page.caption, *page.markdown]
    return "\n".join(one.value for one in parts).replace("\\", "")


def test_without_a_case_the_page_says_what_it_is_for(kept: Store) -> None:
    page = open_page()
    assert "Results give the count of a case" in said(page) and "Case" not in [one.label for one in page.selectbox]


def test_a_case_nobody_has_read_shows_detections_and_says_so(kept: Store) -> None:
    for field in add_case(kept, "A", 2):
        detect(kept, field, [(100, 100), (200, 100)], [0.9, 0.3])
    page = open_page(case="A", by=f"detections:{VERSION}")
    assert "**Not reviewed.**" in said(page)
    assert len(pictures(page)["cells"]) == 2 and "<b>2</b>" in shown(page)
    page.number_input(session.RESULT_SCORE).set_value(0.3).run()
    assert len(pictures(page)["cells"]) == 4
    assert next(one for one in page.button if one.label == "Read this case")


def test_a_case_nobody_has_looked_at_has_no_figures(kept: Store) -> None:
    add_case(kept, "A", 2)
    page = open_page(case="A")
    assert "case-figures" not in shown(page)
    assert "0 of 2 fields counted (2 not analysed)" in said(page) and "0 mitoses" not in said(page)
    assert [one["faint"] for one in pictures(page)["fields"]] == [True, True]


def test_a_read_case_shows_its_figures_its_score_and_its_cells(kept: Store) -> None:
    for place, field in enumerate(add_case(kept, "A", 8)):
        read(kept, field, "Ann", [(100, 100)] if place < 4 else [])
    page = open_page(case="A")
    assert (box(page, "Case").value, box(page, "Counted by").value) == ("A", "reader:Ann")
    body = shown(page)
    for figure in ("<b>4</b>", "<b>1.28 mm²</b>", "<b>3.1</b>", "<b>7.4</b>", "1 more mitosis would make it 2."):
        assert figure in body
    assert "For research only" in said(page)
    assert "Preliminary" not in said(page) and "Not reviewed" not in said(page)
    assert [one["label"][0] for one in pictures(page)["fields"]] == list("11110000")
    assert page.dataframe[0].value["fields finished"].tolist() == [8]
    assert not [one for one in page.button if "reading" in one.label]


def test_every_choice_in_a_box_holds_and_so_does_a_new_address(kept: Store) -> None:
    for seed, case in enumerate(("A", "B", "C")):
        field, _ = add_field(kept, half_tissue(seed), case=case)
        for reader in ("Ann", "Ben"):
            read(kept, field, reader, [(100, 100)])
    page = open_page(case="A", by="reader:Ann")
    for case in ("B", "A", "C", "B"):
        assert box(page, "Case").select(case).run().query_params["case"] == case
        assert box(page, "Case").value == case
    for by in ("reader:Ben", "consensus", "reader:Ann", "consensus"):
        assert box(page, "Counted by").select(by).run().query_params["by"] == by
        assert box(page, "Counted by").value == by
    page.query_params["case"] = "C"
    assert (box(page.run(), "Case").value, box(page, "Counted by").value) == ("C", "consensus")


def test_a_case_whose_fields_wait_for_their_scale_says_so_and_shows_no_other(kept: Store) -> None:
    add_case(kept, "A", 1)
    add_unscaled(kept, replace(glass(1), um_per_px=None), case="H")
    page = open_page(case="H")
    assert "H waits for its µm/px" in said(page) and not page.selectbox
    add_field(kept, glass(2), case="H")
    assert box(page.run(), "Case").value == "H"


def test_a_case_that_is_not_read_to_the_end_is_preliminary_and_leads_on(kept: Store) -> None:
    first, second = add_case(kept, "A", 2)
    read(kept, first, "Ann", [(100, 100)])
    read(kept, second, "Ann", [(100, 100), (200, 100)], state="")
    page = open_page(case="A")
    assert "Preliminary: 1 of 2 fields counted (1 not finished)." in said(page)
    assert "2 mitoses marked in unfinished fields" in said(page)
    assert [one["faint"] for one in pictures(page)["fields"]] == [False, True]
    assert [one for one in page.button if one.label == "Continue reading"]


def test_a_change_in_review_is_there_at_the_next_look(kept: Store) -> None:
    first, second = add_case(kept, "A", 2)
    read(kept, first, "Ann", [(100, 100)])
    page = open_page(case="A")
    assert len(pictures(page)["cells"]) == 1
    read(kept, second, "Ann", [(100, 100), (200, 100)])
    assert len(pictures(page.run())["cells"]) == 3


def test_a_report_is_counted_when_it_is_asked_for_and_a_renamed_case_still_has_one(kept: Store) -> None:
    first, second = add_case(kept, "A", 2)
    read(kept, first, "Ann", [(100, 100)])
    before = case_result.count(kept, "A", CountBy("reader", "Ann"))
    read(kept, second, "Ann", [(50, 50), (90, 90)])  # somebody goes on while the page is open
    assert case_result.count_again(kept, before).count.mitoses == 3
    assert b"Case A" in case_result.report(kept, before, 0.55, "html")
    rename_case(kept, "A", "B")
    assert case_result.count_again(kept, before) is before
    assert b"Case A" in case_result.report(kept, before, 0.55, "html")


def test_two_readers_begin_with_their_consensus_and_show_how_far_they_agree(kept: Store) -> None:
    (field,) = add_case(kept, "A", 1)
    read(kept, field, "Ann", [(100, 100), (200, 100)])
    read(kept, field, "Bert", [(100, 100)])
    page = open_page(case="A")
    assert box(page, "Counted by").value == "consensus" and len(pictures(page)["cells"]) == 1
    assert "F1 0.67" in said(page)  # 2 * 1 / (2 * 1 + 1)
    box(page, "Counted by").set_value("reader:Ann").run()
    assert len(pictures(page)["cells"]) == 2 and page.query_params["by"] == "reader:Ann"


def test_too_little_tissue_gives_a_sentence_and_no_score(kept: Store) -> None:
    read(kept, add_field(kept, glass(1), case="A")[0], "Ann", [(100, 100)])
    body = shown(open_page(case="A"))
    assert "too little tissue" in body and "per 10 HPF" not in body


def test_an_unknown_case_in_the_address_shows_one_that_is_there(kept: Store) -> None:
    add_case(kept, "A", 1)
    assert box(open_page(case="nowhere", by="reader:nobody"), "Case").value == "A"


def test_after_a_look_at_another_field_in_review_its_case_is_shown(kept: Store) -> None:
    add_case(kept, "A", 1)
    (other,) = [add_field(kept, glass(2), case="B")[0]]
    page = AppTest.from_file("../../pages/results.py", default_timeout=30)
    page.session_state[session.FIELD_ID] = other.id
    assert box(page.run(), "Case").value == "B"
    box(page, "Case").set_value("A").run()
    assert box(page.run(), "Case").value == "A"  # what was chosen stays, until another field was on review


def test_the_microscope_is_remembered_also_from_field_number_and_objective(kept: Store) -> None:
    for field in add_case(kept, "A", 8):
        read(kept, field, "Ann", [(100, 100)])
    page = open_page(case="A")
    page.number_input(session.FIELD_NUMBER).set_value(20.0).run()
    page.button("use-diameter").click().run()
    assert read_preferences(kept, "").field_diameter_mm == 0.5
    assert "Mitotic score, 0.50 mm" in shown(page) and "Mitotic score, 0.50 mm" in shown(open_page(case="A"))


def test_a_name_is_never_read_as_markup(kept: Store) -> None:
    bait = "<img src=x onerror=alert(1)> **b** [l](http://e)"
    field = add_case(kept, bait, 1)[0]
    read(kept, field, bait[:50], [(100, 100)])
    page = open_page(case=bait)
    assert "<img" not in shown(page)
    assert not [one.value for one in (*page.markdown, *page.caption, *page.info) if "**b** [l]" in one.value]


def test_a_reviewer_stays_blind_until_the_case_is_read_and_is_told_why(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add_case(kept, "A", 2)
    reviewer, admin = Person("Ann", Role.REVIEWER), Person("Cleo", Role.ADMIN)
    for field in (first, second):
        read(kept, field, "Bert", [(100, 100)])
    read(kept, first, "Ann", [])

    def offered(who: Person) -> list[str]:
        return [one.name for one in case_result.choices(kept, "A", who, VERSION) if one.kind == "reader"]

    assert offered(reviewer) == ["Ann"] and offered(admin) == ["Bert", "Ann"]
    assert offered(Person("Dora", Role.READER)) == ["Bert", "Ann"]
    monkeypatch.setattr(shell, "open_page", lambda title: reviewer)
    why = "their counts are shown once you have finished all its fields"
    assert why in said(open_page(case="A")) and not case_result.others_are_hidden(kept, "A", admin)
    read(kept, second, "Ann", [])
    assert offered(reviewer) == ["Ann", "Bert"] and why not in said(open_page(case="A"))


def test_the_line_of_a_case_while_it_is_read(kept: Store) -> None:
    first, second = add_case(kept, "A", 2)
    assert case_result.case_line(kept, "A", "Ann", 0.55) == ""
    read(kept, first, "Ann", [(100, 100)])
    assert case_result.case_line(kept, "A", "Ann", 0.55) == (
        "1 mitosis in 1 of 2 fields · 6.2 per mm² · 14.8 per 10 HPF"  # 1 / 0.16 mm², times 2.376 mm²
    )
    read(kept, second, "Ann", [])
    assert case_result.case_line(kept, "A", "Ann", 0.55).startswith("1 mitosis in 2 of 2 fields · 3.1 per mm²")


def test_the_annotated_pictures_are_whole_fields_with_rings(kept: Store) -> None:
    (field,) = add_case(kept, "A", 1)
    read(kept, field, "Ann", [(100, 100)])
    counts = case_result.count(kept, "A", CountBy("reader", "Ann"))
    data = case_result.annotated_pictures(kept, counts)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [f"0_{field.id}.png"]
        drawn = cv2.imdecode(np.frombuffer(archive.read(archive.namelist()[0]), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert abs(drawn[100, 91].astype(int) - (255, 245, 61)).max() < 60  # the ring, 9 µm to the left
    assert case_result.annotated_pictures(kept, counts) == data


@pytest.mark.parametrize(
    ("name", "file"), [("A/../b", "A_.._b"), ("", "case"), ("Łódź 山田", "Łódź_山田"), ("x" * 300, "x" * 60)]
)
def test_file_names_are_safe(name: str, file: str) -> None:
    assert case_result.safe_file_name(name) == file


def test_review_counts_over_the_same_tissue(kept: Store) -> None:
    """Half of the field is glass, and only the left 200 of 800 px were reviewed: 0.16 and 0.08 mm² of tissue."""
    (field,) = add_case(kept, "A", 1)
    sight = ReviewView("Ann", 0.5, 0.55)
    whole = review_data(field, Review(), None, sight)["count"]
    assert whole["per_mm2"] == pytest.approx(1 / 0.16, rel=0.01) and "0.160 mm² of tissue" in whole["note"]
    part = review_data(field, Review(area=Region(0, 0, 200, 400)), None, sight)["count"]
    assert part["per_mm2"] == pytest.approx(1 / 0.08, rel=0.01)
    blank = review_data(add_field(kept, glass(1))[0], Review(), None, sight)["count"]
    assert blank["per_mm2"] is None and "too little tissue" in blank["note"]
