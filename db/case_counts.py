"""What a case counts: the mitoses of its fields by a reader, by the consensus or by a version, and their tissue.

A field counts once its review is finished: a half-read field would make the density too low. By a reader: the mitoses
that this reader marked. By the consensus: those of most of the readers who have finished the field, of the largest
area any of them reviewed (db.labels, as for training). By a version: its detections from a threshold on, which nobody
has reviewed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from db.engine import Store
from db.errors import ImageDamaged
from db.fields import StoredField, list_fields, list_unscaled, load_field
from db.labels import only_finished, reviewed_region, vote
from db.predictions import Proposals, proposals, versions_by_field
from db.replay import Review
from db.reviews import reviews_of
from db.splits import case_of
from db.versions import load_version
from mitosis_core.errors import ConcentricError
from mitosis_core.image.tissue import Tissue, find_tissue
from mitosis_core.plurals import count_noun
from mitosis_core.scoring.counting import Count, FieldCount, count_on_tissue, total
from mitosis_core.types import Float32, Region
from mitosis_core.vocabulary import HIT_RADIUS_UM, MITOSIS, UNSURE, Verdict

TissueOf = Callable[[StoredField], Tissue | None]  # None: not known now


@dataclass(frozen=True)
class CountBy:
    """Whose mitoses count. name: the reader's or the version's, "" for the consensus.

    threshold: lowest score of a detection that counts; None: that of the version.
    """

    kind: Literal["reader", "consensus", "detections"]
    name: str = ""
    threshold: float | None = None

    @property
    def key(self) -> str:
        """How an address or a command names it: "consensus", "reader:NAME" or "detections:VERSION"."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def reviewed(self) -> bool:
        """Whether people have looked at what is counted."""
        return self.kind != "detections"


@dataclass(frozen=True)
class CountedCell:
    """A cell of a counted field, in pixels, and what was said of it.

    mark: the id of the reader's mark or of the detection, "" for the consensus. readers: who marked it, by name.
    version, score: of the detection that it is, or that the mark came from, else None. comment: of the reader; by the
    consensus of all who wrote one, after their names.
    """

    x_px: float
    y_px: float
    verdict: Verdict
    mark: str = ""
    readers: tuple[str, ...] = ()
    version: str | None = None
    score: float | None = None
    comment: str = ""


@dataclass(frozen=True, eq=False)
class CaseField:
    """A field of a case. counted: None where it does not count, and then `why_not` says why, in a few words.

    cells: all that were marked, look-alikes too; region: the part that was reviewed, None for all of it. readers: who
    finished it and is counted. open_mitoses: marked in a review that is not finished. undecided: disputed cells that no
    majority and nobody has settled, so that they do not count. event: the number of the last change behind the count,
    0 without one. version, threshold: of the detections.
    """

    field: StoredField
    counted: FieldCount | None
    cells: tuple[CountedCell, ...] = ()
    region: Region | None = None
    readers: tuple[str, ...] = ()
    why_not: str = ""
    open_mitoses: int = 0
    undecided: int = 0
    event: int = 0
    version: str = ""
    threshold: float | None = None

    @property
    def mitoses(self) -> tuple[CountedCell, ...]:
        """The cells that count, from top to bottom: those called mitosis inside the region."""
        inside = [cell for cell in self.cells if cell.verdict == MITOSIS and _within(self.region, cell)]
        return tuple(sorted(inside, key=lambda cell: (cell.y_px, cell.x_px)))


