"""The Compare page: what to compare, the button that detects, the table, the curves, the field in dispute."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from db import versions
from db.engine import Store
from db.fields import delete_field, image_path, list_fields
from mitosis_core.model import DEFAULT_VERSION, load_model
from mitosis_core.scoring import cost
from mitosis_core.types import Detections
from pages.shared import session, store
from pages.shared.service import detecting
from pages.shared.service.version_comparison import READERS
from pages.shared.views import version_comparison
from tests.pages.fakes import FakeDetector
from tests.pages.test_models_page import damage, errors, labels, press
from tests.train.finished import drawn, finished_fields

OTHER = "theirs"
LOOK, MEASURE = "Analyse these fields with every version", "Measure the memory of 2 versions"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Four finished fields, two of them held out, and a second version said to be of another method."""
    finished_fields(tmp_path / "data")
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    st.cache_resource.clear()
    one, shipped = store.the_store(), load_model()
    card = dataclasses.replace(shipped.card, version=OTHER, method="rdlm")
    versions.store_version(one, OTHER, shipped.weights.read_bytes(), card.to_json(), by="Anna")
    yield one
    st.cache_resource.clear()


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    """Versions are real, what they find is not."""
    fake = FakeDetector()
    monkeypatch.setattr(detecting, "predict", fake.predict)
    return fake


def open_page() -> AppTest:
    return AppTest.from_file("../../pages/compare.py", default_timeout=60).run()


def text(page: AppTest) -> str:
    assert not page.exception
    return " ".join(one.value for kind in (page.markdown, page.info, page.warning, page.caption) for one in kind)


def test_an_empty_store_says_what_the_page_is_for_and_leads_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page()
    assert "which of two to four versions finds more" in text(page) and not page.multiselect
    assert [one.label for one in page.button] == ["Review fields"]


def test_without_a_finished_field_too(kept: Store) -> None:
    page = open_page()
    page.selectbox(session.COMPARED_BY).select("Anna").run()
    assert LOOK in labels(page)
    for field in list_fields(kept):
        delete_field(kept, field.id, by="Anna")
    assert "which of two to four versions finds more" in text(page.run())


def test_finished_fields_of_one_case_alone_are_not_held_out(kept: Store) -> None:
    first, *others = list_fields(kept)
    for field in others:
        if field.case != first.case:
            delete_field(kept, field.id, by="Anna")
    assert "None of the finished fields is held out" in text(open_page())


def test_versions_look_where_they_have_not_yet_and_are_compared(kept: Store, detector: FakeDetector) -> None:
    page = open_page()
    assert "4 left" in text(page) and not page.dataframe and "It is not known whether theirs" in text(page)
    press(page, LOOK)
    assert len(detector.asked) == 4 and LOOK not in labels(page)
    rows = page.dataframe[0].value.to_dict("records")
    assert [(row["version"], row["method"]) for row in rows] == [(DEFAULT_VERSION, "SegMitos"), (OTHER, "RDLM")]
    assert "Only 2 fields with 6 mitoses judge these versions" in text(page)  # as Retrain warns
    assert "On 2 fields with 6 mitoses" in text(page) and len(page.get("plotly_chart")) == 2
    page.run()
    assert len(detector.asked) == 4  # stored: nothing is detected twice


def test_the_field_in_dispute_shows_every_version_in_its_own_way(
    kept: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = {one.field.digest: one.mitoses_xy_px for one in map(drawn, range(4))}
    two = np.array([0.9, 0.8]), np.full(2, 60.0)
    monkeypatch.setattr(detector, "_find", lambda field: Detections(true[field.digest][:2], *two))
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(version_comparison, "show_viewer", lambda data, **_: shown.append(data))
    page = press(open_page(), LOOK)
    only = json.loads(json.dumps(shown[-1]))
    looks = [(one["color"], one["shape"]) for one in only["classes"]]
    assert len(looks) == 3 and all(len(set(part)) == 3 for part in zip(*looks, strict=True))
    # Both find the first two of three mitoses: all agree on these, and nobody but the readers has the third.
    assert [(one["cls"], one["src"], one["score"]) for one in only["points"]] == [(READERS, "reader", None)]
    assert only["count"] is None and not only["editable"]
    assert page.selectbox(session.DISPUTED).options[0].endswith("1 disagreement")
    assert "1 cell of 3 not marked by all. 2 agreed on are hidden." in text(page)
    page.toggle(session.ONLY_DISPUTED).set_value(False).run()
    assert Counter(one["cls"] for one in shown[-1]["points"]) == {READERS: 3, DEFAULT_VERSION: 2, OTHER: 2}


def test_all_finished_fields_come_with_a_warning(kept: Store, detector: FakeDetector) -> None:
    page = open_page()
    page.segmented_control(session.COMPARED_ON).set_value("All finished").run()
    assert "may have been trained on some of these fields" in text(page) and "8 left" in text(page)


def test_memory_is_measured_behind_a_button_and_remembered(
    kept: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "peak_rss_gb", lambda field, model: 1.5)
    page = press(open_page(), LOOK)
    assert page.dataframe[0].value["memory (GB)"].isna().all()
    press(page, MEASURE)
    assert page.dataframe[0].value["memory (GB)"].tolist() == [1.5, 1.5] and MEASURE not in labels(page)


def test_what_cannot_be_used_is_a_sentence(kept: Store, detector: FakeDetector) -> None:
    image_path(kept, list_fields(kept)[1].digest).write_bytes(b"no image")
    page = press(open_page(), LOOK)
    assert "is damaged" in text(page)
    assert "The results below are for the other 1 of 2" in text(page.run()) and page.dataframe
    damage(kept, OTHER)
    assert "do not match the stored sha256" in errors(page.run()) and "at least two versions" in text(page)
