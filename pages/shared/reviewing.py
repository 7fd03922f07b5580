"""What the Review page does, without Streamlit: keep fields, order the queue, propose, look back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from db.engine import Store
from db.fields import StoredField, add_field, list_fields, load_field
from db.predictions import Proposals, doubts, proposals, save_prediction
from db.reviews import Event, Overview, Review, history, overviews, review_of
from mitosis_core.model import Model
from pages.shared.actions import Analysis, PredictionCache, analyse

__all__ = ["Review"]

ANY_CASE = ""
ORDERS = {"added": "In the order they came", "doubt": "Least sure first"}
STATES = {
    "unseen": "not seen",
    "in_review": "in review",
    "complete": "complete",
    "complete_empty": "complete, no mitosis",
    "excluded": "excluded",
}
SIGNS = {"unseen": "○", "in_review": "◐", "complete": "●", "complete_empty": "●", "excluded": "⊘"}


@dataclass(frozen=True)
class QueueEntry:
    """A field and where one reader's review of it stands. doubt: None while the version has not looked at it."""

    field: StoredField
    review: Overview
    doubt: float | None

    @property
    def is_open(self) -> bool:
        return self.review.state in ("unseen", "in_review")

    @property
    def label(self) -> str:
        """The field in a list: its state as a sign, its name, what was counted."""
        counted = f" · {self.review.mitoses}" if self.review.state != "unseen" else ""
        return f"{SIGNS[self.review.state]} {self.field.name}{counted}"


def keep(store: Store, analyses: Iterable[Analysis], *, case: str, keep_names: bool) -> tuple[list[StoredField], int]:
    """Keep analysed fields with what was found. Returns them, and how many of them were kept before."""
    kept, known = [], 0
    for one in analyses:
        if one.field is None or one.prediction is None:
            continue
        stored, was_there = add_field(store, one.field, case=case, keep_name=keep_names)
        save_prediction(store, stored.id, one.prediction)
        kept.append(stored)
        known += was_there
    return kept, known


def queue(store: Store, reader: str, version: str, *, case: str = ANY_CASE, order: str = "added") -> list[QueueEntry]:
    """The fields of a case, or all, in one of ORDERS, with where this reader stands."""
    seen, doubt = overviews(store, reader), doubts(store, version)
    fields = list_fields(store, case or None)
    entries = [QueueEntry(one, seen.get(one.id, Overview()), doubt.get(one.id)) for one in fields]
    if order == "doubt":
        entries.sort(key=lambda entry: -1.0 if entry.doubt is None else entry.doubt, reverse=True)
    return entries


def step(entries: Sequence[QueueEntry], current: int, by: int) -> int:
    """The id of the next (1) or previous (-1) field; at the ends the current one."""
    place = _place(entries, current) + by
    return entries[place].field.id if 0 <= place < len(entries) else current


def next_open(entries: Sequence[QueueEntry], current: int) -> int | None:
    """The id of the next field still to review, from the current one on and then from the start; None when all are."""
    place = _place(entries, current)
    later = [*entries[place + 1 :], *entries[:place]]
    return next((entry.field.id for entry in later if entry.is_open), None)


def _place(entries: Sequence[QueueEntry], current: int) -> int:
    return next(place for place, entry in enumerate(entries) if entry.field.id == current)


def propose(
    store: Store, stored: StoredField, model: Model, known: PredictionCache, progress: Callable[[float], None]
) -> tuple[Proposals | None, str]:
    """What a version proposes in a field, detected now if need be; and a sentence when it could not be."""
    there = proposals(store, stored.id, model.version)
    if there:
        return there, ""
    field = load_field(store, stored)
    (answer,) = analyse([Analysis(stored.name, field)], model, known, progress=lambda *said: progress(said[-1]))
    if answer.prediction is None:
        return None, answer.problem or ""
    save_prediction(store, stored.id, answer.prediction)
    return proposals(store, stored.id, model.version), ""


def changes(store: Store, field_id: int, reader: str) -> list[Event]:
    """What a reader changed on a field, oldest first, without the notes of the time spent."""
    return [event for event in history(store, field_id, reader) if event.kind != "time"]


def review_at(store: Store, field_id: int, reader: str, event_id: int) -> Review:
    """A review as it stood just after an event."""
    return review_of(store, field_id, reader, until=event_id)


def say(event: Event) -> str:
    """One change in words."""
    verdict = {"mitosis": "mitosis", "lookalike": "look-alike", "unsure": "unsure"}.get(event.verdict or "", "")
    origin = f" (proposed by {event.version}, score {event.score:.2f})" if event.version and event.score else ""
    said = {
        "add": f"marked as {verdict}",
        "class": f"called {verdict}{origin}",
        "move": f"moved a {verdict}{origin}",
        "delete": f"took back a {verdict}{origin}",
        "restore": f"brought back a {verdict}{origin}",
        "state": f"field {STATES.get(event.state or '', event.state)}",
        "area": "reviewed area: a part of the field" if event.area else "reviewed area: the whole field",
    }[event.kind]
    return said + (" · not applied: changed in another window since" if event.superseded else "")


def table(entries: Sequence[QueueEntry]) -> list[dict[str, str | int | float | None]]:
    """One row per field for the overview."""
    return [
        {
            "field": entry.field.name,
            "case": entry.field.case,
            "state": STATES[entry.review.state],
            "mitoses": entry.review.mitoses,
            "look-alikes": entry.review.lookalikes,
            "unsure": entry.review.unsure,
            "seconds": entry.review.seconds,
            "doubt": entry.doubt,
        }
        for entry in entries
    ]


def minutes(seconds: float) -> str:
    """A span of time in words."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
