"""Versions side by side over a store: their figures, their curves, their cost, and who disagrees where, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from db import runs, versions
from db.engine import Store, open_store
from db.fields import add_field
from db.labels import ReviewedField
from db.predictions import save_prediction
from db.reviews import apply_ops, parse_op
from mitosis_core.model import DEFAULT_VERSION, Model, load_model
from mitosis_core.scoring import cost
from mitosis_core.scoring.cost import NotMeasured
from mitosis_core.types import Detections, Field, Prediction
from pages.shared.service import version_comparison
from pages.shared.service.version_comparison import READERS, Mark, VersionComparison
from pages.shared.views import charts
from tests.db.conftest import again_with_area, sent
from tests.test_layers import imported

UM_PER_PX = 0.25  # 5 µm are 20 px, 7.5 µm 30 px
CELLS = [(100.0, 100.0), (200.0, 100.0), (300.0, 100.0)]
HELD = (2, 4)  # ids: the second case is the one held out
Places = Sequence[tuple[float, float, float]]  # x, y, score


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Four fields of two cases in turn, 0.01 mm² each with the same three mitoses, finished by Anna."""
    one = open_store(tmp_path / "data")
    for number in range(4):
        field, _ = add_field(
            one,
            Field(np.full((400, 400, 3), 150 + number, np.uint8), UM_PER_PX, f"f{number}.png"),
            case=f"case {number % 2}",
        )
        ops = [sent(field.id, seq=n, id=f"m{n}", x=x, y=y) for n, (x, y) in enumerate(CELLS)]
        ops.append(sent(field.id, "state", seq=9, state="complete"))
        apply_ops(one, field.id, "Anna", [parse_op(op) for op in ops])
    return one


def model(name: str, method: str = "segmitos") -> Model:
    shipped = load_model()
    return Model(dataclasses.replace(shipped.card, version=name, method=method), shipped.weights)


def looks(store: Store, name: str, field: int, places: Places, seconds: float = 1.0) -> None:
    rows = np.array(places).reshape(-1, 3)
    found = Detections(rows[:, :2], rows[:, 2], np.full(len(rows), 20.0))
    save_prediction(store, field, Prediction(found, 0.5, name, seconds, 0.01))


def held(store: Store) -> list[ReviewedField]:
    return version_comparison.fields_of(store, "", every=False)


@pytest.fixture
def found(store: Store) -> VersionComparison:
    """a finds two mitoses and one other cell in field 2, nothing in field 4; b the first mitosis and that other cell
    from 24 px beside, and in field 4 all three."""
    looks(store, "a", 2, [(110, 100, 0.9), (200, 100, 0.8), (50, 350, 0.7), (300, 100, 0.3)], seconds=9.0)
    looks(store, "a", 4, [(20, 20, 0.2)], seconds=1.0)
    looks(store, "b", 2, [(90, 100, 0.9), (74, 350, 0.6)], seconds=2.0)
    looks(store, "b", 4, [(*place, 0.9) for place in CELLS], seconds=3.0)
    return version_comparison.compare(store, [model("a"), model("b", "rdlm")], held(store))


def test_fields_are_those_held_out_or_every_finished_one(store: Store) -> None:
    assert [one.field.id for one in held(store)] == [2, 4]
    assert len(version_comparison.fields_of(store, "", every=True)) == 4
    assert version_comparison.fields_of(store, "Bert", every=True) == []


def test_the_table_says_how_good_and_at_what_cost(found: VersionComparison) -> None:
    a, b = version_comparison.table(found, {"b": 1.25})
    assert (a["version"], a["method"], b["method"]) == ("a", "SegMitos", "RDLM")
    # a: 2 of 6 found, 1 false; b: 4 of 6, 1 false; 0.02 mm² in all
    assert (a["precision"], a["recall"], a["F1"]) == pytest.approx((2 / 3, 2 / 6, 4 / 9))
    assert (b["precision"], b["recall"], b["F1"]) == pytest.approx((4 / 5, 4 / 6, 8 / 11))
    assert a["FP/mm²"] == b["FP/mm²"] == pytest.approx(50)
    # a: hit, hit, false, hit at 0.3: 1/6 + 1/6 + (3/4)/6; b: four hits, then a false one
    assert (a["average precision"], b["average precision"]) == pytest.approx((2.75 / 6, 4 / 6))
    assert (a["s per field"], b["s per field"]) == (5, 2.5)
    assert (a["memory (GB)"], b["memory (GB)"]) == (None, 1.25)
    weights = load_model().weights.stat().st_size
    assert a["MB"] == weights / 1e6 and a["parameters (M)"] == pytest.approx(weights / 2e6, rel=0.05)  # float16
    assert a["95 %"] == "0.00 to 0.67"  # of two fields: F1 0 in one, 2/3 in the other


def test_curves_reach_below_the_threshold(found: VersionComparison) -> None:
    side = version_comparison.curves(found)["a"]
    assert side.curve.recall == pytest.approx([1 / 6, 2 / 6, 2 / 6, 3 / 6, 3 / 6])
    assert side.curve.precision == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])
    assert side.curve.fp_per_mm2 == pytest.approx([0, 0, 50, 50, 100])
    assert (side.recall, side.fp_per_mm2) == pytest.approx((2 / 6, 50))


