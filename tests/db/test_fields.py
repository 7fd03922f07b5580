"""Images are kept once, without anything but their pixels, and go with their rows."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from sqlalchemy import func, select

from db.doctor import examine, is_sound
from db.engine import Store
from db.errors import BadValue, FieldGone, ImageDamaged
from db.fields import (
    StoredField,
    UnscaledField,
    add_field,
    add_unscaled,
    appearances,
    count_fields,
    delete_field,
    find_field,
    finished_field_ids,
    get_field,
    image_path,
    list_cases,
    list_fields,
    list_unscaled,
    load_field,
    rename,
    save_appearances,
    set_case,
    set_scale,
    tombstones,
)
from db.labels import reviewed_fields
from db.orphans import set_orphans_aside
from db.predictions import save_prediction
from db.reviews import apply_ops
from db.schema import Base
from mitosis_core.errors import ConcentricError, MissingScale
from mitosis_core.image.reading import read_field
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.types import Detections, Field, Prediction
from tests.db.conftest import SIZE_PX, MakeOp, make_field, make_op


def test_a_field_comes_back_as_it_was(store: Store) -> None:
    field = make_field()
    stored, was_there = add_field(store, field, case="S26-1")
    back = load_field(store, stored)
    assert not was_there and np.array_equal(back.pixels, field.pixels)
    assert (back.um_per_px, back.name, stored.case, stored.width_px) == (0.25, "slide 7.png", "S26-1", 100)
    assert stored.area_mm2 == pytest.approx(0.025**2)
    assert stored.file_size == image_path(store, stored.digest).stat().st_size
    assert get_field(store, stored.id) == find_field(store, field.digest) == stored


def test_the_same_image_again_is_recognised_and_keeps_its_scale(store: Store, field: StoredField) -> None:
    again, was_there = add_field(store, Field(make_field().pixels, 0.5, "other.tif"))
    assert was_there and again == field and list_fields(store) == [field]


def test_a_damaged_image_is_a_sentence_and_an_upload_repairs_it(store: Store, field: StoredField) -> None:
    path = image_path(store, field.digest)
    for content in (b"", path.read_bytes()[:2000], image_of(make_field(1))):
        path.write_bytes(content)
        with pytest.raises(ImageDamaged, match="is damaged; please upload it again"):
            load_field(store, field)
    path.unlink()
    with pytest.raises(ImageDamaged, match="is missing"):
        load_field(store, field)
    assert add_field(store, make_field())[1]
    assert load_field(store, field).digest == field.digest


def image_of(field: Field) -> bytes:
    buffer = BytesIO()
    Image.fromarray(field.pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_nothing_of_the_file_but_its_pixels_is_stored(store: Store, form: str) -> None:
    secret, buffer = "DOE^JANE 1950-01-01", BytesIO()
    image = Image.fromarray(make_field().pixels)
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Patient", secret)
        image.save(buffer, "PNG", pnginfo=info)
    else:
        image.save(buffer, "TIFF", description=secret)
    assert secret.encode() in buffer.getvalue()
    read = read_field(buffer.getvalue(), name=f"{secret}.x", um_per_px=0.25)
    stored, _ = add_field(store, read, keep_name=False)
    written = b"".join(file.read_bytes() for file in store.folder.rglob("*") if file.is_file())
    assert secret.encode() not in written and stored.name == f"Field {stored.id}"
    with Image.open(image_path(store, stored.digest)) as kept:
        assert kept.info == {}


def test_a_field_without_scale_is_refused(store: Store) -> None:
    with pytest.raises(MissingScale, match="µm"):
        add_field(store, Field(make_field().pixels, None, "x"))


def test_cases_names_and_scales_can_be_changed(store: Store, field: StoredField) -> None:
    other = add_field(store, make_field(1), case="B")[0]
    set_case(store, field.id, " A ")
    rename(store, field.id, "first")
    set_scale(store, field.id, 0.5)
    assert list_cases(store) == ["A", "B"] and list_fields(store, "B") == [other]
    changed = get_field(store, field.id)
    assert (changed.name, changed.um_per_px) == ("first", 0.5)
    with pytest.raises(MissingScale):
        set_scale(store, field.id, 250)
    with pytest.raises(FieldGone):
        rename(store, 99, "x")


def test_deleting_takes_rows_and_file_and_the_id_for_ever(store: Store, field: StoredField, op: MakeOp) -> None:
    found = Detections(np.array([[1, 2]]), np.array([0.5]), np.array([9.0]))
    save_prediction(store, field.id, Prediction(found, 0.5, "v1", 1.0, 1.0))
    apply_ops(store, field.id, "Ann", [op(), op("state", state="complete")])
    delete_field(store, field.id, by="Ann")
    with store.reading() as session:
        left = {
            table.name: session.scalar(select(func.count()).select_from(table)) for table in Base.metadata.sorted_tables
        }
    assert {name for name, rows in left.items() if rows} == {"tombstone"} and list(store.images.iterdir()) == []
    with pytest.raises(FieldGone):
        apply_ops(store, field.id, "Ann", [op()])
    assert add_field(store, make_field())[0].id > field.id


def test_a_tombstone_says_what_was_deleted_and_by_whom(store: Store) -> None:
    kept, gone = (add_field(store, make_field(seed), case="S26-1")[0] for seed in (1, 2))
    for reader in ("Ann", "Bob"):
        apply_ops(store, gone.id, reader, [make_op(gone.id), make_op(gone.id, id="m2", seq=2, client="page")])
    apply_ops(store, gone.id, "Bob", [make_op(gone.id, "delete", id="m2", seq=3)])
    apply_ops(store, kept.id, "Ann", [make_op(kept.id)])
    assert tombstones(store) == []
    delete_field(store, gone.id, by="Ann")
    (one,) = tombstones(store)
    assert (one.field_id, one.digest, one.name, one.case) == (gone.id, gone.digest, gone.name, "S26-1")
    assert (one.marks, one.events, one.by) == (3, 5, "Ann") and one.at.tzinfo is not None
    with pytest.raises(FieldGone):
        delete_field(store, gone.id, by="Ann")
    assert len(tombstones(store)) == 1


def test_what_no_database_can_hold_is_a_sentence(store: Store, field: StoredField) -> None:
    for ask in (lambda: find_field(store, "\ud800"), lambda: get_field(store, 2**70)):
        with pytest.raises(BadValue, match="Nothing was saved"):
            ask()
    rename(store, field.id, "a\ud800b")
    assert get_field(store, field.id).name == "a b"


def test_looks_are_kept_and_go_with_their_field(store: Store, field: StoredField) -> None:
    other = add_field(store, make_field(seed=1))[0]
    assert appearances(store) == {}
    save_appearances(store, {field.id: (0.5, 0.25), 99: (1.0,)})
    save_appearances(store, {other.id: ()})  # bare glass is known to be so
    assert appearances(store) == {field.id: (0.5, 0.25), other.id: ()}
    delete_field(store, field.id, by="Ann")
    assert appearances(store) == {other.id: ()}


def test_a_field_is_finished_when_any_reader_has_completed_it(store: Store, field: StoredField, op: MakeOp) -> None:
    apply_ops(store, field.id, "Anna", [op("state", state="in_review")])
    assert finished_field_ids(store) == set()
    apply_ops(store, field.id, "Bert", [op("state", state="complete")])
    assert finished_field_ids(store) == {field.id}


# ---- fields that wait for their µm/px


def unscaled(seed: int = 5) -> Field:
    return Field(make_field(seed).pixels, None, "b.png", "unknown")


def test_a_field_without_a_scale_is_kept_and_waits(store: Store, field: StoredField) -> None:
    kept, was_there = add_unscaled(store, unscaled(), case="B")
    assert isinstance(kept, UnscaledField) and not was_there and list_unscaled(store) == [kept]
    assert (kept.name, kept.case, kept.width_px) == ("b.png", "B", SIZE_PX) and list_unscaled(store, "other") == []
    assert list_fields(store) == [field] and find_field(store, kept.digest) is None and count_fields(store) == 1
    with pytest.raises(MissingScale, match="how many µm"):
        get_field(store, kept.id)
    with pytest.raises(MissingScale):
        save_prediction(store, kept.id, Prediction(Detections(), 0.5, "v", 1.0, 0.1))
    assert set_orphans_aside(store) == [] and image_path(store, kept.digest).exists()  # no file without a row
    set_scale(store, kept.id, 0.5)
    assert list_unscaled(store) == [] and get_field(store, kept.id).um_per_px == 0.5
    assert load_field(store, get_field(store, kept.id)).digest == kept.digest


def test_the_same_field_brought_again_with_its_scale_waits_no_longer(store: Store) -> None:
    kept, _ = add_unscaled(store, unscaled())
    again, was_there = add_unscaled(store, unscaled())
    assert was_there and again == kept
    with_scale, was_there = add_field(store, make_field(5))
    assert was_there and (with_scale.id, with_scale.um_per_px) == (kept.id, 0.25)
    assert add_unscaled(store, unscaled()) == (with_scale, True)  # what is known stays


def test_a_field_that_waits_can_be_deleted_and_is_examined(store: Store) -> None:
    kept, _ = add_unscaled(store, unscaled())
    assert is_sound(examine(store.folder, url=store.url))
    image_path(store, kept.digest).unlink()
    assert any(f"field {kept.id}, b.png, is missing" in one.says for one in examine(store.folder, url=store.url))
    delete_field(store, kept.id, by="Ann")
    assert list_unscaled(store) == [] and is_sound(examine(store.folder, url=store.url))


# ---- the sample


def test_the_drawn_sample_is_never_stored_whatever_it_is_called(store: Store) -> None:
    drawn = draw_sample_field().field
    for field in (drawn, Field(drawn.pixels, 0.5, "A00_01.tif", "TIFF resolution"), Field(drawn.pixels, None, "x")):
        with pytest.raises(ConcentricError, match="drawn by the program"):
            (add_field if field.um_per_px else add_unscaled)(store, field)
    assert list_fields(store) == list_unscaled(store) == [] and not list(store.images.iterdir())
    real = drawn.pixels.copy()
    real[0, 0] ^= 1
    assert not add_field(store, Field(real, 0.25, "a real field of the same size"))[1]


def test_a_sample_that_an_earlier_program_stored_teaches_nothing(
    store: Store, field: StoredField, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("db.fields", "db.labels"):
        monkeypatch.setattr(f"{module}.is_sample", lambda digest, *size: digest == field.digest)
    other = add_field(store, make_field(1))[0]
    for one in (field, other):
        apply_ops(store, one.id, "Ann", [make_op(one.id, "state", state="complete")])
    assert [one.field.id for one in reviewed_fields(store)] == [other.id]
