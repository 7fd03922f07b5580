"""Reviews: append-only events, and the state that follows from them, always written together."""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialects.base import database_of
from db.engine import Store
from db.errors import BUSY, FieldGone, StoreBusy
from db.ops import MARK_KINDS, BadOp, Op, check_reader, parse_op
from db.predictions import provenance
from db.replay import Event, LastApplied, Mark, ReplayState, Review, replay, shown_state
from db.schema import EventRow, FieldRow, MarkRow, ReviewRow
from mitosis_core.errors import ConcentricError
from mitosis_core.types import Region, on_image
from mitosis_core.vocabulary import VERDICTS, ShownState, Verdict

__all__ = [
    "Applied",
    "BadOp",
    "Event",
    "Mark",
    "Op",
    "Overview",
    "Review",
    "apply_ops",
    "check_reader",
    "events_of",
    "history",
    "mark_times",
    "miscounted",
    "overviews",
    "parse_op",
    "readers",
    "reading_times",
    "rebuild",
    "replay",
    "replayed",
    "reserve_event_ids",
    "restore",
    "review_of",
    "reviews_of",
    "write_events",
]

MAX_OPS = 5000
LOCKED = {
    "complete": "This field is finished. Reopen it to change it.",
    "excluded": "This field is excluded. Reopen it to change it.",
}
LOCKED_KINDS = (*MARK_KINDS, "area")
_PROPOSAL = re.compile(r"p[0-9]{1,12}-[0-9]{1,12}")
_OF_MARK = tuple(one.name for one in fields(Mark))
_EVENT = EventRow.__table__.c
_REVIEW = ReviewRow.__table__.c
_MARK = MarkRow.__table__.c
# What a review counts of its marks, so that a queue of 50,000 fields need not count a million.
_COUNTED: dict[str, Verdict] = {"mitoses": "mitosis", "lookalikes": "lookalike", "unsure": "unsure"}


@dataclass(frozen=True)
class Applied:
    """What became of some changes, by op_id. refused: (op_id, sentence). rev: the last event of the review.

    missed: a page that this reader did not send these changes from has written since. locked: the sentence of changes
    that were refused because the field is finished or excluded; "" when there was none.
    """

    done: tuple[str, ...]
    superseded: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    rev: int
    missed: bool
    locked: str = ""


class Overview(NamedTuple):
    """A review in numbers. state: unseen, in_review, complete, complete_empty (no mitosis) or excluded."""

    state: ShownState = "unseen"
    mitoses: int = 0
    lookalikes: int = 0
    unsure: int = 0
    seconds: float = 0.0


def apply_ops(store: Store, field_id: int, reader: str, ops: Sequence[Op]) -> Applied:
    """Store changes in the order given; they are on disk when this returns. Sent again, they change nothing.

    Marks and area of a field that this reader has finished or excluded are locked until a state says otherwise.
    Raises FieldGone, BadOp (the reader's name, too many changes), StoreBusy, StoreFull; then nothing was stored.
    """
    reader = check_reader(reader)
    if len(ops) > MAX_OPS:
        raise BadOp("Too many changes at once.")
    try:
        with store.writing(_review_lock(field_id, reader)) as session:
            field = session.get(FieldRow, field_id)
            if field is None:
                raise FieldGone("This field is no longer there: it was deleted.")
            return _apply(session, field, reader, ops)
    except IntegrityError as error:  # the same op_id has come into another review at this moment
        raise StoreBusy(BUSY) from error


def review_of(store: Store, field_id: int, reader: str, until: int | None = None) -> Review:
    """The review as it is, or as it was just after the event `until`; unseen when there is none."""
    with store.reading() as session:
        if until is not None:
            return replay(event for event in events_of(session, field_id, reader) if event.id <= until)
        return _reviews(session, field_id, reader).get(reader, Review())


def reviews_of(store: Store, field_id: int) -> dict[str, Review]:
    """The reviews of all readers of a field, by name."""
    with store.reading() as session:
        return _reviews(session, field_id)


