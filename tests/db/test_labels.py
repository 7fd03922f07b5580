"""What several readers of parts of a field say of it together."""

from __future__ import annotations

from typing import Any

import pytest

from db.engine import Store
from db.fields import StoredField
from db.labels import ReviewedField, reviewed_fields
from db.reader_agreement import compare
from db.reviews import apply_ops, overviews, review_of
from mitosis_core.types import Region
from tests.db.conftest import SIZE_PX, make_op


def finish(store: Store, field: StoredField, reader: str, area: list[float] | None, **mark: Any) -> None:
    """A reader reviews an area, marks one mitosis, and completes the field."""
    ops = [make_op(field.id, **mark), make_op(field.id, "area", seq=2, area=area)]
    assert not apply_ops(store, field.id, reader, [*ops, make_op(field.id, "state", seq=3, state="complete")]).refused


def labels(store: Store) -> ReviewedField:
    (one,) = reviewed_fields(store)
    return one


def test_a_field_reviewed_in_part_counts_in_part(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", [0, 0, 50, 20])
    one = labels(store)
    assert one.region == Region(0, 0, 50, 20) and one.um_per_px == 0.25
    assert one.area_mm2 == pytest.approx(0.0125 * 0.005) and field.area_mm2 == pytest.approx(0.025**2)


def test_who_reviewed_most_votes(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", [0, 0, 50, 50], x=10)
    finish(store, field, "Bob", [0, 0, 50, SIZE_PX], x=40)
    assert labels(store).region == Region(0, 0, 50, SIZE_PX) and labels(store).mitoses_xy_px.tolist() == [[40, 20]]
    finish(store, field, "Cid", None, x=70)
    one = labels(store)
    assert one.region is None and one.area_mm2 == field.area_mm2 and one.mitoses_xy_px.tolist() == [[70, 20]]


def test_an_area_that_is_the_whole_field_is_the_whole_field(store: Store, field: StoredField) -> None:
    """It was drawn beyond the edges; both readers vote, so one mark of two is no majority."""
    finish(store, field, "Ann", None, x=10)
    finish(store, field, "Bob", [0, 0, SIZE_PX, SIZE_PX], x=70)
    one = labels(store)
    assert one.region is None and len(one.mitoses_xy_px) == 0 and len(one.unsure_xy_px) == 2
    (compared,) = compare(store, [field])
    assert set(compared.vote.reviews) == {"Ann", "Bob"} and len(compared.by_pair) == 1


def test_what_is_marked_beside_the_reviewed_area_is_no_label(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", [0, 0, 50, SIZE_PX], x=70)
    assert len(labels(store).mitoses_xy_px) == 0


def test_what_is_marked_beside_the_reviewed_area_is_not_counted_on_the_way_either(
    store: Store, field: StoredField
) -> None:
    finish(store, field, "Ann", [0, 0, 50, SIZE_PX], x=70)
    assert review_of(store, field.id, "Ann").count("mitosis") == 0
    assert overviews(store, "Ann")[field.id].mitoses == 0


def test_who_reviewed_less_than_another_cannot_settle(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", None, x=10)
    finish(store, field, "Bob", [0, 0, 50, 50], x=40)
    assert set(compare(store, [field])[0].vote.reviews) == {"Ann"}


def test_areas_that_differ_by_a_pixel_are_one(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", [0, 0, 60, 61], x=40)
    finish(store, field, "Bob", [1, 0, 60, 60], x=40, cls="lookalike")
    one = labels(store)
    assert one.region == Region(1, 0, 60, 60) and len(one.unsure_xy_px) == 1


def test_only_who_has_finished_a_field_is_in_the_consensus(store: Store, field: StoredField) -> None:
    finish(store, field, "Ann", None, x=10)
    apply_ops(store, field.id, "Cleo", [make_op(field.id, x=40)])
    assert compare(store, [field]) == []
    finish(store, field, "Bob", None, x=10)
    (compared,) = compare(store, [field])
    assert [one.votes_for for one in compared.vote.cells] == [2] and not compared.disputes
