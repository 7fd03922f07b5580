"""The tissue of fields, kept beside them: what comes back is what was measured, of that scale alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from db import tissues
from db.engine import Store, open_store
from db.fields import StoredField, add_field, delete_field
from db.tissues import read_tissue, write_tissue
from mitosis_core.image.tissue import Tissue, find_tissue
from mitosis_core.types import Field


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Store, StoredField, Tissue]:
    """A field of 300 x 200 px whose left half is glass, and its tissue, kept."""
    store = open_store(tmp_path / "data")
    pixels = np.full((200, 300, 3), 245, np.uint8)
    pixels[:, 150:] = (200, 120, 170)
    field = Field(pixels, 0.5, "half.png")
    stored, _ = add_field(store, field)
    found = find_tissue(field)
    write_tissue(store, stored, found)
    return store, stored, found


def test_it_comes_back_as_it_was(kept: tuple[Store, StoredField, Tissue]) -> None:
    store, stored, found = kept
    again = read_tissue(store, stored)
    assert again is not None and (again.mask == found.mask).all() and again.area_mm2 == found.area_mm2
    assert again.cell_px == found.cell_px and 0.45 < again.share < 0.55


def test_of_another_scale_or_method_nothing_is_kept(
    kept: tuple[Store, StoredField, Tissue], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stored, _ = kept
    assert read_tissue(store, stored._replace(um_per_px=0.25)) is None
    monkeypatch.setattr(tissues, "METHOD", tissues.METHOD + 1)
    assert read_tissue(store, stored) is None


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_damaged_file_is_as_none(kept: tuple[Store, StoredField, Tissue], content: bytes) -> None:
    store, stored, _ = kept
    (place,) = (store.folder / "tissues").iterdir()
    place.write_bytes(content)
    assert read_tissue(store, stored) is None


def test_it_goes_with_its_field(kept: tuple[Store, StoredField, Tissue]) -> None:
    store, stored, _ = kept
    delete_field(store, stored.id, by="Ann")
    assert not list((store.folder / "tissues").iterdir())