def overviews(store: Store, reader: str) -> dict[int, Overview]:
    """field id -> numbers, for the fields that this reader has seen."""
    wanted = select(_REVIEW.field_id, _REVIEW.state, *(_REVIEW[column] for column in _COUNTED), _REVIEW.seconds)
    with store.reading() as session:
        return {
            field_id: Overview(shown_state(state, mitoses), mitoses, *others)
            for field_id, state, mitoses, *others in session.connection().execute(
                wanted.where(_REVIEW.reader == reader)
            )
        }


def readers(store: Store) -> list[str]:
    """Names of all who have reviewed anything."""
    with store.reading() as session:
        return list(session.scalars(select(_REVIEW.reader).distinct().order_by(_REVIEW.reader)))


def history(store: Store, field_id: int, reader: str | None = None) -> list[Event]:
    """All events on a field, or those of one reader, oldest first."""
    with store.reading() as session:
        return events_of(session, field_id, reader)


def reading_times(store: Store, field_ids: Collection[int]) -> dict[tuple[int, str], tuple[datetime, datetime]]:
    """(field id, reader) -> the first and the last change of that review, for reviews of these fields; UTC."""
    wanted = (
        select(_EVENT.field_id, _EVENT.reader, func.min(_EVENT.at), func.max(_EVENT.at))
        .where(_EVENT.field_id.in_(list(field_ids)))
        .group_by(_EVENT.field_id, _EVENT.reader)
    )
    with store.reading() as session:
        return {(field_id, reader): (first, last) for field_id, reader, first, last in session.execute(wanted)}


def mark_times(store: Store, field_id: int, reader: str) -> dict[str, datetime]:
    """mark id -> when the reader said what now holds of it; UTC."""
    wanted = select(_EVENT.target, func.max(_EVENT.at)).where(
        _EVENT.field_id == field_id, _EVENT.reader == reader, ~_EVENT.superseded, _EVENT.kind.in_(MARK_KINDS)
    )
    with store.reading() as session:
        return {mark: at for mark, at in session.execute(wanted.group_by(_EVENT.target))}


def restore(store: Store, field_id: int, reader: str, event_id: int) -> Applied:
    """Bring marks, area and state back to what they were just after an event, by new events; time spent stays.

    It may be a finished field: who restores one of its states says so. Raises FieldGone; ConcentricError when the event
    is not one of this review.
    """
    with store.writing(_review_lock(field_id, reader)) as session:
        if session.get(FieldRow, field_id) is None:
            raise FieldGone("This field is no longer there: it was deleted.")
        events = events_of(session, field_id, reader)
        if event_id not in {event.id for event in events}:
            raise ConcentricError("This moment is not part of the history of this review.")
        then = replay(event for event in events if event.id <= event_id)
        course = ReplayState()
        for event in events:
            course.take(event)
        steps = list(_steps_back(course.review(), then, reader))
        numbers = reserve_event_ids(session, len(steps))
        taken = [course.take(replace(event, id=number)) for number, event in zip(numbers, steps, strict=True)]
        _write(session, field_id, reader, course, taken)
        return Applied(tuple(event.op_id for event in taken), (), (), course.rev, False)


def replayed(store: Store, field_id: int) -> tuple[dict[str, Review], bool]:
    """What the events of a field give, by reader, and whether each was rightly applied or superseded."""
    courses: dict[str, ReplayState] = defaultdict(ReplayState)
    rightly = [courses[event.reader].take(event).superseded == event.superseded for event in history(store, field_id)]
    return {reader: course.review() for reader, course in courses.items()}, all(rightly)


def miscounted(store: Store, field_id: int) -> set[str]:
    """The readers whose review of a field does not hold the numbers of its marks."""
    with store.reading() as session:
        kept = session.execute(select(ReviewRow.__table__).where(_REVIEW.field_id == field_id)).all()
        right = {row.reader: _counted(session, field_id, row.reader, stored_area(row)) for row in kept}
    return {
        row.reader
        for row in kept
        if any(getattr(row, column) != right[row.reader].get(verdict, 0) for column, verdict in _COUNTED.items())
    }


