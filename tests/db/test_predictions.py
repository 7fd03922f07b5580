"""Proposals: kept once, all of them, and how unsure they are."""

import numpy as np
import pytest

from db.engine import Store
from db.errors import FieldGone
from db.fields import StoredField, add_field, set_scale
from db.predictions import (
    Disagreement,
    Proposal,
    candidates_by_field,
    detections_by_field,
    disagreements,
    proposals,
    save_prediction,
    uncertainties,
    uncertainty,
    versions,
    versions_by_field,
)
from mitosis_core.types import Detections, Prediction
from tests.db.conftest import make_field


def prediction(version: str = "v1") -> Prediction:
    found = Detections(np.array([[1, 2], [3, 4]]), np.array([0.25, 0.5]), np.array([10.0, 20.0]))
    return Prediction(found, 0.5, version, 1.0, 0.1)


def test_candidates_come_back_best_first(store: Store, field: StoredField) -> None:
    number = save_prediction(store, field.id, prediction())
    found = proposals(store, field.id, "v1")
    assert found is not None and found.threshold == 0.5
    assert found.candidates == (Proposal(f"p{number}-0", 3, 4, 0.5, 20), Proposal(f"p{number}-1", 1, 2, 0.25, 10))
    assert proposals(store, field.id, "v2") is None


def test_a_version_is_kept_once(store: Store, field: StoredField) -> None:
    first = save_prediction(store, field.id, prediction())
    assert save_prediction(store, field.id, prediction()) == first
    assert save_prediction(store, field.id, prediction("v2")) != first
    assert versions(store, field.id) == ["v1", "v2"]
    with pytest.raises(FieldGone):
        save_prediction(store, 99, prediction())


def test_a_field_with_nothing_found_was_looked_at(store: Store, field: StoredField) -> None:
    save_prediction(store, field.id, Prediction(Detections(), 0.5, "v1", 1.0, 0.1))
    found = proposals(store, field.id, "v1")
    assert found is not None and found.candidates == () and uncertainties(store, "v1") == {field.id: 0}


def test_another_scale_asks_for_another_prediction(store: Store, field: StoredField) -> None:
    first = save_prediction(store, field.id, prediction())
    set_scale(store, field.id, 0.5)
    assert (
        proposals(store, field.id, "v1") is None
        and versions(store, field.id) == []
        and uncertainties(store, "v1") == {}
    )
    assert save_prediction(store, field.id, prediction(), um_per_px=0.25) is None  # of before the change
    assert proposals(store, field.id, "v1") is None
    assert save_prediction(store, field.id, prediction(), um_per_px=0.5) != first


def test_doubt_counts_what_lies_near_the_threshold(store: Store, field: StoredField) -> None:
    assert uncertainty([0.5, 0.75, 0.0, 1.0], 0.5) == 1.5
    save_prediction(store, field.id, prediction())
    assert uncertainties(store, "v1") == {field.id: 1.5}


def seen(store: Store, field_id: int, version: str, places: list[tuple[float, float, float]], at: float = 0.5) -> None:
    """A version found these: x, y in px (0.25 µm each), score."""
    table = np.array(places).reshape(-1, 3)
    found = Detections(table[:, :2], table[:, 2], np.full(len(table), 20.0))
    save_prediction(store, field_id, Prediction(found, at, version, 1.0, 0.1))


def test_versions_disagree_on_what_only_one_of_them_detects(store: Store, field: StoredField) -> None:
    # Within 7.5 µm (30 px) it is the same cell; one detection is the partner of one; each version has its threshold.
    seen(store, field.id, "a", [(10, 10, 0.9), (50, 50, 0.8), (90, 90, 0.4)])
    assert disagreements(store, "a") == {}  # nobody to disagree with
    seen(store, field.id, "b", [(10, 40, 0.9), (10, 20, 0.6), (90, 90, 0.8)], at=0.7)
    assert disagreements(store, "a") == {field.id: Disagreement(2, "b")}  # (50, 50) and b's (90, 90)
    assert disagreements(store, "b") == {field.id: Disagreement(2, "a")}
    seen(store, field.id, "c", [])
    assert disagreements(store, "a") == {field.id: Disagreement(2, "c")}  # the latest other version
    assert disagreements(store, "c") == {field.id: Disagreement(2, "b")}


def test_one_detection_is_the_partner_of_one(store: Store, field: StoredField) -> None:
    seen(store, field.id, "a", [(10, 10, 0.9), (14, 10, 0.8)])
    seen(store, field.id, "b", [(12, 10, 0.9)])
    assert disagreements(store, "a") == {field.id: Disagreement(1, "b")}


def test_disagreement_asks_both_versions_at_the_present_scale(store: Store, field: StoredField) -> None:
    other = add_field(store, make_field(seed=1))[0]
    seen(store, field.id, "a", [])
    seen(store, field.id, "b", [])
    seen(store, other.id, "b", [(1, 1, 0.9)])
    assert disagreements(store, "a") == {field.id: Disagreement(0, "b")}
    assert versions_by_field(store) == {field.id: {"a", "b"}, other.id: {"b"}}
    set_scale(store, field.id, 0.5)
    assert disagreements(store, "a") == {} and versions_by_field(store) == {other.id: {"b"}}


def test_detections_of_all_fields_at_once(store: Store, field: StoredField) -> None:
    seen(store, field.id, "a", [(1, 2, 0.9), (3, 4, 0.5), (5, 6, 0.49)])
    found = detections_by_field(store, "a")
    assert found[field.id].xy_px.tolist() == [[1, 2], [3, 4]] and detections_by_field(store, "b") == {}


def test_candidates_are_all_that_was_found_with_the_threshold_and_the_time(store: Store, field: StoredField) -> None:
    seen(store, field.id, "a", [(1, 2, 0.9), (3, 4, 0.5), (5, 6, 0.1)], at=0.6)
    one = candidates_by_field(store, "a")[field.id]
    assert one.detections.xy_px.tolist() == [[1, 2], [3, 4], [5, 6]] and candidates_by_field(store, "b") == {}
    assert (one.field_id, one.version, one.um_per_px, one.threshold, one.seconds) == (field.id, "a", 0.25, 0.6, 1.0)
    assert len(detections_by_field(store, "a")[field.id]) == 1
    set_scale(store, field.id, 0.5)
    assert candidates_by_field(store, "a") == {}
