"""The tissue that pages share: measured once for a field and its scale, and never waited for where nobody should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from db.engine import open_store
from db.fields import image_path
from pages.shared.service import tissue_cache
from pages.shared.service.tissue_cache import TissueCache
from tests.db.drawn_case import TISSUE_MM2, add_case
from tests.waiting import until


def test_it_is_measured_once_for_a_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    (field,) = add_case(store, "A", 1)
    known = TissueCache()
    first = known.of(store, field)
    assert first.area_mm2 == pytest.approx(TISSUE_MM2, rel=0.01)
    image_path(store, field.digest).unlink()  # so it cannot be read again
    assert known.of(store, field) is first and known.soon(store, field) is first
    with pytest.raises(Exception, match="missing"):
        known.of(store, replace(field, um_per_px=0.5))


def test_who_does_not_wait_has_it_the_next_time(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    (field,) = add_case(store, "A", 1)
    known = TissueCache()
    assert known.soon(store, field) is None
    until(lambda: known.soon(store, field) is not None)


def test_a_damaged_image_stops_nobody_else(tmp_path: Path) -> None:
    store = open_store(tmp_path / "data")
    damaged, whole = add_case(store, "A", 2)
    image_path(store, damaged.digest).write_bytes(b"")
    known = TissueCache()
    assert known.soon(store, damaged) is None and known.soon(store, whole) is None
    until(lambda: known.soon(store, whole) is not None)
    assert known.soon(store, damaged) is None


def test_the_longest_unused_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    read = []
    monkeypatch.setattr(tissue_cache, "read_tissue", lambda store, field: read.append(field.name) or field.name)
    known = TissueCache(size=2)
    one, two, three = add_case(store, "A", 3)
    for field in (one, two, one, three, one, two):
        known.of(store, field)
    assert read == ["0.png", "1.png", "2.png", "1.png"]


def test_what_was_measured_is_there_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "data")
    (field,) = add_case(store, "A", 1)
    before = TissueCache().of(store, field)
    monkeypatch.setattr(tissue_cache, "find_tissue", None)  # it is not measured again
    after = TissueCache().of(store, field)
    assert (after.mask == before.mask).all()
    assert (after.cell_px, after.um_per_px, after.region) == (before.cell_px, before.um_per_px, before.region)