def test_a_chart_has_a_line_and_a_point_for_every_version(found: VersionComparison) -> None:
    lines = {"a": charts.LineStyle("#111111", "dash", "square"), "b": charts.LineStyle("#222222")}
    for figure in (
        charts.precision_recall(version_comparison.curves(found), lines),
        charts.froc(version_comparison.curves(found), lines),
    ):
        assert [one.name for one in figure.data] == ["a", None, "b", None]
        assert [(one.line.color, one.line.dash) for one in figure.data[::2]] == [
            ("#111111", "dash"),
            ("#222222", "solid"),
        ]
        assert figure.data[1].marker.symbol == "square"
    assert tuple(figure.layout.xaxis.range) == pytest.approx((-2.5, 125))  # 2.5 times 50 per mm²


def test_who_disagrees_where(found: VersionComparison) -> None:
    first, second = version_comparison.disputes(found)  # three each: the order of the fields stays
    assert [(one.reviewed.field.id, one.disagreements) for one in (first, second)] == [(2, 3), (4, 3)]
    assert [set(cell.marks) for cell in first.cells] == [{READERS, "a", "b"}, {READERS, "a"}, {READERS}, {"a", "b"}]
    assert [cell.agreed for cell in first.cells] == [True, False, False, False]
    assert first.cells[0].marks["b"] == Mark(90, 100, pytest.approx(0.9)) and first.cells[2].marks[READERS].x == 300
    assert [set(cell.marks) for cell in second.cells] == [{READERS, "b"}] * 3


def test_fields_with_more_disagreements_come_first(store: Store) -> None:
    for name in ("a", "b"):
        looks(store, name, 2, [(*place, 0.9) for place in CELLS])
        looks(store, name, 4, [])
    found = version_comparison.compare(store, [model("a"), model("b")], held(store))
    assert [(one.reviewed.field.id, one.disagreements) for one in version_comparison.disputes(found)] == [
        (4, 3),
        (2, 0),
    ]


def test_what_readers_do_not_vouch_for_is_no_disagreement(store: Store) -> None:
    assert not apply_ops(store, 2, "Anna", again_with_area(2, [0, 0, 400, 200])).refused
    looks(store, "a", 2, [(50, 350, 0.9)])
    looks(store, "b", 2, [])
    (one,) = version_comparison.disputes(version_comparison.compare(store, [model("a"), model("b")], held(store)[:1]))
    assert [set(cell.marks) for cell in one.cells] == [{READERS}] * 3


def test_only_fields_that_every_version_has_looked_at_count(store: Store) -> None:
    models = [model("a"), model("b")]
    assert version_comparison.compare(store, models, held(store)).sides == {}
    looks(store, "a", 2, [])
    looks(store, "b", 2, [])
    looks(store, "b", 4, [])
    found = version_comparison.compare(store, models, held(store))
    assert [one.field.id for one in found.fields] == [2] and [(f.id, name) for f, name in found.waiting] == [(4, "a")]
    assert found.sides["b"].evaluation.scores.fn == 3


def test_what_a_version_may_have_learnt_is_said(store: Store) -> None:
    def enter(name: str, parent: str | None, learnt: list[int] | None) -> None:
        run = None
        if learnt is not None:
            run = runs.queue_run(
                store,
                by="Anna",
                base_version="",
                source="",
                last_event=1,
                settings={},
                code="c",
                split={"train": learnt, "held_out": []},
            ).id
        versions.store_version(store, name, name.encode(), "{}", by="Anna", parent=parent, run_id=run)

    enter("good", DEFAULT_VERSION, [1])
    enter("leaks", DEFAULT_VERSION, [1, 4])
    enter("child", "leaks", [3])
    enter("alien", None, None)
    assert version_comparison.overlap_warnings(store, [DEFAULT_VERSION, "good"], held(store)) == []
    assert version_comparison.overlap_warnings(store, ["leaks", "child", "alien"], held(store)) == [
        "leaks was trained on the cases of 2 of these 2 fields, so its figures are too good.",
        "child was trained on the cases of 2 of these 2 fields, so its figures are too good.",
        "It is not known whether alien, imported from elsewhere, used these fields for training.",
    ]


def test_memory_is_kept_one_by_one_and_a_failure_is_a_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(field: Field, model: Model) -> float:
        if model.version == "a":
            raise NotMeasured("no luck with a")
        return field.width_px / 100

    monkeypatch.setattr(cost, "peak_rss_gb", measure)
    kept: dict[str, float] = {}
    told: list[tuple[float, str]] = []
    one = version_comparison.largest(held(store))
    said = version_comparison.measure_memory(
        store, [model("a"), model("b")], one, kept.__setitem__, lambda share, name: told.append((share, name))
    )
    assert (said, kept, told) == (["no luck with a"], {"b": 4.0}, [(0, "a"), (0.5, "b")])


def test_no_streamlit_in_it() -> None:
    assert "streamlit" not in imported(Path(version_comparison.__file__))
