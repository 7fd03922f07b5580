"""What the reviews say of each finished field: the labels that a training learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.engine import Store
from db.fields import StoredField, list_fields
from db.replay import Event, Review, replay_by_reader
from db.reviews import history
from db.schema import EventRow, FieldRow, ReviewRow
from mitosis_core.image.sample_field import is_sample
from mitosis_core.scoring.agreement import ConsensusObject, Verdicts, consensus
from mitosis_core.types import Float32, Region
from mitosis_core.vocabulary import SAME_CELL_UM, VERDICTS

CONSENSUS = ""  # instead of a reader's name
_SAME = 0.9  # of the largest area, which two readers cannot draw alike to the pixel


@dataclass(frozen=True, eq=False)
class ReviewedField:
    """One finished field. The places are Float32[N, 2] in pixels; region: what was reviewed, None for the whole field.

    Tissue outside the region, and round an unsure cell, says nothing. last_event: the newest event behind this.
    """

    field: StoredField
    mitoses_xy_px: Float32
    lookalikes_xy_px: Float32
    unsure_xy_px: Float32
    region: Region | None
    last_event: int

    @property
    def um_per_px(self) -> float:
        """µm per pixel of the field."""
        return self.field.um_per_px

    @property
    def area_mm2(self) -> float:
        """Area of what was reviewed."""
        return (self.region or self.field.extent).area_mm2(self.um_per_px)


def reviewed_fields(store: Store, source: str = CONSENSUS, until: int | None = None) -> list[ReviewedField]:
    """All fields that are complete, by one reader's verdicts or by the consensus of those who completed them.

    until: the event after which nothing counts, so that an earlier training set can be built again. The sample field,
    which earlier programs stored, is left out.
    """
    reviewed, begun = [], _begun(store)
    for field in list_fields(store):
        if field.id not in begun or is_sample(field.digest, field.width_px, field.height_px):
            continue
        by_reader = _finished(history(store, field.id), until)
        if source != CONSENSUS:
            by_reader = {name: review for name, review in by_reader.items() if name == source}
        if by_reader:
            reviewed.append(_labels(field, by_reader))
    return reviewed


def label_readers(store: Store) -> list[str]:
    """The readers of whom `reviewed_fields` has any, by name; by the reviews as they are stored, without the events."""
    wanted = select(ReviewRow.reader, FieldRow.digest, FieldRow.width_px, FieldRow.height_px)
    wanted = wanted.join(FieldRow, FieldRow.id == ReviewRow.field_id).where(ReviewRow.state == "complete")
    with store.reading() as session:
        rows = session.execute(wanted)
        return sorted({reader for reader, digest, width, height in rows if not is_sample(digest, width, height)})


def _begun(store: Store) -> set[int]:
    """Fields that anybody has reviewed, by their ids."""
    with store.reading() as session:
        return set(session.scalars(select(EventRow.field_id).distinct()))


def last_event(store: Store) -> int:
    """The newest event of the store; 0 when there is none.

    Alone in writing, so that no event with a smaller number comes after: what is up to it stays the same for ever.
    """
    with store.writing() as session:
        return _newest(session)


def newest_event(store: Store) -> int:
    """The newest event that is visible now; 0 when there is none."""
    with store.reading() as session:
        return _newest(session)


def _newest(session: Session) -> int:
    return session.scalar(select(func.max(EventRow.id))) or 0


def verdicts_of(review: Review) -> Verdicts:
    """A reader's standing marks as the core compares them."""
    marks = review.standing
    xy = np.array([(mark.x, mark.y) for mark in marks], np.float32).reshape(-1, 2)
    return Verdicts(xy, tuple(mark.verdict for mark in marks), tuple(mark.settles for mark in marks))


def _finished(events: list[Event], until: int | None) -> dict[str, Review]:
    """The completed reviews among these events, by reader."""
    counted = [event for event in events if until is None or event.id <= until]
    return only_finished(replay_by_reader(counted))


def only_finished(reviews: Mapping[str, Review]) -> dict[str, Review]:
    """Those of these reviews, by reader, that are complete."""
    return {name: review for name, review in reviews.items() if review.state == "complete"}


@dataclass(frozen=True, eq=False)
class Vote:
    """What those who finished a field say together. region: what they reviewed, None for the whole field.

    reviews: those that count, by reader: who reviewed a part says nothing about the rest, so only readers of the
    largest area vote; areas drawn by hand that share nine tenths of it are the same, and what all of them hold counts.
    cells: everything that any of them marked in it, with the majority's verdict.
    """

    region: Region | None
    reviews: Mapping[str, Review]
    cells: tuple[ConsensusObject, ...]

    @property
    def last_event(self) -> int:
        """The newest event behind it."""
        return max(review.rev for review in self.reviews.values())


def reviewed_region(field: StoredField, review: Review) -> Region | None:
    """What a reader reviewed of the field; None for all of it, also where that was drawn as an area."""
    region = review.area and review.area.clipped(field.extent)
    return None if region == field.extent else region


def _voters(field: StoredField, finished: Mapping[str, Review]) -> tuple[Region | None, dict[str, Review]]:
    """The region that counts, and the completed reviews that count in it, as `Vote` has them."""
    drawn = {name: region for name, review in finished.items() if (region := reviewed_region(field, review))}
    whole = {name: review for name, review in finished.items() if name not in drawn}
    if whole:
        return None, whole

    def size(region: Region) -> float:
        return region.area_mm2(field.um_per_px)

    largest = max(drawn.values(), key=size)
    same = {name: region for name, region in drawn.items() if size(region.clipped(largest)) >= _SAME * size(largest)}
    return reduce(Region.clipped, same.values()), {name: finished[name] for name in same}


def vote(field: StoredField, finished: Mapping[str, Review]) -> Vote:
    """The consensus on one field. finished: the completed reviews, by reader: at least one."""
    region, voting = _voters(field, finished)
    said = {name: verdicts_of(review) for name, review in voting.items()}
    cells = consensus(said, SAME_CELL_UM / field.um_per_px, list(said))
    return Vote(region, voting, tuple(one for one in cells if region is None or region.contains(one.xy_px)[0]))


def _labels(field: StoredField, by_reader: Mapping[str, Review]) -> ReviewedField:
    said = vote(field, by_reader)
    by_verdict = {
        verdict: np.array([one.xy_px for one in said.cells if one.verdict == verdict], np.float32).reshape(-1, 2)
        for verdict in VERDICTS
    }
    return ReviewedField(
        field, by_verdict["mitosis"], by_verdict["lookalike"], by_verdict["unsure"], said.region, said.last_event
    )
