"""What the Review page does, without Streamlit: keep fields, order the queue, propose, look back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from db.assignments import assigned_fields
from db.disk_space import check_disk_space
from db.engine import Store
from db.errors import StoreFailed
from db.fields import (
    StoredField,
    add_field,
    add_unscaled,
    appearances,
    finished_field_ids,
    list_fields,
    load_field,
    save_appearances,
)
from db.labels import only_finished
from db.predictions import Proposals, disagreements, proposals, save_prediction, uncertainties, versions_by_field
from db.reviews import Event, Overview, Review, history, overviews, review_of, reviews_of
from db.splits import case_of
from mitosis_core.errors import ConcentricError
from mitosis_core.image.appearance import measure_appearance, novelty
from mitosis_core.model import Model
from mitosis_core.progress import ShareDone, no_share
from mitosis_core.vocabulary import LENIENT_RADIUS_UM
from pages.shared.person import Person
from pages.shared.service.detecting import Analysis, PredictionCache, analyse
from pages.shared.service.detection_worker import detect_later
from pages.shared.service.importing import guess_case

__all__ = ["Review"]

log = logging.getLogger("concentric")

ANY_CASE = ""
ORDERS = {
    "added": "In the order they were added",
    "uncertainty": "Most uncertain first",
    "disagreement": "Most disagreement between versions first",
    "novelty": "Least similar to finished fields first",
}
ORDER_HELP = {  # what decides each order but the first
    "uncertainty": "Sum over candidates: 1 at the threshold, falling to 0 at a distance of 0.5 in score.",
    "disagreement": "Detections of the chosen version, or of the latest other version that analysed the field, "
    f"that the other one does not have within {LENIENT_RADIUS_UM:g} µm.",
    "novelty": "Distance to the most similar field that any reader has finished, in stain (mean and spread of "
    "haematoxylin and eosin) and share of tissue: 1 is about the distance of two random fields. Cells do not count.",
}
STATES = {
    "unseen": "not seen",
    "in_review": "in review",
    "complete": "complete",
    "complete_empty": "complete, no mitosis",
    "excluded": "excluded",
}
SIGNS = {"unseen": "○", "in_review": "◐", "complete": "●", "complete_empty": "●", "excluded": "⊘"}


@dataclass(frozen=True)
class OrderValue:
    """How much a field would teach, by one of ORDER_HELP. against: the other version of a disagreement."""

    value: float
    against: str = ""


class QueueEntry(NamedTuple):
    """A field and where one reader's review of it stands. order_value: None while not known.

    asked: whether this reader was asked to review it.
    """

    field: StoredField
    review: Overview
    order_value: OrderValue | None
    asked: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is still to be reviewed."""
        return self.review.state in ("unseen", "in_review")

    @property
    def label(self) -> str:
        """The field in a list: its state as a sign, its name, what was counted."""
        counted = f" · {self.review.mitoses}" if self.review.state != "unseen" else ""
        return f"{SIGNS[self.review.state]} {self.field.name}{counted}"


def hand_over(
    store: Store, analyses: Iterable[Analysis], *, version: str, by: str, case: str | None, keep_names: bool
) -> tuple[list[int], list[str]]:
    """Keep fields with what was found; those not analysed yet wait in the queue. Returns their ids, and the case of
    each that was there already in another case than this one and stays in it.

    case: None is guessed from each name. The sample and what has a problem are left out. Raises as `store_for_review`.
    """
    wanted = [one for one in analyses if one.field and not one.problem and not one.is_sample]
    kept, elsewhere = store_for_review(store, wanted, case=case, keep_names=keep_names)
    ids = [one.id for one in kept]
    for one in wanted:
        if one.field is not None and one.prediction is None:
            name = _case(one.name, case, keep_names)
            waiting, _ = add_unscaled(store, one.field, case=name, keep_name=keep_names)
            ids.append(waiting.id)
            elsewhere += [waiting.case] if waiting.case != name else []
    detect_later(store, ids, version, by=by)
    return ids, elsewhere


def _case(name: str, case: str | None, keep_names: bool) -> str:
    """A name that is not to be kept says nothing of the case either."""
    return case if case is not None else guess_case(name) if keep_names else ""


