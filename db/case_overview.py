"""All fields at a glance, with how far detection and every reader are: what the home page shows, in a few queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.replay import shown_state
from db.schema import AssignmentRow, DetectionRow, FieldRow, PredictionRow, ProposalRow, ReviewRow
from mitosis_core.types import Region
from mitosis_core.vocabulary import ShownState

# What a field with several rows in the queue is shown as: the first of these that one of them has.
_FIRST = ("running", "waiting", "failed", "done")


@dataclass(frozen=True)
class ReadBy:
    """How one reader stands with one field."""

    state: ShownState
    mitoses: int


@dataclass(frozen=True)
class FieldOverview:
    """One field; created_at in UTC. um_per_px: None while it waits for it.

    version, detected: who found how many at the present µm/px, both None while no version has looked.
    detection: "", or a state of the queue (db.detection_queue.STATES). message: why it waits or has failed.
    reviews: by reader. assigned: readers who were asked to review it.
    """

    id: int
    digest: str
    name: str
    case: str
    um_per_px: float | None
    width_px: int
    height_px: int
    created_at: datetime
    version: str | None = None
    detected: int | None = None
    detection: str = ""
    message: str = ""
    reviews: Mapping[str, ReadBy] = field(default_factory=dict)
    assigned: tuple[str, ...] = ()

    @property
    def area_mm2(self) -> float:
        """Of the whole image, 0.0 while its µm/px is not known."""
        return Region(0, 0, self.width_px, self.height_px).area_mm2(self.um_per_px) if self.um_per_px else 0.0


def read_overview(store: Store, version: str) -> list[FieldOverview]:
    """All fields in the order they came. version: whose detections are counted, or else those of the latest one."""
    with store.reading() as session:
        queue, found, assigned = _queue(session), _detected(session, version), _assigned(session)
        reviews = _reviews(session)
        columns = (
            FieldRow.id,
            FieldRow.digest,
            FieldRow.name,
            FieldRow.case,
            FieldRow.um_per_px,
            FieldRow.width_px,
            FieldRow.height_px,
            FieldRow.created_at,
        )
        return [
            _overview(row, found.get(row.id), queue.get(row.id, ("", "")), reviews.get(row.id, {}), assigned)
            for row in session.execute(select(*columns).order_by(FieldRow.id))
        ]


def _overview(
    row: object,
    found: tuple[str, int] | None,
    queued: tuple[str, str],
    reviews: Mapping[str, ReadBy],
    assigned: Mapping[int, tuple[str, ...]],
) -> FieldOverview:
    values = dict(row._mapping)  # type: ignore[attr-defined]
    state, message = queued
    if state == "waiting" and values["um_per_px"] is None:
        state = "needs_scale"
    version, detected = found or (None, None)
    return FieldOverview(
        **values,
        version=version,
        detected=detected,
        detection=state,
        message=message,
        reviews=reviews,
        assigned=assigned.get(values["id"], ()),
    )


def _queue(session: Session) -> dict[int, tuple[str, str]]:
    """field id -> (state, message) of its most urgent row."""
    found: dict[int, tuple[str, str]] = {}
    for field_id, state, message in session.execute(
        select(DetectionRow.field_id, DetectionRow.state, DetectionRow.message).order_by(DetectionRow.id)
    ):
        if field_id not in found or _FIRST.index(state) < _FIRST.index(found[field_id][0]):
            found[field_id] = (state, message)
    return found


def _detected(session: Session, version: str) -> dict[int, tuple[str, int]]:
    """field id -> (version, number of its detections), at the field's present µm/px."""
    counted = (
        select(PredictionRow.field_id, PredictionRow.version, func.count(ProposalRow.place))
        .join(FieldRow, and_(PredictionRow.field_id == FieldRow.id, PredictionRow.um_per_px == FieldRow.um_per_px))
        .outerjoin(
            ProposalRow,
            and_(ProposalRow.prediction_id == PredictionRow.id, ProposalRow.score >= PredictionRow.threshold),
        )
        .group_by(PredictionRow.id)
        .order_by(PredictionRow.id)
    )
    found: dict[int, tuple[str, int]] = {}
    for field_id, name, number in session.execute(counted):
        if found.get(field_id, ("",))[0] != version:
            found[field_id] = (name, number)
    return found


def _reviews(session: Session) -> dict[int, dict[str, ReadBy]]:
    review = ReviewRow.__table__.c
    found: dict[int, dict[str, ReadBy]] = defaultdict(dict)
    for key, reader, state, number in session.execute(
        select(review.field_id, review.reader, review.state, review.mitoses).order_by(review.reader)
    ):
        found[key][reader] = ReadBy(shown_state(state, number), number)
    return found


def _assigned(session: Session) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for key, reader in session.execute(
        select(AssignmentRow.field_id, AssignmentRow.reader).order_by(AssignmentRow.reader)
    ):
        found[key] = (*found.get(key, ()), reader)
    return found