def rebuild(store: Store, field_id: int) -> None:
    """Make the marks and reviews of a field anew from its events."""
    with store.writing() as session:
        for table in (MarkRow, ReviewRow):
            session.execute(delete(table).where(table.field_id == field_id))
        for reader, review in replayed(store, field_id)[0].items():
            counts = {verdict: review.count(verdict) for verdict in VERDICTS}
            session.execute(insert(ReviewRow), [_review_row(review, field_id, reader, counts)])
            if review.marks:
                session.execute(insert(MarkRow), [_mark_row(mark, field_id, reader) for mark in review.marks])


def write_events(session: Session, field_id: int, reader: str, events: Sequence[Event]) -> list[Event]:
    """Store events as part of a larger change; returns them as they were stored.

    Their ids are from `reserve_event_ids`, or 0: then they get them here. Nothing is checked but the rule of
    `db.replay`, which says which of them are superseded.
    """
    if not all(event.id for event in events):
        numbers = reserve_event_ids(session, len(events))
        events = [replace(event, id=number) for event, number in zip(events, numbers, strict=True)]
    course = _course(session, field_id, reader, {event.target for event in events})
    taken = [course.take(event) for event in events]
    _write(session, field_id, reader, course, taken)
    return taken


def _apply(session: Session, field: FieldRow, reader: str, ops: Sequence[Op]) -> Applied:
    course = _course(session, field.id, reader, {op.target for op in ops})
    before = _already(session, [op.op_id for op in ops])
    origins = provenance(session, field.id, {op.target for op in ops if _PROPOSAL.fullmatch(op.target)})
    now, taken, seen, locked = datetime.now(UTC), list[Event](), set[str](), ""
    done, superseded, refused = list[str](), list[str](), list[tuple[str, str]]()
    numbers = iter(reserve_event_ids(session, len({op.op_id for op in ops} - before.keys())))
    for op in ops:
        if op.op_id in before:
            owner = before[op.op_id]
            if owner[:2] != (field.id, reader):
                refused.append((op.op_id, "This id belongs to a change of another review."))
            else:
                (superseded if owner[2] else done).append(op.op_id)
        elif op.op_id in seen:
            continue
        elif why := _objection(op, field, origins):
            refused.append((op.op_id, why))
        elif op.kind in LOCKED_KINDS and course.state in LOCKED:
            locked = LOCKED[course.state]
            refused.append((op.op_id, locked))
        else:
            event = _event_of(op, reader, now, origins.get(op.target))
            taken.append(course.take(replace(event, id=next(numbers))))
            seen.add(op.op_id)
    _write(session, field.id, reader, course, taken)
    done += [event.op_id for event in taken if not event.superseded]
    superseded += [event.op_id for event in taken if event.superseded]
    missed = _missed(session, field.id, reader, ops)
    return Applied(tuple(done), tuple(superseded), tuple(refused), course.rev, missed, locked)


def reserve_event_ids(session: Session, number: int) -> Sequence[int]:
    """Ids for new events, higher than all of the review that is locked: the rule needs them before there are rows."""
    return database_of(session).reserve_ids(session.connection(), EventRow.__tablename__, number) if number else ()


def _review_lock(field_id: int, reader: str) -> str:
    return f"review of field {field_id} by {reader}"


def _write(session: Session, field_id: int, reader: str, course: ReplayState, taken: Sequence[Event]) -> None:
    """Store events that the course has taken, with what follows."""
    if not taken:
        return
    # On the connection, not through the ORM: an import has thousands of rows.
    session.connection().execute(insert(EventRow), [_event_row(event, field_id) for event in taken])
    changed = {event.target for event in taken if event.mark and not event.superseded}
    _upsert(session, MarkRow, [_mark_row(course.marks[key], field_id, reader) for key in sorted(changed)])
    counts = _counted(session, field_id, reader, course.area)
    _upsert(session, ReviewRow, [_review_row(course, field_id, reader, counts)])