def store_for_review(
    store: Store, analyses: Iterable[Analysis], *, case: str | None, keep_names: bool
) -> tuple[list[StoredField], list[str]]:
    """Keep analysed fields with what was found. Returns them, and the case of each that was there already in another
    one and stays in it.

    case: None is guessed from each name. Raises StoreFull before anything is written when all of these fields, those
    that are not analysed yet too, would leave too little room on the disk.
    """
    analyses = list(analyses)
    check_disk_space(store.folder, sum(one.field.pixels.nbytes for one in analyses if one.field))
    kept, elsewhere = [], []
    for one in analyses:
        if one.field is None or one.prediction is None:
            continue
        wanted = _case(one.name, case, keep_names)
        stored, _ = add_field(store, one.field, case=wanted, keep_name=keep_names)
        # What was kept at another µm/px is detected again, at that one.
        save_prediction(store, stored.id, one.prediction, um_per_px=one.field.um_per_px)
        save_appearances(store, {stored.id: measure_appearance(one.field)})
        log.info("field %d is kept", stored.id)
        kept.append(stored)
        elsewhere += [stored.case] if stored.case != wanted else []
    return kept, elsewhere


def queue(
    store: Store, reader: str, version: str, *, case: str = ANY_CASE, order: str = "added", only_asked: bool = False
) -> list[QueueEntry]:
    """The fields of a case, or all, with where this reader stands: those the reader was asked to review first, and
    within that in one of ORDERS; what is not known comes last. only_asked: without the others."""
    seen, known = overviews(store, reader), _order_values(store, version, order)
    asked = assigned_fields(store, reader)
    fields = [one for one in list_fields(store, case or None) if one.id in asked or not only_asked]
    unseen = Overview()
    entries = [QueueEntry(one, seen.get(one.id, unseen), known.get(one.id), one.id in asked) for one in fields]
    if not known and not asked:
        return entries

    def place(entry: QueueEntry) -> tuple[bool, float]:
        return not entry.asked, -entry.order_value.value if entry.order_value else 1.0  # no value is below 0

    return sorted(entries, key=place)


def _order_values(store: Store, version: str, order: str) -> dict[int, OrderValue]:
    if order == "uncertainty":
        return {key: OrderValue(value) for key, value in uncertainties(store, version).items()}
    if order == "disagreement":
        return {key: OrderValue(one.detections, one.other) for key, one in disagreements(store, version).items()}
    return _novelties(store) if order == "novelty" else {}


def _novelties(store: Store) -> dict[int, OrderValue]:
    known = {key: look for key, look in appearances(store).items() if look}  # bare glass is like nothing
    done = finished_field_ids(store)
    if not done & known.keys():
        return {}
    values = novelty(list(known.values()), [key in done for key in known])
    return {key: OrderValue(float(value)) for key, value in zip(known, values, strict=True)}


def store_appearances(store: Store, progress: ShareDone = no_share) -> None:
    """Describe the fields that were kept before fields were described; stored one by one."""
    known = appearances(store)
    fields = [one for one in list_fields(store) if one.id not in known]
    for number, one in enumerate(fields):
        progress(number / len(fields), one.name)
        try:
            save_appearances(store, {one.id: measure_appearance(load_field(store, one))})
        except StoreFailed:  # a damaged image: whoever opens the field is told
            save_appearances(store, {one.id: ()})


def not_analysed(
    store: Store, entries: Sequence[QueueEntry], version: str, second: str = ""
) -> list[tuple[StoredField, str]]:
    """Fields that a version has not looked at, and that no other version has when a second one is named."""
    fields, seen = [entry.field for entry in entries], versions_by_field(store)
    own = [(one, version) for one in fields if version not in seen.get(one.id, set())]
    other = [(one, second) for one in fields if second and not seen.get(one.id, set()) - {version}]
    return own + other


def analyse_fields(
    store: Store,
    wanted: Sequence[tuple[StoredField, str]],
    load: Callable[[str], Model],
    known: PredictionCache,
    progress: ShareDone = no_share,
) -> list[str]:
    """Let versions look at fields, each stored when it is done; returns a sentence for each that could not be."""
    problems = []
    for number, (field, version) in enumerate(wanted):

        def part(share: float, before: int = number, name: str = field.name) -> None:
            progress((before + share) / len(wanted), name)

        part(0.0)
        try:
            _, problem = get_proposals(store, field, load(version), known, part)
        except ConcentricError as error:  # deleted, or its image damaged
            problem = str(error)
        problems += [f"{field.name}: {problem}"] if problem else []
    return problems


def neighbour(entries: Sequence[QueueEntry], current: int, by: int) -> int:
    """The id of the next (1) or previous (-1) field; at the ends the current one."""
    place = _place(entries, current) + by
    return entries[place].field.id if 0 <= place < len(entries) else current


def of_case(entries: Sequence[QueueEntry], field: StoredField) -> list[QueueEntry]:
    """The entries of the case of a field."""
    return [entry for entry in entries if case_of(entry.field) == case_of(field)]


