"""Fields that are kept: one image each, found again by its digest."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import CursorResult, Select, delete, func, select, update
from sqlalchemy.orm import Session

from db.engine import Store
from db.errors import FieldGone, ImageDamaged, StoreFailed, as_sentences
from db.images import decode, encode, image_name, image_path, is_whole
from db.schema import EventRow, FieldRow, MarkRow, ReviewRow, TombstoneRow
from db.splits import carry_over, check_side, check_together
from db.thumbnails import delete_thumbnail, write_thumbnail
from db.tissues import delete_tissues
from mitosis_core.errors import ConcentricError, MissingScale
from mitosis_core.image.appearance import Appearance
from mitosis_core.image.sample_field import is_sample
from mitosis_core.scale import check_um_per_px
from mitosis_core.types import Field, Region

__all__ = [
    "StoredField",
    "Tombstone",
    "UnscaledField",
    "add_field",
    "add_unscaled",
    "appearances",
    "delete_field",
    "find_field",
    "finished_field_ids",
    "get_field",
    "image_path",
    "list_cases",
    "list_fields",
    "list_unscaled",
    "load_field",
    "load_image",
    "rename",
    "rename_case",
    "save_appearances",
    "set_case",
    "set_scale",
    "tombstones",
]

_SCALED = FieldRow.um_per_px.is_not(None)
NEEDS_SCALE = "The file does not say how many µm a pixel measures. Please give it; until then the field waits."
_GONE = "This field is no longer there: it was deleted."
_SAMPLE = (
    "The sample field is drawn by the program, so it is not stored: no version may learn from it or be judged on it."
)


class StoredField(NamedTuple):
    """What is known of a field without opening its image. file_size: bytes of the stored image.

    A tuple, because a queue has 50,000 of them: a frozen dataclass takes six times as long to make.
    """

    id: int
    digest: str
    name: str
    case: str
    um_per_px: float
    scale_source: str
    width_px: int
    height_px: int
    file_size: int

    @property
    def extent(self) -> Region:
        """The whole image."""
        return Region(0, 0, self.width_px, self.height_px)

    @property
    def area_mm2(self) -> float:
        """Area of the whole image."""
        return self.extent.area_mm2(self.um_per_px)


@dataclass(frozen=True)
class UnscaledField:
    """A field that waits until somebody says how many µm a pixel measures: no list of fields, no review has it."""

    id: int
    digest: str
    name: str
    case: str
    width_px: int
    height_px: int


@dataclass(frozen=True)
class Tombstone:
    """A field that was deleted. marks: that stood, of all readers; events: all; at: UTC."""

    field_id: int
    digest: str
    name: str
    case: str
    marks: int
    events: int
    by: str
    at: datetime


def add_field(
    store: Store, field: Field, *, case: str = "", name: str | None = None, keep_name: bool = True
) -> tuple[StoredField, bool]:
    """Keep the pixels of a field and nothing else of its file. Returns it, and whether it was there before.

    An image that was there stays as it was, its µm/px too (`set_scale` changes that; only one that waited for it takes
    it); its stored file is made anew when it is damaged. name: instead of that of the file; keep_name False: a number
    instead (it may name a patient). Raises MissingScale, StoreBusy, StoreFull, StoreFailed; ConcentricError for the
    sample field.
    """
    if field.um_per_px is None:
        raise MissingScale(f"{field.name}: please say how many µm a pixel measures before it is kept.")
    kept, was_there = _keep(store, field, case, name, keep_name)
    assert isinstance(kept, StoredField), "its µm/px is known"
    return kept, was_there


def add_unscaled(
    store: Store, field: Field, *, case: str = "", name: str | None = None, keep_name: bool = True
) -> tuple[StoredField | UnscaledField, bool]:
    """`add_field` for a field whose µm/px nobody knows yet: it waits for `set_scale`, unless it was there with one."""
    return _keep(store, field, case, name, keep_name)


def _keep(
    store: Store, field: Field, case: str, name: str | None, keep_name: bool
) -> tuple[StoredField | UnscaledField, bool]:
    if is_sample(field.digest, field.width_px, field.height_px):
        raise ConcentricError(_SAMPLE)
    known = find_field(store, field.digest)
    if known and is_whole(store, known.digest):
        return known, True
    files, image, content = store.image_files, image_name(field.digest), encode(field.pixels)
    with as_sentences():
        part = files.write_part(image, content)
    try:
        with store.writing() as session:
            row = session.scalar(select(FieldRow).where(FieldRow.digest == field.digest))
            was_there = row is not None
            if row is None:
                row = _row(field, _line(name or field.name, 200), _line(case, 100), len(content))
                session.add(row)
                session.flush()
                if not keep_name and name is None:
                    row.name = f"Field {row.id}"
            elif row.um_per_px is None and field.um_per_px is not None:
                row.um_per_px, row.scale_source = field.um_per_px, _line(field.scale_source, 100)
            # While nobody else writes: a start or a deletion elsewhere sees the file and its row, or neither.
            files.put(part, image)
        write_thumbnail(store, field.digest, field.pixels)
        return (_unscaled(row) if row.um_per_px is None else _stored(row)), was_there
    except BaseException:
        with suppress(OSError, StoreFailed):
            files.remove(part)
        raise


def get_field(store: Store, field_id: int) -> StoredField:
    """Raises FieldGone; MissingScale for one that waits for its µm/px."""
    with store.reading() as session:
        row = session.get(FieldRow, field_id)
        if row is None:
            raise FieldGone(_GONE)
        if row.um_per_px is None:
            raise MissingScale(f"{row.name}: {NEEDS_SCALE}")
        return _stored(row)


def find_field(store: Store, digest: str) -> StoredField | None:
    """The field with this digest, if it is kept and its µm/px is known."""
    with store.reading() as session:
        row = session.scalar(select(FieldRow).where(FieldRow.digest == digest, _SCALED))
        return _stored(row) if row else None


def list_fields(store: Store, case: str | None = None) -> list[StoredField]:
    """All fields, or those of one case, in the order they came."""
    columns = [FieldRow.__table__.c[name] for name in StoredField._fields]
    wanted = select(*columns).where(_SCALED).order_by(FieldRow.id)
    with store.reading() as session:
        rows = session.connection().execute(wanted if case is None else wanted.where(FieldRow.case == case))
        return [StoredField(*row) for row in rows]


def list_unscaled(store: Store, case: str | None = None) -> list[UnscaledField]:
    """All fields that wait for their µm/px, or those of one case, in the order they came."""
    with store.reading() as session:
        return [_unscaled(row) for row in session.scalars(_in_case(case).where(~_SCALED))]


def count_fields(store: Store) -> int:
    """How many fields are kept, those that wait for their µm/px left out."""
    with store.reading() as session:
        return session.scalar(select(func.count()).select_from(FieldRow).where(_SCALED)) or 0


def list_cases(store: Store) -> list[str]:
    """Names of the cases, "" among them when a field belongs to none."""
    with store.reading() as session:
        return list(session.scalars(select(FieldRow.case).distinct().order_by(FieldRow.case)))


def rename(store: Store, field_id: int, name: str) -> None:
    """Raises FieldGone; ConcentricError when nothing is left of the name."""
    if not _line(name, 200):
        raise ConcentricError("A field needs a name.")
    _set(store, field_id, name=_line(name, 200))


def set_case(store: Store, field_id: int, case: str) -> None:
    """Move a field to another case; a new one takes the split of the old one (`db.splits`).

    Raises FieldGone, and ConcentricError when a run has used the field and the other case is on the other side.
    """
    with store.writing() as session:
        row = session.get(FieldRow, field_id)
        if row is None:
            raise FieldGone(_GONE)
        before, new = row.case, _line(case, 100)
        check_side(session, row, new)
        row.case = new
        session.flush()
        carry_over(session, before, row.case)


def rename_case(store: Store, case: str, name: str) -> None:
    """Give all fields of a case to one of this name, and its split with them; two cases may become one so.

    Raises ConcentricError when nothing is left of the name, there is no such case, or one trains and one is held out.
    """
    new = _line(name, 100)
    if not case or not new:
        raise ConcentricError("A case needs a name.")
    with store.writing() as session:
        check_together(session, case, new)
        done = session.execute(update(FieldRow).where(FieldRow.case == case).values(case=new))
        if isinstance(done, CursorResult) and done.rowcount == 0:
            raise ConcentricError(f"There is no case {case}.")
        carry_over(session, case, new)


def set_scale(store: Store, field_id: int, um_per_px: float) -> None:
    """Correct the µm/px. Predictions made at the old one stay, unused. Raises MissingScale, FieldGone."""
    _set(store, field_id, um_per_px=check_um_per_px(um_per_px), scale_source="given")


def appearances(store: Store) -> dict[int, Appearance]:
    """field id -> how it looks; fields nobody has described yet are missing."""
    with store.reading() as session:
        rows = session.execute(select(FieldRow.id, FieldRow.look))
        return {key: tuple(look) for key, look in rows if look is not None}


def save_appearances(store: Store, found: Mapping[int, Appearance]) -> None:
    """Keep how these fields look, by id; those that were deleted meanwhile are passed over."""
    with store.writing() as session:
        for key, look in found.items():
            session.execute(update(FieldRow).where(FieldRow.id == key).values(look=list(look)))


def finished_field_ids(store: Store) -> set[int]:
    """Ids of the fields that any reader has completed."""
    with store.reading() as session:
        return set(session.scalars(select(ReviewRow.field_id).where(ReviewRow.state == "complete").distinct()))


def load_field(store: Store, stored: StoredField) -> Field:
    """The field with its pixels. Raises ImageDamaged when the image is missing or not the one that was kept, another
    StoreFailed when the object store of the images cannot be reached."""
    pixels = decode(load_image(store, stored), stored.digest)
    if pixels is None:
        raise ImageDamaged(_damaged(stored, "damaged"))
    return Field(pixels, stored.um_per_px, stored.name, stored.scale_source)


def load_image(store: Store, stored: StoredField) -> bytes:
    """The stored image of a field as it lies there, a PNG; whether it is the right one is not looked at. Raises as
    `load_field`."""
    try:
        return store.image_files.read_once(image_name(stored.digest))
    except OSError as error:
        raise ImageDamaged(_damaged(stored, "missing or cannot be read")) from error


def delete_field(store: Store, field_id: int, *, by: str) -> None:
    """Remove a field, everything said about it, and its image; a tombstone says that it was. Raises FieldGone."""
    with store.writing() as session:
        row = session.get(FieldRow, field_id)
        if row is None:
            raise FieldGone(_GONE)
        digest = row.digest
        session.add(_tombstone(session, row, by))
        session.flush()  # before the field goes: the database wants the one for the other
        session.execute(delete(FieldRow).where(FieldRow.id == field_id))
    # After the rows, so that a crash in between leaves a file (the next start sets it aside) and not a row without
    # one; asking again, because the same image may have been added anew.
    with store.writing() as session:
        if session.scalar(select(FieldRow.id).where(FieldRow.digest == digest)) is None:
            store.image_files.remove(image_name(digest))
            delete_thumbnail(store, digest)
            delete_tissues(store, digest)


def tombstones(store: Store) -> list[Tombstone]:
    """What is known of deleted fields, in the order they were deleted."""
    with store.reading() as session:
        rows = session.scalars(select(TombstoneRow).order_by(TombstoneRow.id))
        return [Tombstone(**{one.name: getattr(row, one.name) for one in fields(Tombstone)}) for row in rows]


def _set(store: Store, field_id: int, **values: object) -> None:
    with store.writing() as session:
        done = session.execute(update(FieldRow).where(FieldRow.id == field_id).values(**values))
        if isinstance(done, CursorResult) and done.rowcount == 0:
            raise FieldGone(_GONE)


def _line(text: str, longest: int) -> str:
    """One line of printable characters, each letter in its one spelling (some systems write ü as u and two dots)."""
    text = unicodedata.normalize("NFC", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:longest]


def _in_case(case: str | None) -> Select[FieldRow]:
    wanted = select(FieldRow).order_by(FieldRow.id)
    return wanted if case is None else wanted.where(FieldRow.case == case)


def _row(field: Field, name: str, case: str, file_size: int) -> FieldRow:
    return FieldRow(
        digest=field.digest,
        name=name or "Field",
        case=case,
        um_per_px=field.um_per_px,
        scale_source=_line(field.scale_source, 100),
        width_px=field.width_px,
        height_px=field.height_px,
        file_size=file_size,
        created_at=datetime.now(UTC),
    )


def _tombstone(session: Session, row: FieldRow, by: str) -> TombstoneRow:
    marks = select(func.count()).where(MarkRow.field_id == row.id, ~MarkRow.deleted)
    events = select(func.count()).where(EventRow.field_id == row.id)
    return TombstoneRow(
        field_id=row.id,
        digest=row.digest,
        name=row.name,
        case=row.case,
        marks=session.scalar(marks) or 0,
        events=session.scalar(events) or 0,
        by=_line(by, 60) or "somebody",
        at=datetime.now(UTC),
    )


def _damaged(stored: StoredField, how: str) -> str:
    return (
        f"The stored image of {stored.name} is {how}; please upload it again, or put it back from a backup "
        "(python -m db doctor lists all such fields)."
    )


def _stored(row: FieldRow) -> StoredField:
    return StoredField(*(getattr(row, name) for name in StoredField._fields))


def _unscaled(row: FieldRow) -> UnscaledField:
    return UnscaledField(**{one.name: getattr(row, one.name) for one in fields(UnscaledField)})
