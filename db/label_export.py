"""Labels of stored fields as they leave for the files of other programs: one image after the other, one moment of the
store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.fields import StoredField, list_fields
from db.labels import reviewed_fields
from db.predictions import StoredDetections, candidates_by_field
from db.reviews import stored_area
from db.schema import EventRow, MarkRow, ReviewRow
from mitosis_core.errors import UnusableData
from mitosis_core.interchange.exchange import Written, format_to_write, write_marks
from mitosis_core.interchange.marks import Mark, MarkedImage
from mitosis_core.types import Float32, Region
from mitosis_core.vocabulary import VERDICTS

_CONSENSUS = "consensus"  # the reader that a file names
_AT_ONCE = 50  # fields whose marks are held
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f:*?"<>|\\/]')
Kind = Literal["reader", "readers", "consensus", "version"]


@dataclass(frozen=True)
class Labels:
    """Whose labels: those of one reader, of all readers, their consensus on finished fields, or a version's detections.

    name: of the reader or version. threshold: lowest score of a detection; None: the version's own. unfinished: fields
    that a reader has begun and not finished too.
    """

    kind: Kind
    name: str = ""
    threshold: float | None = None
    unfinished: bool = False


class Named(Protocol):
    """A field, as far as its name in a file goes."""

    @property
    def id(self) -> int:
        """Of the field in the store."""

    @property
    def name(self) -> str:
        """As the pages show it."""

    @property
    def digest(self) -> str:
        """Of its pixels."""


def export_labels(
    store: Store,
    out: Path,
    labels: Labels,
    *,
    field_ids: Sequence[int] | None = None,
    format_name: str | None = None,
    overwrite: bool = False,
) -> Written:
    """Write labels to a file, a folder or a zip, as `write_marks` does; what the format cannot hold is counted.

    field_ids: which fields, None: all. Raises UnusableData: no field has such labels, the format does not say who
    marked and several did, what `write_marks` refuses.
    """
    chosen = format_to_write(out, format_name)
    if labels.kind == "readers" and not chosen.keeps.reader:
        raise UnusableData(
            f"{chosen.title} does not say who marked a cell, so marks of several readers would be mixed; please choose "
            "one reader or the consensus."
        )
    images = marked_images(store, labels, field_ids)
    first = next(images, None)
    if first is None:
        raise UnusableData(_nothing(labels))

    def all_of_them() -> Iterator[MarkedImage]:
        yield first
        yield from images

    return write_marks(out, all_of_them(), chosen.name, overwrite=overwrite)


def marked_images(store: Store, labels: Labels, field_ids: Sequence[int] | None = None) -> Iterator[MarkedImage]:
    """The fields that have such labels, each with all its marks, in the order they came."""
    known = list_fields(store)
    names, wanted = file_names(known), None if field_ids is None else set(field_ids)
    fields = [field for field in known if wanted is None or field.id in wanted]
    if labels.kind == "version":
        found = candidates_by_field(store, labels.name)
        yield from (
            _image(field, names[field.id], _detections(found[field.id], labels.threshold))
            for field in fields
            if field.id in found
        )
    elif labels.kind == "consensus":
        chosen = {field.id for field in fields}
        for one in reviewed_fields(store):
            if one.field.id in chosen:
                by_verdict = (one.mitoses_xy_px, one.lookalikes_xy_px, one.unsure_xy_px)
                yield _image(one.field, names[one.field.id], _points(by_verdict), {_CONSENSUS: one.region})
    else:
        with store.reading() as session:
            for place in range(0, len(fields), _AT_ONCE):
                yield from _reviewed(session, fields[place : place + _AT_ONCE], names, labels)


def unfinished_fields(store: Store, labels: Labels, field_ids: Sequence[int] | None = None) -> int:
    """How many fields are left out because nobody of those who were asked for has finished them."""
    if labels.kind == "version" or labels.unfinished:
        return 0
    wanted = select(ReviewRow.field_id, func.max(case((ReviewRow.state == "complete", 1), else_=0))).group_by(
        ReviewRow.field_id
    )
    if labels.kind == "reader":
        wanted = wanted.where(ReviewRow.reader == labels.name)
    with store.reading() as session:
        rows = session.execute(wanted.where(ReviewRow.state != "excluded"))
        return sum(not done for key, done in rows if field_ids is None or key in field_ids)


def file_names(fields: Sequence[Named]) -> dict[int, str]:
    """field id -> what its image is called in a file: its name, without characters that no file name may have.

    Two that would be told apart by nothing but their suffix or their letters' case get the start of the digest too.
    """
    plain = {field.id: _NOT_IN_NAMES.sub("_", field.name).strip(" .") or f"field {field.id}" for field in fields}
    often = Counter(stem_of(name) for name in plain.values())
    return {
        field.id: plain[field.id] if often[stem_of(plain[field.id])] == 1 else _with_digest(plain[field.id], field)
        for field in fields
    }


def stem_of(name: str) -> str:
    """The last part of a name without suffix and case, as the formats compare that keep no more of it."""
    return PurePosixPath(name).stem.casefold()


def _with_digest(name: str, field: Named) -> str:
    path = PurePosixPath(name)
    return f"{path.stem}-{field.digest[:8]}{path.suffix}"


def _reviewed(
    session: Session, fields: Sequence[StoredField], names: dict[int, str], labels: Labels
) -> Iterator[MarkedImage]:
    """Those of these fields that the reader, or anybody, has finished, or begun where that was asked for."""
    ids = [field.id for field in fields]
    states = select(ReviewRow).where(
        ReviewRow.field_id.in_(ids), ReviewRow.state.in_(("complete", *(["in_review"] if labels.unfinished else [])))
    )
    marks = select(MarkRow).where(MarkRow.field_id.in_(ids), ~MarkRow.deleted)
    if labels.kind == "reader":
        states, marks = states.where(ReviewRow.reader == labels.name), marks.where(MarkRow.reader == labels.name)
    areas: dict[int, dict[str, Region | None]] = {}
    for row in session.scalars(states):
        areas.setdefault(row.field_id, {})[row.reader] = stored_area(row)
    times = _times(session, ids, labels)
    by_field: dict[int, list[Mark]] = {}
    table = MarkRow.__table__.c
    columns = (table.field_id, table.reader, table.id, table.x, table.y, table.verdict, table.score, table.comment)
    for field_id, reader, key, x, y, verdict, score, comment in session.execute(
        marks.with_only_columns(*columns).order_by(table.field_id, table.reader, table.id)
    ):
        if reader in areas.get(field_id, ()):
            at = times.get((field_id, reader, key))
            when = "" if at is None else at.isoformat(timespec="seconds")
            mark = Mark(x, y, verdict, score, None, reader, when, comment or "")
            by_field.setdefault(field_id, []).append(mark)
    for field in fields:
        if field.id in areas:
            yield _image(field, names[field.id], by_field.get(field.id, ()), areas[field.id])


def _times(session: Session, ids: Sequence[int], labels: Labels) -> dict[tuple[int, str, str], datetime]:
    """When each mark was last changed."""
    key = (EventRow.field_id, EventRow.reader, EventRow.target)
    wanted = select(*key, func.max(EventRow.at, type_=EventRow.at.type)).where(
        EventRow.field_id.in_(ids), ~EventRow.superseded, EventRow.kind.not_in(("state", "area", "time"))
    )
    if labels.kind == "reader":
        wanted = wanted.where(EventRow.reader == labels.name)
    return {(field, reader, mark): at for field, reader, mark, at in session.execute(wanted.group_by(*key))}


def _points(by_verdict: Sequence[Float32]) -> list[Mark]:
    return [
        Mark(x, y, verdict, reader=_CONSENSUS)
        for verdict, points in zip(VERDICTS, by_verdict, strict=True)
        for x, y in points.tolist()
    ]


def _detections(found: StoredDetections, threshold: float | None) -> list[Mark]:
    above = found.detections.above(found.threshold if threshold is None else threshold)
    rows = zip(above.xy_px.tolist(), above.score.tolist(), strict=True)
    return [Mark(x, y, "mitosis", score, None, found.version) for (x, y), score in rows]


def _image(
    field: StoredField, name: str, marks: Sequence[Mark], areas: Mapping[str, Region | None] | None = None
) -> MarkedImage:
    """areas: what each reader reviewed, None for the whole field."""
    size = (field.width_px, field.height_px)
    parts = {reader: area for reader, area in (areas or {}).items() if area}
    return MarkedImage(name, tuple(marks), field.digest, *size, field.um_per_px, field.case, areas=parts)


def _nothing(labels: Labels) -> str:
    """Why there is nothing to write."""
    if labels.kind == "version":
        return f"{labels.name} has analysed none of these fields."
    who = labels.name if labels.kind == "reader" else "Nobody"
    done = "begun" if labels.unfinished else "finished"
    return f"{who} has {done} {'none' if labels.kind == 'reader' else 'any'} of these fields."