@dataclass(frozen=True, eq=False)
class CaseCounts:
    """The fields of a case, in the order they came, counted in one way. unscaled: fields that wait for their µm/px."""

    case: str
    by: CountBy
    fields: tuple[CaseField, ...]
    unscaled: int

    @cached_property
    def counted(self) -> tuple[FieldCount, ...]:
        """The fields that count."""
        return tuple(one.counted for one in self.fields if one.counted is not None)

    @cached_property
    def count(self) -> Count:
        """Mitoses and tissue of all of them."""
        return total(self.counted)

    @property
    def left_out(self) -> tuple[CaseField, ...]:
        """The fields that do not count."""
        return tuple(one for one in self.fields if one.counted is None)

    @property
    def is_final(self) -> bool:
        """Whether no field of the case is still to be read: excluded ones are not."""
        return not self.unscaled and all(one.why_not in ("", EXCLUDED) for one in self.fields)

    @property
    def open_mitoses(self) -> int:
        """Marked in reviews that are not finished, so not counted yet."""
        return sum(one.open_mitoses for one in self.fields)

    @property
    def state(self) -> str:
        """How much of the case is behind the figures, in a sentence or two; "" when it is all of it."""
        return " ".join(filter(None, [self._left_out_said, self._undecided_said]))

    @property
    def _undecided_said(self) -> str:
        number = sum(one.undecided for one in self.fields)
        if not number:
            return ""
        verb = "counts" if number == 1 else "count"
        return f"{count_noun(number, 'disputed cell')} {verb} only once settled (Agreement, on Review)."

    @property
    def _left_out_said(self) -> str:
        if not self.unscaled and not self.left_out:
            return ""
        reasons = Counter(one.why_not for one in self.left_out)
        said = [f"{number} {why}" for why, number in reasons.items()]
        said += [f"{self.unscaled} without µm/px"] if self.unscaled else []
        total = count_noun(len(self.fields) + self.unscaled, "field")
        start = "" if self.is_final else "Preliminary: "
        counted = f"{start}{len(self.counted)} of {total} counted ({', '.join(said)})."
        if not self.open_mitoses:
            return counted
        marked = count_noun(self.open_mitoses, "mitosis")
        return f"{counted} {marked} marked in unfinished fields will count once these are finished."

    @property
    def last_event(self) -> int:
        """The number of the last change behind the counts; 0 without one."""
        return max((one.event for one in self.fields), default=0)


EXCLUDED = "excluded"
UNFINISHED = "not finished"
UNREAD = "not read"
NOT_ANALYSED = "not analysed"


def case_names(store: Store) -> dict[str, str]:
    """Every case with a field, in the order they came, and what to call it: a field without a case by its own name."""
    return {case_of(field): field.case or field.name for field in list_fields(store)}


def fields_of(store: Store, case: str) -> list[StoredField]:
    """The fields of a case, by its name in `case_of`, in the order they came; none for a case that is not there."""
    named = list_fields(store, case) if case else []
    return named or [one for one in list_fields(store, "") if case_of(one) == case]


def readers_of(store: Store, case: str) -> dict[str, int]:
    """Who has finished fields of the case, and how many."""
    finished: dict[str, int] = {}
    for field in fields_of(store, case):
        for name, review in reviews_of(store, field.id).items():
            if review.state == "complete":
                finished[name] = finished.get(name, 0) + 1
    return finished


def ways_to_count(store: Store, case: str, active: str) -> list[CountBy]:
    """How a case can be counted, the way to begin with first. active: the version in use.

    Several readers: their consensus first. Then each reader, who finished most first, and the versions that have
    analysed a field of it; the active one too, first of them where it has, and last where it has not.
    """
    finished = readers_of(store, case)
    readers = sorted(finished, key=lambda name: (-finished[name], name))
    seen = versions_by_field(store)
    analysed = {name for field in fields_of(store, case) for name in seen.get(field.id, set())}
    by_version = sorted(analysed | {active}, key=lambda name: (name not in analysed, name != active, name))
    return [
        *([CountBy("consensus")] if len(readers) > 1 else []),
        *(CountBy("reader", name) for name in readers),
        *(CountBy("detections", name) for name in by_version),
    ]


def count_case(store: Store, case: str, by: CountBy, tissue_of: TissueOf | None = None) -> CaseCounts:
    """Count a case, by its name in `case_of`. tissue_of: gives the tissue of a field, from a cache perhaps.

    Where it gives none the field counts without area, and so does the case.
    """
    find = tissue_of or (lambda field: find_tissue(load_field(store, field)))
    border_um = _border_um(store, by.name) if by.kind == "detections" else 0.0
    fields = tuple(_counted(store, field, by, find, border_um) for field in fields_of(store, case))
    return CaseCounts(case, by, fields, len(list_unscaled(store, case)) if case else 0)