def _counted(session: Session, field_id: int, reader: str, area: Region | None) -> Mapping[str, int]:
    """verdict -> how many marks of this review stand in its area; as `Review.count`, without reading them."""
    counted = select(_MARK.verdict, func.count()).where(_MARK.field_id == field_id, _MARK.reader == reader)
    if area is not None:  # as `Region.contains`
        counted = counted.where(_MARK.x + 0.5 >= area.left, _MARK.x + 0.5 < area.right)
        counted = counted.where(_MARK.y + 0.5 >= area.top, _MARK.y + 0.5 < area.bottom)
    rows = session.connection().execute(counted.where(~_MARK.deleted).group_by(_MARK.verdict))
    return {verdict: number for verdict, number in rows}


def _objection(op: Op, field: FieldRow, origins: Mapping[str, object]) -> str | None:
    """Why a well-formed change cannot be taken on this field."""
    if op.field not in (str(field.id), field.digest):
        return "This change is for another field."
    if _PROPOSAL.fullmatch(op.target) and op.target not in origins:
        return "This proposal does not exist in this field."
    if op.area is not None and op.area != op.area.clipped(Region(0, 0, field.width_px, field.height_px)):
        return "This place lies outside the field."
    if op.x is not None and op.y is not None and not on_image(op.x, op.y, field.width_px, field.height_px):
        return "This place lies outside the field."
    return None


def _course(session: Session, field_id: int, reader: str, targets: set[str]) -> ReplayState:
    """The review as it stands, as far as changes of these targets need it."""
    course = ReplayState()
    row = session.execute(
        select(ReviewRow.__table__).where(_REVIEW.field_id == field_id, _REVIEW.reader == reader)
    ).first()
    if row is not None:
        course.state, course.area, course.seconds, course.rev = row.state, stored_area(row), row.seconds, row.rev
    latest = (
        select(_EVENT.target, _EVENT.client, func.max(_EVENT.id), func.max(_EVENT.seq, type_=Integer))
        .where(_EVENT.field_id == field_id, _EVENT.reader == reader, _EVENT.target.in_(targets - {":time"}))
        .where(~_EVENT.superseded)
        .group_by(_EVENT.target, _EVENT.client)
    )
    for target, client, number, seq in session.execute(latest):
        course.last.setdefault(target, {})[client] = LastApplied(number, seq)
    return course


def _already(session: Session, op_ids: list[str]) -> dict[str, tuple[int, str, bool]]:
    wanted = select(_EVENT.op_id, _EVENT.field_id, _EVENT.reader, _EVENT.superseded).where(_EVENT.op_id.in_(op_ids))
    return {op_id: (field_id, reader, superseded) for op_id, field_id, reader, superseded in session.execute(wanted)}


def _missed(session: Session, field_id: int, reader: str, ops: Sequence[Op]) -> bool:
    if not ops:
        return False
    wanted = select(_EVENT.id).where(
        _EVENT.field_id == field_id,
        _EVENT.reader == reader,
        _EVENT.id > min(op.base for op in ops),
        _EVENT.client.not_in({op.client for op in ops}),
        _EVENT.kind != "time",
        ~_EVENT.superseded,
    )
    return session.scalar(wanted.limit(1)) is not None


