"""Training runs: who started what, how far it is, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

from sqlalchemy import case, func, select, update

from db.engine import Store
from db.errors import RunGone
from db.schema import RunRow
from mitosis_core.vocabulary import Part, RunState

LOST_AFTER = timedelta(seconds=15)  # without a sign of life
OPEN: tuple[RunState, ...] = ("queued", "running")
STATES: tuple[RunState, ...] = get_args(RunState)


@dataclass(frozen=True)
class Run:
    """One training. state: queued, running, done, cancelled, failed, or lost (its process fell silent).

    source: the reader whose verdicts it learns from, "" for the consensus. last_event: the newest event it knows, so
    that its training set can be built again. split: field ids, "train" and "held_out". progress: what its process
    said last. message: why it failed. version: what came out.
    """

    id: int
    state: RunState
    by: str
    base_version: str
    source: str
    last_event: int
    settings: Mapping[str, Any]
    split: Mapping[Part, list[int]]
    code: str
    progress: Mapping[str, Any]
    message: str
    version: str | None
    cancel_asked: bool
    created_at: datetime
    started_at: datetime | None
    heartbeat: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it waits or is under way."""
        return self.state in OPEN


def run_folder(store: Store, run_id: int) -> Path:
    """Where a run keeps its checkpoint and its log."""
    return store.folder / "runs" / str(run_id)


def queue_run(
    store: Store,
    *,
    by: str,
    base_version: str,
    source: str,
    last_event: int,
    settings: Mapping[str, Any],
    split: Mapping[Part, list[int]],
    code: str,
) -> Run:
    """A new run, not started yet."""
    now = datetime.now(UTC)
    row = RunRow(
        state="queued",
        by=by,
        base_version=base_version,
        source=source,
        last_event=last_event,
        settings=dict(settings),
        split=dict(split),
        code=code,
        progress={},
        message="",
        cancel_asked=False,
        created_at=now,
        heartbeat=now,
    )
    with store.writing() as session:
        session.add(row)
        session.flush()
        return _run(row)


def get_run(store: Store, run_id: int) -> Run:
    """Raises RunGone."""
    mark_lost(store)
    with store.reading() as session:
        row = session.get(RunRow, run_id)
        if row is None:
            raise RunGone(f"There is no run {run_id}.")
        return _run(row)


def list_runs(store: Store) -> list[Run]:
    """All runs, the newest first."""
    mark_lost(store)
    with store.reading() as session:
        return [_run(row) for row in session.scalars(select(RunRow).order_by(RunRow.id.desc()))]


def count_runs(store: Store) -> dict[RunState, int]:
    """How many runs are in each state, those with none among them."""
    mark_lost(store)
    wanted = select(RunRow.state, func.count()).group_by(RunRow.state)
    with store.reading() as session:
        found = {state: number for state, number in session.execute(wanted)}
        return {state: found.get(state, 0) for state in STATES}


def mark_lost(store: Store) -> None:
    """Runs whose process gives no sign of life any more."""
    silent = (RunRow.state.in_(OPEN), RunRow.heartbeat < datetime.now(UTC) - LOST_AFTER)
    with store.reading() as session:
        if session.scalar(select(RunRow.id).where(*silent).limit(1)) is None:
            return
    with store.writing() as session:
        session.execute(update(RunRow).where(*silent).values(state="lost"))


def start(store: Store, run_id: int) -> None:
    """Its process has its turn."""
    _set(store, run_id, state="running", started_at=datetime.now(UTC), heartbeat=datetime.now(UTC))


def requeue(store: Store, run_id: int) -> None:
    """Let a run that was lost, or failed, go on from its last checkpoint."""
    now = datetime.now(UTC)
    again = {"started_at": None, "finished_at": None, "message": "", "cancel_asked": False}
    _set(store, run_id, state="queued", heartbeat=now, **again)


def beat(store: Store, run_id: int, progress: Mapping[str, Any] | None = None) -> bool:
    """A sign of life, perhaps with news; returns whether somebody asked to cancel."""
    values: dict[str, Any] = {"heartbeat": datetime.now(UTC)}
    if progress is not None:
        values["progress"] = dict(progress)
    with store.writing(_lock(run_id)) as session:
        session.execute(update(RunRow).where(RunRow.id == run_id).values(**values))
        # A process that was only asleep takes its place again.
        place = case((RunRow.started_at.is_(None), "queued"), else_="running")
        session.execute(update(RunRow).where(RunRow.id == run_id, RunRow.state == "lost").values(state=place))
        return bool(session.scalar(select(RunRow.cancel_asked).where(RunRow.id == run_id)))


def ask_to_cancel(store: Store, run_id: int) -> None:
    """The run ends itself when it next looks."""
    _set(store, run_id, cancel_asked=True)


def end(store: Store, run_id: int, state: RunState, *, message: str = "", version: str | None = None) -> None:
    """state: done, cancelled or failed."""
    _set(store, run_id, state=state, message=message, version=version, finished_at=datetime.now(UTC))


def _lock(run_id: int) -> str:
    return f"run {run_id}"


def _set(store: Store, run_id: int, **values: Any) -> None:
    with store.writing(_lock(run_id)) as session:
        session.execute(update(RunRow).where(RunRow.id == run_id).values(**values))


def _run(row: RunRow) -> Run:
    return Run(**{name: getattr(row, name) for name in Run.__dataclass_fields__})
