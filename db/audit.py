"""Who changed a review, decided about a version or deleted a field, oldest first, as CSV or JSON lines.

Names and notes of versions, splits, assignments, runs and given µm/px are not in it.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, TextIO

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.schema import DecisionRow, EventRow, FieldRow, TombstoneRow
from mitosis_core.interchange.safe_csv import SafeTable

FORMATS = ("csv", "jsonl")
_AT_ONCE = 2000  # rows read ahead


@dataclass(frozen=True)
class Entry:
    """One thing somebody did. Places are pixels of the original image.

    record: event (a change to a review), decision (about a version), deletion (of a field, with what it held).
    id: within its kind of record. what: the kind of change or decision.
    target: the mark, or ":state", ":area", ":time".
    """

    at: datetime
    record: str
    id: int
    who: str
    what: str
    field_id: int | None = None
    field_digest: str | None = None
    field_name: str | None = None
    case: str | None = None
    target: str | None = None
    x_px: float | None = None
    y_px: float | None = None
    verdict: str | None = None
    state: str | None = None
    x0_px: float | None = None
    y0_px: float | None = None
    x1_px: float | None = None
    y1_px: float | None = None
    seconds: float | None = None
    superseded: bool | None = None
    version: str | None = None
    score: float | None = None
    op_id: str | None = None
    client: str | None = None
    seq: int | None = None
    base: int | None = None
    sent_ms: float | None = None
    note: str | None = None
    marks: int | None = None
    events: int | None = None
    comment: str | None = None
    settles: bool | None = None


_SAME = (  # named alike in the table of events
    "id",
    "at",
    "field_id",
    "case",
    "target",
    "verdict",
    "state",
    "seconds",
    "superseded",
    "version",
    "score",
    "op_id",
    "client",
    "seq",
    "base",
    "sent_ms",
    "comment",
    "settles",
)
COLUMNS = tuple(one.name for one in fields(Entry))


def entries(store: Store) -> Iterator[Entry]:
    """All of them as of one moment, by time; read a few at a time, so that a million need no more memory than one.

    Events of a deleted field are gone with it; its deletion says how many there were. Raises StoreFailed.
    """
    with store.reading() as session:
        yield from heapq.merge(_events(session), _decisions(session), _deletions(session), key=lambda one: one.at)


def write(store: Store, out: TextIO, form: str = "csv") -> int:
    """Write all entries; returns how many. form: csv (text that a spreadsheet would compute is escaped) or jsonl."""
    number = 0
    table = SafeTable(out)
    if form == "csv":
        table.write_row(COLUMNS)
    for number, entry in enumerate(entries(store), 1):  # noqa: B007
        values = {**asdict(entry), "at": entry.at.isoformat(timespec="microseconds")}
        if form == "csv":
            table.write_row(values.values())
        else:
            known = {name: value for name, value in values.items() if value is not None}
            out.write(json.dumps(known, ensure_ascii=False) + "\n")
    return number


def _rows(session: Session, wanted: Select[Any]) -> Iterator[Any]:
    yield from session.execute(wanted.execution_options(yield_per=_AT_ONCE))


def _events(session: Session) -> Iterator[Entry]:
    event, field = EventRow.__table__.c, FieldRow.__table__.c
    named = (field.digest, field.name, field.case)
    for row in _rows(session, select(*event, *named).join_from(EventRow, FieldRow).order_by(event.at, event.id)):
        yield Entry(
            record="event",
            who=row.reader,
            what=row.kind,
            field_digest=row.digest,
            field_name=row.name,
            x_px=row.x,
            y_px=row.y,
            x0_px=row.x0,
            y0_px=row.y0,
            x1_px=row.x1,
            y1_px=row.y1,
            **{name: getattr(row, name) for name in _SAME},
        )


def _decisions(session: Session) -> Iterator[Entry]:
    for row in _rows(session, select(*DecisionRow.__table__.c).order_by(DecisionRow.at, DecisionRow.id)):
        yield Entry(row.at, "decision", row.id, row.by, row.kind, version=row.version, note=row.note)


def _deletions(session: Session) -> Iterator[Entry]:
    for row in _rows(session, select(*TombstoneRow.__table__.c).order_by(TombstoneRow.at, TombstoneRow.id)):
        yield Entry(
            row.at,
            "deletion",
            row.id,
            row.by,
            "delete field",
            field_id=row.field_id,
            field_digest=row.digest,
            field_name=row.name,
            case=row.case,
            marks=row.marks,
            events=row.events,
        )
