"""Proposals: kept once, all of them, and how unsure they are."""

import numpy as np
import pytest

from db.engine import Store
from db.errors import FieldGone
from db.fields import StoredField, set_scale
from db.predictions import Proposal, doubt, doubts, proposals, save_prediction, versions
from mitosis_core.types import Detections, Prediction


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
    assert found is not None and found.candidates == () and doubts(store, "v1") == {field.id: 0}


def test_another_scale_asks_for_another_prediction(store: Store, field: StoredField) -> None:
    first = save_prediction(store, field.id, prediction())
    set_scale(store, field.id, 0.5)
    assert proposals(store, field.id, "v1") is None and versions(store, field.id) == [] and doubts(store, "v1") == {}
    assert save_prediction(store, field.id, prediction()) != first


def test_doubt_counts_what_lies_near_the_threshold(store: Store, field: StoredField) -> None:
    assert doubt([0.5, 0.75, 0.0, 1.0], 0.5) == 1.5
    save_prediction(store, field.id, prediction())
    assert doubts(store, "v1") == {field.id: 1.5}
