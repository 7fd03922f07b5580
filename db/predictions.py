"""What a version found in a field: proposals to the reader."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import ColumnElement, Select, and_, func, insert, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.errors import FieldGone
from db.schema import FieldRow, PredictionRow, ProposalRow
from mitosis_core.errors import MissingScale
from mitosis_core.scoring.matching import match
from mitosis_core.types import Detections, Prediction
from mitosis_core.vocabulary import LENIENT_RADIUS_UM


@dataclass(frozen=True)
class Proposal:
    """One candidate, in pixels of the field. id: `p{prediction}-{place}`, the same for ever."""

    id: str
    x: float
    y: float
    score: float
    area_um2: float


@dataclass(frozen=True)
class Proposals:
    """All candidates of one version in one field, best first; those from the threshold on are its detections."""

    version: str
    threshold: float
    candidates: tuple[Proposal, ...]


@dataclass(frozen=True, eq=False)
class StoredDetections:
    """What one version found in one field, best first: all candidates, or those from its threshold on, as was asked.

    seconds: what the analysis took; the first one of a process also made the engine.
    """

    field_id: int
    version: str
    um_per_px: float
    threshold: float
    seconds: float
    detections: Detections


@dataclass(frozen=True)
class Disagreement:
    """detections: those of either of two versions that the other has not. other: the second version's name."""

    detections: int
    other: str


def save_prediction(
    store: Store, field_id: int, prediction: Prediction, *, um_per_px: float | None = None
) -> int | None:
    """Keep what a version found, once per field, version and µm/px; returns its id.

    um_per_px: what it was found at; when the field has another one by now, nothing is kept and None returned.
    Raises FieldGone, MissingScale.
    """
    with store.writing() as session:
        field = session.get(FieldRow, field_id)
        if field is None:
            raise FieldGone("This field is no longer there: it was deleted.")
        if um_per_px not in (None, field.um_per_px):
            return None
        return write_prediction(session, field, prediction)


def write_prediction(session: Session, field: FieldRow, prediction: Prediction) -> int:
    """`save_prediction` as part of a larger change."""
    if field.um_per_px is None:
        raise MissingScale(f"The µm/px of {field.name} is not known.")
    known = prediction_id(session, field.id, prediction.version)
    if known is not None:
        return known
    found = prediction.candidates
    row = PredictionRow(
        field_id=field.id,
        version=prediction.version,
        um_per_px=field.um_per_px,
        threshold=float(prediction.threshold),
        uncertainty=uncertainty(found.score.tolist(), prediction.threshold),
        seconds=float(prediction.seconds),
        notes="\n".join(prediction.notes),
        created_at=datetime.now(UTC),
    )
    session.add(row)
    session.flush()
    columns = zip(found.xy_px.tolist(), found.score.tolist(), found.area_um2.tolist(), strict=True)
    rows = [
        {"prediction_id": row.id, "place": place, "x": x, "y": y, "score": score, "area_um2": area_um2}
        for place, ((x, y), score, area_um2) in enumerate(columns)
    ]
    if rows:
        session.execute(insert(ProposalRow), rows)
    return row.id


def prediction_id(session: Session, field_id: int, version: str) -> int | None:
    """The prediction of a version in a field at its present µm/px, if there is one."""
    return session.scalar(
        select(PredictionRow.id)
        .join(FieldRow, _current())
        .where(FieldRow.id == field_id, PredictionRow.version == version)
    )


def proposals(store: Store, field_id: int, version: str) -> Proposals | None:
    """None while this version has not looked at the field at its present µm/px."""
    with store.reading() as session:
        one = session.scalar(
            select(PredictionRow)
            .join(FieldRow, _current())
            .where(FieldRow.id == field_id, PredictionRow.version == version)
        )
        if one is None:
            return None
        table = ProposalRow.__table__.c
        wanted = select(table.place, table.x, table.y, table.score, table.area_um2)
        rows = session.execute(wanted.where(table.prediction_id == one.id).order_by(table.place))
        found = tuple(Proposal(f"p{one.id}-{place}", *rest) for place, *rest in rows)
        return Proposals(version, one.threshold, found)


def versions(store: Store, field_id: int) -> list[str]:
    """Versions that have looked at a field at its present µm/px, the latest last."""
    wanted = select(PredictionRow.version).join(FieldRow, _current())
    with store.reading() as session:
        return list(session.scalars(wanted.where(FieldRow.id == field_id).order_by(PredictionRow.id)))


def versions_by_field(store: Store) -> dict[int, set[str]]:
    """field id -> the versions that have looked at it at its present µm/px; fields no version has seen are missing."""
    by_field: dict[int, set[str]] = {}
    with store.reading() as session:
        for key, version in session.execute(select(FieldRow.id, PredictionRow.version).join(PredictionRow, _current())):
            by_field.setdefault(key, set()).add(version)
    return by_field


