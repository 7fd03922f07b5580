"""What the home page is told of every field."""

from __future__ import annotations

import numpy as np
import pytest

from db import detection_queue as queue
from db.assignments import assign, unassign
from db.case_overview import FieldOverview, ReadBy, read_overview
from db.engine import Store
from db.fields import StoredField, add_field, add_unscaled, delete_field, set_scale
from db.ops import BadOp
from db.predictions import save_prediction
from db.reviews import apply_ops
from db.thumbnails import THUMBNAIL_PX, read_thumbnail
from mitosis_core.types import Detections, Field, Prediction
from tests.db.conftest import SIZE_PX, make_field, make_op


def found(store: Store, field: StoredField, version: str, scores: list[float]) -> None:
    number = len(scores)
    detections = Detections(np.ones((number, 2)), np.array(scores), np.full(number, 9.0))
    save_prediction(store, field.id, Prediction(detections, 0.5, version, 0.1, field.area_mm2))


def overview(store: Store, version: str = "v1") -> FieldOverview:
    return read_overview(store, version)[0]


def test_detections_from_the_threshold_on_count_of_the_version_asked_for_or_the_latest(
    store: Store, field: StoredField
) -> None:
    assert (overview(store).version, overview(store).detected) == (None, None)
    found(store, field, "v1", [0.9, 0.5, 0.4])
    found(store, field, "v2", [])
    assert (overview(store, "v1").version, overview(store, "v1").detected) == ("v1", 2)
    assert (overview(store, "v9").version, overview(store, "v9").detected) == ("v2", 0)
    set_scale(store, field.id, 0.5)
    assert overview(store).detected is None


def test_every_reader_has_a_state_and_a_count(store: Store, field: StoredField) -> None:
    apply_ops(store, field.id, "Ann", [make_op(field.id), make_op(field.id, "state", state="complete", seq=2)])
    apply_ops(store, field.id, "Bob", [make_op(field.id, cls="lookalike")])
    apply_ops(store, field.id, "Cid", [make_op(field.id, "state", state="complete")])
    assert overview(store).reviews == {
        "Ann": ReadBy("complete", 1),
        "Bob": ReadBy("in_review", 0),
        "Cid": ReadBy("complete_empty", 0),
    }


def test_of_several_detections_the_most_urgent_is_told(store: Store, field: StoredField) -> None:
    assert overview(store).detection == ""
    queue.enqueue(store, [field.id], "v1", by="Ann")
    queue.enqueue(store, [field.id], "v2", by="Ann")
    one = queue.take_next(store)
    assert one is not None and overview(store).detection == "running"
    queue.fail(store, one.id, "It is damaged.")
    assert overview(store).detection == "waiting"
    two = queue.take_next(store)
    assert two is not None
    found(store, field, "v2", [])
    queue.fail(store, two.id, "It is damaged.")
    assert (overview(store).detection, overview(store).message) == ("failed", "It is damaged.")


def test_a_field_without_scale_is_told_and_waits(store: Store) -> None:
    kept, _ = add_unscaled(store, Field(make_field().pixels, None, "a"))
    queue.enqueue(store, [kept.id], "v1", by="Ann")
    one = overview(store)
    assert (one.um_per_px, one.detection, one.area_mm2) == (None, "needs_scale", 0.0)
    set_scale(store, kept.id, 0.25)
    assert overview(store).area_mm2 == pytest.approx((SIZE_PX * 0.25 / 1000) ** 2)


def test_readers_are_asked_and_no_longer_asked(store: Store, field: StoredField) -> None:
    other, _ = add_field(store, make_field(1))
    for name in ("Bob", " Ann ", "Bob"):
        assign(store, [field.id, other.id, 999], name, by="Cid")
    assert overview(store).assigned == ("Ann", "Bob")
    unassign(store, [field.id], "Ann")
    assert [one.assigned for one in read_overview(store, "v1")] == [("Bob",), ("Ann", "Bob")]
    with pytest.raises(BadOp):
        assign(store, [field.id], " ", by="Cid")
    delete_field(store, field.id, by="Cid")
    assert [one.assigned for one in read_overview(store, "v1")] == [("Ann", "Bob")]


def test_a_small_picture_is_kept_with_a_field_made_again_when_lost_and_goes_with_it(
    store: Store, field: StoredField
) -> None:
    import cv2

    place = store.folder / "thumbnails" / f"{field.digest}.jpg"
    first = place.read_bytes()
    assert cv2.imdecode(np.frombuffer(first, np.uint8), 1).shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
    place.unlink()
    assert read_thumbnail(store, field.digest) == first == place.read_bytes()
    delete_field(store, field.id, by="Ann")
    assert not place.exists() and read_thumbnail(store, field.digest) is None