def _border_um(store: Store, version: str) -> float:
    """The border of a field in which a version does not search; none for one that is no longer there."""
    try:
        return load_version(store, version).card.blobs.border_um
    except ConcentricError:
        return 0.0


def _counted(store: Store, field: StoredField, by: CountBy, tissue_of: TissueOf, border_um: float) -> CaseField:
    if by.kind == "detections":
        found = _by_version(field, proposals(store, field.id, by.name), by, border_um)
    else:
        found = _by_readers(field, reviews_of(store, field.id), by)
    if found.why_not:
        return found
    xy = np.array([(cell.x_px, cell.y_px) for cell in found.mitoses], np.float32).reshape(-1, 2)
    try:
        tissue = tissue_of(field)
    except ImageDamaged as error:
        return CaseField(field, None, why_not=str(error))
    if tissue is None:
        return replace(found, counted=FieldCount(field.name, xy, found.region or field.extent, None))
    return replace(found, counted=count_on_tissue(field.name, xy, tissue, found.region))


def _by_version(field: StoredField, found: Proposals | None, by: CountBy, border_um: float) -> CaseField:
    if found is None:
        return CaseField(field, None, why_not=NOT_ANALYSED)
    threshold = found.threshold if by.threshold is None else by.threshold
    cells = tuple(
        CountedCell(one.x, one.y, MITOSIS, one.id, (), found.version, one.score)
        for one in found.candidates
        if one.score >= threshold
    )
    searched = field.extent.without_border(border_um / field.um_per_px) if border_um else None
    return CaseField(field, None, cells, searched, version=found.version, threshold=threshold)


def _by_readers(field: StoredField, reviews: Mapping[str, Review], by: CountBy) -> CaseField:
    reviews = {name: one for name, one in reviews.items() if by.kind == "consensus" or name == by.name}
    finished = only_finished(reviews)
    if not finished:
        states = {one.state for one in reviews.values()}
        why = UNFINISHED if "in_review" in states else EXCLUDED if EXCLUDED in states else UNREAD
        still_open = [one.count(MITOSIS) for one in reviews.values() if one.state == "in_review"]
        return CaseField(field, None, why_not=why, open_mitoses=max(still_open, default=0))
    if by.kind == "reader":
        return of_reader(field, by.name, finished[by.name])
    said = vote(field, finished)
    cells = tuple(
        CountedCell(
            float(one.xy_px[0]),
            float(one.xy_px[1]),
            one.verdict,
            readers=tuple(sorted(one.verdicts)),
            comment=_comments(said.reviews, one.xy_px, HIT_RADIUS_UM / field.um_per_px),
        )
        for one in said.cells
    )
    undecided = sum(one.disputed and one.verdict == UNSURE for one in said.cells)
    readers = tuple(sorted(said.reviews))
    return CaseField(field, None, cells, said.region, readers, undecided=undecided, event=said.last_event)


def of_reader(field: StoredField, name: str, review: Review) -> CaseField:
    """A field as one reader has it."""
    cells = tuple(
        CountedCell(mark.x, mark.y, mark.verdict, mark.id, (name,), mark.version, mark.score, mark.comment or "")
        for mark in review.standing
    )
    return CaseField(field, None, cells, reviewed_region(field, review), (name,), event=review.rev)


def _comments(reviews: Mapping[str, Review], xy_px: Float32, radius_px: float) -> str:
    """What readers wrote about their marks on a cell: "Ann: tripolar; Bert: blurred"."""
    x, y = map(float, xy_px)
    return "; ".join(
        f"{name}: {mark.comment}"
        for name, review in sorted(reviews.items())
        for mark in review.standing
        if mark.comment and math.hypot(mark.x - x, mark.y - y) <= radius_px
    )


def _within(region: Region | None, cell: CountedCell) -> bool:
    return region is None or bool(region.contains(np.array([[cell.x_px, cell.y_px]], np.float32))[0])