def _steps_back(now: Review, then: Review, reader: str) -> Iterable[Event]:
    """Events, not numbered yet, that lead from one review to another."""
    client, before = f"restore-{secrets.token_hex(8)}", {mark.id: mark for mark in then.marks}
    blank = Event(0, "", datetime.now(UTC), reader, client, 1, 0.0, now.rev, "", "")
    for mark in now.marks:
        old = before.get(mark.id) or replace(mark, deleted=True)  # made later: taken away
        if old != mark and not (old.deleted and mark.deleted):
            kind = "delete" if old.deleted else "restore"
            yield replace(
                blank,
                op_id=secrets.token_hex(16),
                kind=kind,
                target=mark.id,
                x=old.x,
                y=old.y,
                verdict=old.verdict,
                version=old.version,
                score=old.score,
                comment=old.comment,
                settles=old.settles,
            )
    if now.area != then.area:
        yield replace(blank, op_id=secrets.token_hex(16), kind="area", target=":area", area=then.area)
    if now.state != then.state:
        yield replace(blank, op_id=secrets.token_hex(16), kind="state", target=":state", state=then.state)


def events_of(session: Session, field_id: int, reader: str | None) -> list[Event]:
    """`history` as part of a larger reading."""
    wanted: Select[Any] = select(EventRow.__table__).where(_EVENT.field_id == field_id).order_by(_EVENT.id)
    if reader is not None:
        wanted = wanted.where(_EVENT.reader == reader)
    names = [one.name for one in fields(Event) if one.name != "area"]
    return [
        Event(**{name: getattr(row, name) for name in names}, area=stored_area(row)) for row in session.execute(wanted)
    ]


def _reviews(session: Session, field_id: int, reader: str | None = None) -> dict[str, Review]:
    chosen = select(ReviewRow.__table__).where(_REVIEW.field_id == field_id).order_by(_REVIEW.reader)
    owned = select(MarkRow.__table__).where(_MARK.field_id == field_id).order_by(_MARK.id)
    if reader is not None:
        chosen, owned = chosen.where(_REVIEW.reader == reader), owned.where(_MARK.reader == reader)
    marks: dict[str, list[Mark]] = defaultdict(list)
    for row in session.execute(owned):
        marks[row.reader].append(Mark(**{name: getattr(row, name) for name in _OF_MARK}))
    return {
        row.reader: Review(row.state, stored_area(row), tuple(marks[row.reader]), row.seconds, row.rev)
        for row in session.execute(chosen)
    }


def _event_of(op: Op, reader: str, at: datetime, origin: tuple[str, float] | None) -> Event:
    version, score = origin or (None, None)
    shared = {name: getattr(op, name) for name in op.__dataclass_fields__ if name != "field"}
    return Event(id=0, at=at, reader=reader, version=version, score=score, **shared)


def _event_row(event: Event, field_id: int) -> dict[str, Any]:
    values = {one.name: getattr(event, one.name) for one in fields(event) if one.name != "area"}
    return {**values, **_sides(event.area), "field_id": field_id}


def _mark_row(mark: Mark, field_id: int, reader: str) -> dict[str, Any]:
    return {"field_id": field_id, "reader": reader, **{one.name: getattr(mark, one.name) for one in fields(mark)}}


def _review_row(review: Review | ReplayState, field_id: int, reader: str, counts: Mapping[Any, int]) -> dict[str, Any]:
    numbers = {column: counts.get(verdict, 0) for column, verdict in _COUNTED.items()}
    values = {"state": review.state, "seconds": review.seconds, "rev": review.rev, **_sides(review.area)}
    return {"field_id": field_id, "reader": reader, **values, **numbers}


def _upsert(session: Session, table: type[MarkRow] | type[ReviewRow], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    statement = database_of(session).upsert(table)
    key = {column.name for column in table.__table__.primary_key}
    new = {name: statement.excluded[name] for name in rows[0] if name not in key}
    session.connection().execute(statement.on_conflict_do_update(index_elements=sorted(key), set_=new), rows)


def _sides(area: Region | None) -> dict[str, float | None]:
    return dict(zip(("x0", "y0", "x1", "y1"), area.edges if area else (None,) * 4, strict=True))


def stored_area(row: Any) -> Region | None:
    """The reviewed area of a row with x0, y0, x1 and y1; None for the whole field."""
    return None if row.x0 is None else Region(row.x0, row.y0, row.x1, row.y1)