def seconds_per_field(store: Store) -> dict[str, list[float]]:
    """How long each version took for each field, in seconds; version -> one number for each."""
    times: dict[str, list[float]] = {}
    with store.reading() as session:
        for version, seconds in session.execute(select(PredictionRow.version, PredictionRow.seconds)):
            times.setdefault(version, []).append(seconds)
    return times


def uncertainties(store: Store, version: str) -> dict[int, float]:
    """field id -> how unsure a version is there; fields it has not looked at are missing."""
    wanted = select(PredictionRow.field_id, PredictionRow.uncertainty).join(FieldRow, _current())
    with store.reading() as session:
        return {key: value for key, value in session.execute(wanted.where(PredictionRow.version == version))}


def detections_by_field(store: Store, version: str) -> dict[int, Detections]:
    """field id -> detections of a version; fields it has not looked at at their present µm/px are missing."""
    its = select(PredictionRow.id).join(FieldRow, _current()).where(PredictionRow.version == version)
    with store.reading() as session:
        return {one.field_id: one.detections for one in _found(session, its)}


def candidates_by_field(store: Store, version: str) -> dict[int, StoredDetections]:
    """field id -> all that a version found, below its threshold too; fields are missing as in `detections_by_field`."""
    its = select(PredictionRow.id).join(FieldRow, _current()).where(PredictionRow.version == version)
    with store.reading() as session:
        return {one.field_id: one for one in _found(session, its, below=True)}


def disagreements(store: Store, version: str) -> dict[int, Disagreement]:
    """field id -> how far a version and the latest other one to look at the field differ there.

    Counted one to one within LENIENT_RADIUS_UM. Fields that only one of the two has looked at are missing.
    """
    current = select(PredictionRow.id).join(FieldRow, _current())
    latest = select(func.max(PredictionRow.id)).join(FieldRow, _current()).where(PredictionRow.version != version)
    with store.reading() as session:
        own = {one.field_id: one for one in _found(session, current.where(PredictionRow.version == version))}
        others = _found(session, latest.group_by(PredictionRow.field_id))
    return {
        one.field_id: Disagreement(_unmatched(own[one.field_id], one), one.version)
        for one in others
        if one.field_id in own
    }


def _found(session: Session, ids: Select[int], *, below: bool = False) -> list[StoredDetections]:
    """The detections of many predictions, in two queries. below: all candidates instead."""
    table = ProposalRow.__table__.c
    wanted = select(PredictionRow).where(PredictionRow.id.in_(ids))
    columns = select(table.prediction_id, table.x, table.y, table.score, table.area_um2)
    chosen = columns.join(PredictionRow, PredictionRow.id == table.prediction_id).where(PredictionRow.id.in_(ids))
    counted = chosen if below else chosen.where(table.score >= PredictionRow.threshold)
    rows = session.execute(counted.order_by(table.prediction_id, table.place))
    by_prediction: dict[int, list[tuple[float, ...]]] = {}
    for number, *rest in rows:
        by_prediction.setdefault(number, []).append(tuple(rest))
    return [
        StoredDetections(
            one.field_id,
            one.version,
            one.um_per_px,
            one.threshold,
            one.seconds,
            _detections(by_prediction.get(one.id, [])),
        )
        for one in session.scalars(wanted)
    ]


def _detections(rows: Sequence[tuple[float, ...]]) -> Detections:
    values = np.array(rows, np.float32).reshape(-1, 4)
    return Detections(values[:, :2], values[:, 2], values[:, 3])


def _unmatched(one: StoredDetections, other: StoredDetections) -> int:
    pairs = match(one.detections.xy_px, other.detections.xy_px, LENIENT_RADIUS_UM / one.um_per_px).pairs
    return len(one.detections) + len(other.detections) - 2 * len(pairs)


def uncertainty(scores: Sequence[float], threshold: float) -> float:
    """Candidates near the threshold: each counts 1 at it, less with distance, nothing from 0.5 away on."""
    return float(sum(max(0.0, 1 - 2 * abs(score - threshold)) for score in scores))


def provenance(session: Session, field_id: int, ids: Iterable[str]) -> dict[str, tuple[str, float]]:
    """id -> (version, score) for those of these ids that are proposals in this field; others are missing."""
    asked = {key: tuple(int(part) for part in key[1:].split("-")) for key in ids}
    wanted = (
        select(PredictionRow.id, ProposalRow.place, PredictionRow.version, ProposalRow.score)
        .join(ProposalRow, ProposalRow.prediction_id == PredictionRow.id)
        .where(PredictionRow.field_id == field_id, PredictionRow.id.in_({key[0] for key in asked.values()}))
    )
    there = {(number, place): (version, score) for number, place, version, score in session.execute(wanted)}
    return {key: there[pair] for key, pair in asked.items() if pair in there}


def _current() -> ColumnElement[bool]:
    """A prediction made at another µm/px than the field's present one no longer counts."""
    return and_(PredictionRow.field_id == FieldRow.id, PredictionRow.um_per_px == FieldRow.um_per_px)
