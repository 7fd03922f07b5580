"""The detection queue: which version is to look at which field, worked off by one process per store.

A row is a field and a version. It waits, runs, and is done or has failed with a sentence; what was found is stored in
the same transaction that says so. Whoever works it off holds its lock (`Store.lock`), so a row that runs when a worker
begins was left behind by one that was killed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.engine import Store
from db.fields import StoredField
from db.predictions import prediction_id, write_prediction
from db.schema import DetectionRow, FieldRow
from mitosis_core.image.appearance import Appearance
from mitosis_core.types import Prediction

MOST_ATTEMPTS = 3
STATES = ("waiting", "needs_scale", "running", "done", "failed")
_OPEN = ("waiting", "running")
_QUEUE = "detection queue"  # what its worker writes alone, while readers write reviews
_MEASURED = 20  # the last detections from which the time left is reckoned
_CUT = (
    f"The detection was cut off {MOST_ATTEMPTS} times, perhaps because the memory was full. Please restart the "
    "computer or make the field smaller, then ask for it again."
)


@dataclass(frozen=True)
class Detection:
    """One field and version in the queue. state: one of STATES. message: why it waits or failed, "" otherwise.

    attempts: how often it was begun. seconds: of the detection, once it is done. Times are UTC.
    """

    id: int
    field_id: int
    version: str
    state: str
    message: str
    by: str
    attempts: int
    created_at: datetime
    started_at: datetime | None
    heartbeat: datetime | None
    finished_at: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class Progress:
    """counts: how many are in each of STATES. seconds_left: None while nothing was measured, or nothing is left."""

    counts: Mapping[str, int]
    seconds_left: float | None

    @property
    def open(self) -> int:
        """How many wait for their turn or run."""
        return self.counts["waiting"] + self.counts["running"]

    @property
    def total(self) -> int:
        """All that were asked for."""
        return sum(self.counts.values())


def enqueue(store: Store, field_ids: Iterable[int], version: str, *, by: str) -> int:
    """Ask a version to look at fields; returns how many of them wait now that did not before.

    A field that it has looked at (at its present µm/px) is done, one that failed is tried anew; deleted ones are passed
    over. A field without µm/px waits until it has one.
    """
    now, added = datetime.now(UTC), 0
    with store.writing() as session:
        for field_id in dict.fromkeys(field_ids):
            if session.get(FieldRow, field_id) is None:
                continue
            row = session.scalar(
                select(DetectionRow).where(DetectionRow.field_id == field_id, DetectionRow.version == version)
            )
            if row is not None and row.state in _OPEN:
                continue
            state = "waiting" if prediction_id(session, field_id, version) is None else "done"
            if row is None:
                row = DetectionRow(field_id=field_id, version=version, created_at=now)
                session.add(row)
            row.state, row.message, row.attempts, row.by = state, "", 0, by
            added += row.state == "waiting"
    return added


def withdraw(store: Store, field_ids: Iterable[int]) -> int:
    """Take fields out of the queue that wait or have failed, for every version; returns how many rows went."""
    ids = list(field_ids)
    with store.writing() as session:
        gone = session.scalars(
            delete(DetectionRow)
            .where(DetectionRow.field_id.in_(ids), DetectionRow.state.in_(("waiting", "failed")))
            .returning(DetectionRow.id)
        )
        return len(gone.all())


def progress(store: Store) -> Progress:
    """Over all cases; cheap, whatever the store holds."""
    return total(progress_by_case(store).values())


def total(parts: Iterable[Progress]) -> Progress:
    """Many cases as one."""
    parts, counts = list(parts), Counter[str]()
    for one in parts:
        counts.update(one.counts)
    left = [one.seconds_left for one in parts if one.seconds_left is not None]
    return Progress(_all_states(counts), sum(left) if left else None)


def progress_by_case(store: Store) -> dict[str, Progress]:
    """case -> its progress, "" for fields without one; cases that nobody asked for are missing. seconds_left is for
    the case alone."""
    scaled = FieldRow.um_per_px.is_not(None)
    counted = (
        select(FieldRow.case, DetectionRow.state, scaled, func.count(), func.sum(_MEGAPIXELS))
        .join(FieldRow)
        .group_by(FieldRow.case, DetectionRow.state, scaled)
    )
    counts: dict[str, Counter[str]] = {}
    left: dict[str, float] = defaultdict(float)
    with store.reading() as session:
        pace = _pace(session)
        for case, state, has_scale, number, megapixels in session.execute(counted):
            counts.setdefault(case, Counter())[_shown(state, has_scale)] += number
            if state in _OPEN and has_scale:
                left[case] += float(megapixels)
    return {
        case: Progress(_all_states(one), left[case] * pace if pace and left[case] else None)
        for case, one in counts.items()
    }


def has_work(store: Store) -> bool:
    """Whether a worker is needed: something can be begun, or was left behind."""
    wanted = (
        select(DetectionRow.id).join(FieldRow).where(DetectionRow.state.in_(_OPEN), FieldRow.um_per_px.is_not(None))
    )
    with store.reading() as session:
        return session.scalar(wanted.limit(1)) is not None


# ---- for the worker, which holds the lock of the queue

_NEXT = (
    select(DetectionRow)
    .join(FieldRow)
    .where(DetectionRow.state == "waiting", FieldRow.um_per_px.is_not(None))
    .order_by(DetectionRow.id)
    .limit(1)
)


def take_up(store: Store) -> None:
    """What a killed worker left running waits again, or fails when it was cut too often."""
    left = DetectionRow.state == "running"
    with store.writing(_QUEUE) as session:
        session.execute(
            update(DetectionRow)
            .where(left, DetectionRow.attempts >= MOST_ATTEMPTS)
            .values(state="failed", message=_CUT, finished_at=datetime.now(UTC))
        )
        session.execute(update(DetectionRow).where(left).values(state="waiting"))


def take_next(store: Store) -> Detection | None:
    """Begin the next one in the order it was asked for; None when nothing waits that has its µm/px. One that was
    detected elsewhere meanwhile is done without any work."""
    now = datetime.now(UTC)
    with store.writing(_QUEUE) as session:
        while (row := session.scalar(_NEXT)) is not None:
            if prediction_id(session, row.field_id, row.version) is None:
                row.state, row.message, row.attempts = "running", "", row.attempts + 1
                row.started_at, row.heartbeat = now, now
                return _detection(row)
            row.state, row.message, row.finished_at = "done", "", now
            session.flush()
    return None


def beat(store: Store, *numbers: int) -> None:
    """A sign of life of the worker at these."""
    with store.writing(_QUEUE) as session:
        session.execute(update(DetectionRow).where(DetectionRow.id.in_(numbers)).values(heartbeat=datetime.now(UTC)))


def finish(
    store: Store, number: int, field: StoredField, prediction: Prediction, appearance: Appearance, *, seconds: float
) -> None:
    """Store what was found and say that it is done, both or neither. seconds: from opening the image to here.

    A field that was deleted meanwhile is passed over; one whose µm/px was changed meanwhile waits again.
    """
    with store.writing(_QUEUE) as session:
        row, kept = session.get(DetectionRow, number), session.get(FieldRow, field.id)
        if row is None or kept is None:
            return
        if kept.um_per_px != field.um_per_px:
            row.state, row.attempts = "waiting", 0
            return
        write_prediction(session, kept, prediction)
        kept.look = list(appearance)
        row.state, row.message, row.seconds, row.finished_at = "done", "", seconds, datetime.now(UTC)


def fail(store: Store, number: int, message: str) -> None:
    """It cannot be done; a sentence says why."""
    values = {"state": "failed", "message": message, "finished_at": datetime.now(UTC)}
    with store.writing(_QUEUE) as session:
        session.execute(update(DetectionRow).where(DetectionRow.id == number).values(**values))


def put_back(store: Store, number: int, message: str, *, counts: bool) -> None:
    """Let it wait again, with why. counts: whether the attempt counts as one; after MOST_ATTEMPTS it has failed."""
    with store.writing(_QUEUE) as session:
        row = session.get(DetectionRow, number)
        if row is None:
            return
        row.attempts -= not counts
        row.state, row.message = "failed" if row.attempts >= MOST_ATTEMPTS else "waiting", message


def say_why_it_waits(store: Store, message: str) -> None:
    """Say at the one whose turn is next why it does not begin."""
    with store.writing(_QUEUE) as session:
        if (row := session.scalar(_NEXT)) is not None:
            row.message = message


# ---- counting

_MEGAPIXELS = FieldRow.width_px * FieldRow.height_px / 1e6


def _pace(session: Session) -> float | None:
    """Seconds per megapixel of the last detections; None when none was measured."""
    wanted = (
        select(DetectionRow.seconds, _MEGAPIXELS)
        .join(FieldRow)
        .where(DetectionRow.state == "done", DetectionRow.seconds.is_not(None))
        .order_by(DetectionRow.finished_at.desc())
        .limit(_MEASURED)
    )
    measured = session.execute(wanted).all()
    seconds = sum(taken or 0.0 for taken, _ in measured)
    return seconds / sum(float(size) for _, size in measured) if measured else None


def _detection(row: DetectionRow) -> Detection:
    return Detection(**{one.name: getattr(row, one.name) for one in fields(Detection)})


def _shown(state: str, has_scale: bool) -> str:
    return "needs_scale" if state == "waiting" and not has_scale else state


def _all_states(counts: Mapping[str, int]) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in STATES}