def next_case(store: Store, reader: str, case: str) -> StoredField | None:
    """The first field still to review of another case, by `case_of`; those the reader was asked to review first, then
    those after this case. None when all are read."""
    seen, fields, asked = overviews(store, reader), list_fields(store), assigned_fields(store, reader)
    last = max((place for place, one in enumerate(fields) if case_of(one) == case), default=-1)
    others = [one for one in [*fields[last + 1 :], *fields[: last + 1]] if case_of(one) != case]
    others.sort(key=lambda one: one.id not in asked)
    return next((one for one in others if QueueEntry(one, seen.get(one.id, Overview()), None).is_open), None)


def next_open(entries: Sequence[QueueEntry], current: int, *, from_top: bool = False) -> int | None:
    """The id of the next field still to review; None when all are.

    From the current one on and then from the start; from_top: from the start at once, for an order that has changed.
    """
    place = _place(entries, current)
    others = [*entries[:place], *entries[place + 1 :]] if from_top else [*entries[place + 1 :], *entries[:place]]
    return next((entry.field.id for entry in others if entry.is_open), None)


def _place(entries: Sequence[QueueEntry], current: int) -> int:
    return next(place for place, entry in enumerate(entries) if entry.field.id == current)


def get_proposals(
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
    if save_prediction(store, stored.id, answer.prediction, um_per_px=field.um_per_px) is None:
        return None, "The µm/px of this field was changed just now. Please open it again."
    return proposals(store, stored.id, model.version), ""


def may_see_others(who: Person, own_state: str) -> bool:
    """Whether somebody may see what others said of a field. own_state: of their own review of it.

    A reviewer only after finishing it, so as to stay blind; a field that is excluded has no verdict of theirs yet, and
    may be reopened. An admin may at any time; who only looks has none to finish.
    """
    return who.may("admin") or not who.may("reviewer") or own_state in ("complete", "complete_empty")


def visible_reviews(store: Store, stored: StoredField, reader: str, who: Person) -> dict[str, Review]:
    """The reviews of other readers that somebody may see: finished ones; an admin sees all of them."""
    known = reviews_of(store, stored.id)
    if not may_see_others(who, known.get(reader, Review()).state):
        return {}
    theirs = {name: review for name, review in known.items() if name != reader}
    return theirs if who.may("admin") else only_finished(theirs)


def comparable(entries: Sequence[QueueEntry], who: Person) -> list[StoredField]:
    """The fields whose readers may be compared before this person's eyes."""
    return [one.field for one in entries if may_see_others(who, one.review.state)]


def changes(store: Store, field_id: int, reader: str) -> list[Event]:
    """What a reader changed on a field, oldest first, without the notes of the time spent."""
    return [event for event in history(store, field_id, reader) if event.kind != "time"]


def review_at(store: Store, field_id: int, reader: str, event_id: int) -> Review:
    """A review as it stood just after an event."""
    return review_of(store, field_id, reader, until=event_id)


def describe_event(event: Event) -> str:
    """One change in words."""
    verdict = {"mitosis": "mitosis", "lookalike": "look-alike", "unsure": "unsure"}.get(event.verdict or "", "")
    origin = f" (proposed by {event.version}, score {event.score:.2f})" if event.version and event.score else ""
    said = {
        "add": f"marked as {verdict}",
        "class": f"classified as {verdict}{origin}",
        "move": f"moved a {verdict}{origin}",
        "delete": f"deleted a {verdict}{origin}",
        "restore": f"restored a {verdict}{origin}",
        "state": f"field {STATES.get(event.state or '', event.state)}",
        "area": "reviewed area: a part of the field" if event.area else "reviewed area: the whole field",
    }[event.kind]
    said += f" · comment: “{event.comment}”" if event.comment and event.kind != "delete" else ""
    said += " · settles a dispute" if event.settles else ""
    return said + (" · not applied: changed later in another window" if event.superseded else "")


def table(entries: Sequence[QueueEntry], order: str = "added") -> list[dict[str, str | int | float | None]]:
    """One row per field for the overview, with the value that decides the order."""
    asked = any(entry.asked for entry in entries)
    return [
        _row(entry) | ({"asked of you": "yes" if entry.asked else ""} if asked else {}) | _order_columns(entry, order)
        for entry in entries
    ]


def _row(entry: QueueEntry) -> dict[str, str | int | float | None]:
    return {
        "field": entry.field.name,
        "case": entry.field.case,
        "state": STATES[entry.review.state],
        "mitoses": entry.review.mitoses,
        "look-alikes": entry.review.lookalikes,
        "unsure": entry.review.unsure,
        "seconds": entry.review.seconds,
    }


def _order_columns(entry: QueueEntry, order: str) -> dict[str, str | int | float | None]:
    if order not in ORDER_HELP:
        return {}
    value = entry.order_value.value if entry.order_value else None
    return {order: value} | (
        {"compared with": entry.order_value.against if entry.order_value else ""} if order == "disagreement" else {}
    )
