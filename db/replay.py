"""Events in, the state of a review out. The one place that knows the rule; writing and looking back both use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from mitosis_core.types import Region
from mitosis_core.vocabulary import ReviewState, ShownState, Verdict


@dataclass(frozen=True)
class Event:
    """One change as it was stored. id counts up over all fields; at: the server's clock, UTC; rest: see `Op`.

    version, score: of the proposal that the mark came from, else None. superseded: kept, but not applied.
    """

    id: int
    op_id: str
    at: datetime
    reader: str
    client: str
    seq: int
    sent_ms: float
    base: int
    kind: str
    target: str
    x: float | None = None
    y: float | None = None
    verdict: Verdict | None = None
    version: str | None = None
    score: float | None = None
    state: ReviewState | None = None
    area: Region | None = None
    seconds: float | None = None
    superseded: bool = False
    comment: str | None = None
    settles: bool = False

    @property
    def mark(self) -> str | None:
        """The mark it changes; None for state, area and time."""
        return None if self.target.startswith(":") else self.target


@dataclass(frozen=True)
class Mark:
    """A reader's verdict on one place, in pixels. version, score: of the proposal it came from, else None.

    comment: what the reader wrote about it. settles: the verdict was given in sight of those of all readers, to settle
    a dispute: it stands for all of them.
    """

    id: str
    x: float
    y: float
    verdict: Verdict
    deleted: bool = False
    version: str | None = None
    score: float | None = None
    comment: str | None = None
    settles: bool = False


@dataclass(frozen=True)
class Review:
    """One reader's review of one field. area: what was reviewed, None: the whole field.

    state: unseen, in_review, complete or excluded. marks: with the deleted ones, by id. rev: id of the last event.
    """

    state: ReviewState = "unseen"
    area: Region | None = None
    marks: tuple[Mark, ...] = ()
    seconds: float = 0.0
    rev: int = 0

    @property
    def standing(self) -> tuple[Mark, ...]:
        """The marks that are not deleted."""
        return tuple(mark for mark in self.marks if not mark.deleted)

    @property
    def shown_state(self) -> ShownState:
        """The state as a reader sees it: see `shown_state`."""
        return shown_state(self.state, self.count("mitosis"))

    def count(self, verdict: Verdict) -> int:
        """How many marks in the reviewed area have this verdict, deleted ones left out."""
        said = [(mark.x, mark.y) for mark in self.standing if mark.verdict == verdict]
        if self.area is None or not said:
            return len(said)
        return int(self.area.contains(np.array(said, np.float32)).sum())


def shown_state(state: ReviewState, mitoses: int) -> ShownState:
    """The state for the reader's eye: complete without a mitosis is complete_empty."""
    return "complete_empty" if state == "complete" and mitoses == 0 else state


@dataclass
class LastApplied:
    """The latest applied event of one client on one target."""

    id: int
    seq: int


@dataclass
class ReplayState:
    """A review while events are taken one after the other, oldest first."""

    state: ReviewState = "unseen"
    area: Region | None = None
    marks: dict[str, Mark] = field(default_factory=dict)
    seconds: float = 0.0
    rev: int = 0
    last: dict[str, dict[str, LastApplied]] = field(default_factory=dict)  # target -> client -> latest

    def take(self, event: Event) -> Event:
        """Apply an event unless it is superseded; returns it with `superseded` set."""
        self.rev = event.id
        if self.state == "unseen":
            self.state = "in_review"
        superseded = self._is_superseded(event)
        if superseded != event.superseded:
            event = replace(event, superseded=superseded)
        if superseded:
            return event
        self.last.setdefault(event.target, {})[event.client] = LastApplied(event.id, event.seq)
        if event.kind == "state":
            self.state = event.state or self.state
        elif event.kind == "area":
            self.area = event.area
        elif event.kind == "time":
            self.seconds += event.seconds or 0.0
        else:
            self.marks[event.target] = _mark_after(event)
        return event

    def review(self) -> Review:
        """The review after the events taken so far."""
        marks = tuple(self.marks[key] for key in sorted(self.marks))
        return Review(self.state, self.area, marks, self.seconds, self.rev)

    def _is_superseded(self, event: Event) -> bool:
        """Another client changed the same thing after the page last looked, or this one did so later itself.

        So neither a stale page nor a request that comes late undoes a newer click.
        """
        if event.kind == "time":
            return False
        return any(
            last.seq > event.seq if client == event.client else last.id > event.base
            for client, last in self.last.get(event.target, {}).items()
        )


def replay(events: Iterable[Event]) -> Review:
    """The state after these events of one reader on one field, oldest first; `superseded` is found again."""
    course = ReplayState()
    for event in events:
        course.take(event)
    return course.review()


def replay_by_reader(events: Iterable[Event]) -> dict[str, Review]:
    """`replay` of each reader among the events of one field, by name."""
    of_reader: dict[str, list[Event]] = {}
    for event in events:
        of_reader.setdefault(event.reader, []).append(event)
    return {name: replay(own) for name, own in sorted(of_reader.items())}


def _mark_after(event: Event) -> Mark:
    assert event.x is not None and event.y is not None and event.verdict is not None, "an event holds the whole mark"
    deleted = event.kind == "delete"
    own = (event.version, event.score, event.comment, event.settles)
    return Mark(event.target, event.x, event.y, event.verdict, deleted, *own)
