"""Who is to review which field."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import delete, select

from db.dialects.base import database_of
from db.engine import Store
from db.ops import check_reader
from db.schema import AssignmentRow, FieldRow


def assign(store: Store, field_ids: Iterable[int], reader: str, *, by: str) -> None:
    """Ask a reader to review fields; deleted ones are passed over. Raises BadOp for a name that is none."""
    reader, now, ids = check_reader(reader), datetime.now(UTC), list(field_ids)
    with store.writing() as session:
        there = session.scalars(select(FieldRow.id).where(FieldRow.id.in_(ids))).all()
        rows = [{"field_id": one, "reader": reader, "by": by[:60], "at": now} for one in there]
        if rows:
            session.execute(database_of(session).upsert(AssignmentRow).on_conflict_do_nothing(), rows)


def assigned_fields(store: Store, reader: str) -> frozenset[int]:
    """The ids of the fields that a reader was asked to review."""
    with store.reading() as session:
        return frozenset(session.scalars(select(AssignmentRow.field_id).where(AssignmentRow.reader == reader)))


def unassign(store: Store, field_ids: Iterable[int], reader: str) -> None:
    """Take back what a reader was asked for; verdicts stay."""
    gone = delete(AssignmentRow).where(AssignmentRow.reader == reader, AssignmentRow.field_id.in_(list(field_ids)))
    with store.writing() as session:
        session.execute(gone)
