"""The curve of learning over a store: which versions may stand on it, where they stand, and what is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from db import runs, versions
from db.engine import Store
from db.fields import add_field, set_case
from db.predictions import save_prediction
from db.reviews import apply_ops, parse_op
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Detections, Field, Prediction
from pages.shared import store as store_module
from pages.shared.service import detecting, learning_curve
from tests.db.conftest import again_with_area, sent
from tests.pages.fakes import FakeDetector, FakeModel
from train.selection.forecast import Forecast, Point

CELLS = [(100.0, 100.0), (200.0, 100.0), (300.0, 100.0), (100.0, 300.0)]
HELD = (2, 4)  # ids: the second case is the one held out


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Six fields of two cases in turn, each with the same four mitoses, finished by Anna."""
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "data"))
    one = store_module.the_store()
    for number in range(6):
        pixels = np.full((400, 400, 3), 150 + number, np.uint8)
        field, _ = add_field(one, Field(pixels, 0.25, f"f{number}.png"), case=f"case {number % 2}")
        ops = [sent(field.id, seq=n, id=f"m{n}", x=x, y=y) for n, (x, y) in enumerate(CELLS)]
        ops.append(sent(field.id, "state", seq=9, state="complete"))
        apply_ops(one, field.id, "Anna", [parse_op(op) for op in ops])
    return one


def version(store: Store, name: str, learnt: list[int] | None, parent: str | None = DEFAULT_VERSION) -> None:
    """A version in the store, from a run that learnt from these fields; None: imported."""
    run = None
    if learnt is not None:
        run = runs.queue_run(
            store,
            by="Anna",
            base_version=parent or "",
            source="",
            last_event=1,
            settings={},
            split={"train": learnt, "held_out": list(HELD)},
            code="c",
        ).id
    versions.store_version(store, name, name.encode(), "{}", by="Anna", parent=parent, run_id=run)


def looks(store: Store, name: str, right: int, wrong: int = 0) -> None:
    """The version looks at the fields held out and finds so many of the mitoses, and so many other cells, in each."""
    xy = np.array([*CELLS[:right], *((350.0, 350.0 - 40 * n) for n in range(wrong))]).reshape(-1, 2)
    found = Detections(xy, np.full(len(xy), 0.9), np.full(len(xy), 20.0))
    for field in HELD:
        save_prediction(store, field, Prediction(found, 0.5, name, 1.0, 0.1))


def test_every_version_stands_where_it_scores_now(store: Store) -> None:
    version(store, "a", [1])
    version(store, "b", [3, 5], parent="a")  # and what a had learnt
    for name, right in ((DEFAULT_VERSION, 2), ("a", 3), ("b", 4)):
        looks(store, name, right, wrong=4 - right)
    found = learning_curve.learning_curve(store, "", HELD)
    assert {name: (one.fields, one.f1) for name, one in found.points.items()} == {
        DEFAULT_VERSION: (0, 0.5),
        "a": (1, 0.75),
        "b": (3, 1.0),
    }
    assert (found.fields, found.mitoses, found.over, found.waiting, found.left_out) == (2, 8, "fields", [], [])
    said = learning_curve.forecast_sentence(found)
    assert found.forecast is not None and found.forecast.gain >= 0 and found.forecast.high <= 1
    assert "more than the 3 used" in said and "only 3 versions and 2 held-out fields" in said


def test_a_version_that_has_not_looked_has_no_point(store: Store) -> None:
    version(store, "a", [1])
    looks(store, "a", 4)
    found = learning_curve.learning_curve(store, "", HELD)
    assert list(found.points) == ["a"]
    assert [(one.id, name) for one, name in found.waiting] == [(2, DEFAULT_VERSION), (4, DEFAULT_VERSION)]


def test_versions_that_cannot_be_compared_are_left_out_with_the_reason(store: Store) -> None:
    version(store, "leaks", [1, 4])
    version(store, "child", [1], parent="leaks")
    version(store, "alien", None, parent=None)
    version(store, "elsewhere", [1], parent="another")
    version(store, "gone", [1])
    versions.delete_version(store, "gone", by="Anna")
    version(store, "good", [1])
    found = learning_curve.learning_curve(store, "", HELD)
    assert {name for _, name in found.waiting} == {DEFAULT_VERSION, "good"}
    assert sorted(found.left_out) == [
        "Left out: alien (imported, so their training fields are not known).",
        f"Left out: elsewhere (not retrained from {DEFAULT_VERSION}).",
        "Left out: leaks, child (trained on fields that are held out now).",
    ]


def test_a_field_whose_case_is_held_out_now_leaks_too(store: Store) -> None:
    version(store, "a", [1])
    set_case(store, 1, "case 1")
    assert "held out now" in learning_curve.learning_curve(store, "", HELD).left_out[0]


def test_what_the_readers_did_not_judge_does_not_count(store: Store) -> None:
    for field in HELD:
        assert not apply_ops(store, field, "Anna", again_with_area(field, [0, 0, 400, 200])).refused
    looks(store, DEFAULT_VERSION, 3, wrong=2)  # the wrong ones lie below, as does the fourth mitosis
    point = learning_curve.learning_curve(store, "", HELD).points[DEFAULT_VERSION]
    assert point.f1 == 1.0


def test_too_few_versions_or_fields_are_no_forecast(store: Store) -> None:
    version(store, "a", [1])
    for name in (DEFAULT_VERSION, "a"):
        looks(store, name, 3)
    assert "3 different numbers" in learning_curve.forecast_sentence(learning_curve.learning_curve(store, "", HELD))
    version(store, "b", [1, 3])
    looks(store, "b", 3)
    assert "at least two finished fields" in learning_curve.forecast_sentence(
        learning_curve.learning_curve(store, "", HELD[:1])
    )


def test_the_forecast_is_said_with_its_doubts() -> None:
    nowhere = np.zeros(0)

    def said(low: float, gain: float, high: float) -> str:
        ahead = Forecast(24, gain, low, high, nowhere.astype(np.int64), nowhere, nowhere, nowhere)
        three = {name: Point(n, 0.5, 0.4, 0.6) for n, name in enumerate("abc")}
        return learning_curve.forecast_sentence(learning_curve.LearningCurve(three, ahead, [], [], 12, 90, "fields"))

    assert said(-0.012, 0.016, 0.041) == (
        "10 fields more than the 24 used so far **may help or not**: a change of F1 between −0.01 and +0.04, "
        "most likely +0.02. Based on only 3 versions and 12 held-out fields."
    )
    assert "**should help**: a change of F1 between +0.01" in said(0.01, 0.02, 0.03)
    assert "**would hardly help**: a change of F1 between −0.03 and 0.00" in said(-0.03, -0.01, 0.004)


def open_page() -> AppTest:
    return AppTest.from_file("../../pages/retrain.py", default_timeout=60).run()


@pytest.mark.slow
def test_the_page_lets_the_versions_look_and_draws_the_curve(
    store: Store, detector: FakeDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detecting, "load_model", FakeModel)
    version(store, "a", [1])
    version(store, "b", [1, 3])
    page = open_page()
    assert not page.exception and any("not analysed all" in one.value for one in page.markdown)
    page.button("score-all").click().run()
    assert not page.exception and len(detector.asked) == 9  # three versions, three fields of case 1
    assert not [one for one in page.button if one.key == "score-all"]
    assert any("10 fields more than the 2 used" in one.value for one in page.markdown)
    assert page.get("plotly_chart")


def test_without_a_field_held_out_the_page_has_no_such_section(
    detector: FakeDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DATA", str(tmp_path / "empty"))
    page = open_page()
    assert not page.exception and not page.subheader
