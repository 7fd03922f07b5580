"""Who read a case: how many of its fields, how long and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from db.case_counts import CaseCounts, of_reader
from db.engine import Store
from db.fields import StoredField
from db.reviews import Review, reading_times, reviews_of


@dataclass(frozen=True)
class Reading:
    """One reader's work on a case. fields: finished; first, last: change, UTC; seconds: spent."""

    reader: str
    fields: int
    mitoses: int
    seconds: float
    first: datetime | None
    last: datetime | None


def readings(store: Store, counts: CaseCounts) -> list[Reading]:
    """Who finished fields of the case, by name, of those whose verdicts are counted: nobody for detections."""
    if not counts.by.reviewed:
        return []
    fields = [one.field for one in counts.fields]
    times = reading_times(store, [one.id for one in fields])
    by_reader: dict[str, list[tuple[StoredField, Review]]] = {}
    for field in fields:
        for name, review in reviews_of(store, field.id).items():
            if review.state == "complete" and (counts.by.kind != "reader" or name == counts.by.name):
                by_reader.setdefault(name, []).append((field, review))
    return [_reading(name, done, times) for name, done in sorted(by_reader.items())]


def _reading(
    name: str, done: list[tuple[StoredField, Review]], times: dict[tuple[int, str], tuple[datetime, datetime]]
) -> Reading:
    spans = [times[field.id, name] for field, _ in done if (field.id, name) in times]
    return Reading(
        name,
        len(done),
        sum(len(of_reader(field, name, review).mitoses) for field, review in done),
        sum(review.seconds for _, review in done),
        min((first for first, _ in spans), default=None),
        max((last for _, last in spans), default=None),
    )
