"""An archive of another installation taken into this one: what is there already stays, all else is added, in one
transaction.

Fields are told by the digest of their pixels, versions by name and weights, events by their op_id; ids are given anew.
"""

from __future__ import annotations

import re
import tempfile
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.archive import Progress, no_progress, restore
from db.dialects.base import database_of
from db.disk import FOLDER_MODE, move_into_place
from db.disk_space import check_disk_space
from db.engine import Store, open_store
from db.errors import BackupDamaged, StoreFailed, as_sentences
from db.images import image_name, image_path, is_whole
from db.ops import OP_ID, BadOp, check_reader
from db.replay import Event
from db.reviews import events_of, reserve_event_ids, write_events
from db.schema import (
    AssignmentRow,
    Base,
    DecisionRow,
    EventRow,
    FieldRow,
    PredictionRow,
    ProposalRow,
    RunRow,
    SplitRow,
    TombstoneRow,
    VersionLabelRow,
    VersionRow,
)
from db.version_labels import latest_labels
from db.versions import VERSION_NAME, active_version, weights_path
from mitosis_core.errors import UnusableModel
from mitosis_core.model import DEFAULT_VERSION, ModelCard, list_versions
from mitosis_core.plurals import count_noun
from mitosis_core.types import on_image

_PROPOSAL = re.compile(r"p([0-9]{1,12})-([0-9]{1,12})")
_TARGET = re.compile(r"[A-Za-z0-9_-]{1,64}|:(state|area|time)")
_IMPOSSIBLE = (IntegrityError, KeyError, TypeError, ValueError, AttributeError)  # what rows of others may lead to


@dataclass
class Merged:
    """What was added. notes: sentences about what both have and differently; there this installation's stayed."""

    fields: int = 0
    events: int = 0
    predictions: int = 0
    versions: int = 0
    decisions: int = 0
    runs: int = 0
    splits: int = 0
    labels: int = 0
    assignments: int = 0
    deletions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def says(self) -> str:
        """What was added, in a sentence."""
        nouns = {
            "fields": "field",
            "events": "change to reviews",
            "predictions": "prediction",
            "versions": "version",
            "decisions": "decision",
            "runs": "run",
            "splits": "split of cases",
            "labels": "label of a version",
            "assignments": "request to a reader",
            "deletions": "deletion",
        }
        added = [_counted(getattr(self, name), noun) for name, noun in nouns.items() if getattr(self, name)]
        return f"{', '.join(added)} added." if added else "Nothing was added: all of it is here already."


def merge_archive(store: Store, place: Path, progress: Progress = no_progress) -> Merged:
    """Add all that an archive of `db.archive` has and this store has not; done twice, the second time adds nothing.

    Preferences and the detection queue of the other installation are left behind: they are of its users and its server.
    Raises BackupDamaged, StoreFailed, StoreFull, StoreBusy; then nothing was added.
    """
    check_disk_space(store.folder, place.stat().st_size if place.is_file() else 0)
    with tempfile.TemporaryDirectory(dir=store.folder, prefix="merge-") as folder:
        unpacked = Path(folder) / "archive"
        restore(place, unpacked, progress)
        other = open_store(unpacked)
        try:
            _check_images(store, other)
            return _merge(store, other)
        except _IMPOSSIBLE as error:
            raise BackupDamaged(f"{place.name} holds a database that Concentric did not write.") from error
        finally:
            other.close()


def _check_images(store: Store, other: Store) -> None:
    """Before the lock, as it takes a while: all images that are new here are what they should be."""
    with store.reading() as ours, other.reading() as theirs:
        known = set(ours.scalars(select(FieldRow.digest)))
        new = [row for row in theirs.execute(select(FieldRow.digest, FieldRow.name)) if row.digest not in known]
    for digest, name in new:
        if not is_whole(other, digest):
            raise BackupDamaged(f"The image of {name} in the archive is missing, or is not the one it should be.")


def _merge(store: Store, other: Store) -> Merged:
    placed: list[Callable[[], object]] = []  # how to take them away again
    try:
        with other.reading() as theirs, store.writing() as ours, as_sentences():
            work = _Merge(store, other, ours, theirs, placed)
            work.take_versions()
            work.take_fields()
            work.take_predictions()
            work.take_events()
            work.take_runs()
            work.take_version_rows()
            work.take_decisions()
            work.take_splits()
            work.take_labels()
            work.take_assignments()
            work.take_tombstones()
            return work.merged
    except BaseException:
        for take_away in placed:
            with suppress(OSError, StoreFailed):
                take_away()
        raise


class _Merge:
    """One merge under way: the two sessions, and what the ids and names of the archive are here."""

    def __init__(
        self, store: Store, other: Store, ours: Session, theirs: Session, placed: list[Callable[[], object]]
    ) -> None:
        self.merged = Merged()
        self._store, self._other, self._ours, self._theirs, self._placed = store, other, ours, theirs, placed
        self._fields: dict[int, FieldRow] = {}
        self._versions: dict[str, str] = {}
        self._predictions: dict[int, str] = {}  # of the archive -> beginning of the ids of its marks
        self._events: dict[int, int] = {}  # of the archive -> here
        self._runs: dict[int, int] = {}
        self._was_empty = not any(ours.scalar(select(func.count()).select_from(one)) for one in _HOLDING)

    # ---- versions

    def take_versions(self) -> None:
        """Files and names; a name that another version has here gets the start of the sha256 behind it."""
        for row in self._theirs.scalars(select(VersionRow).order_by(VersionRow.created_at)):
            if not VERSION_NAME.fullmatch(row.name):
                raise BackupDamaged("A version in the archive has an impossible name.")
            known = self._ours.get(VersionRow, row.name)
            same = known is not None and known.sha256 == row.sha256
            name = row.name if same or (known is None and row.name not in list_versions()) else _other_name(row)
            self._versions[row.name] = name
            if name != row.name and self._ours.get(VersionRow, name) is None:
                self.merged.notes.append(
                    f"There is another version {row.name} here; that of the archive is now {name}."
                )
            if self._ours.get(VersionRow, name) is None and row.deleted_at is None:
                self._take_files(row, name)

    def _take_files(self, row: VersionRow, name: str) -> None:
        source, target = weights_path(self._other, row.name), weights_path(self._store, name)
        target.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        card = source.with_suffix(".json")
        if name != row.name:
            try:
                renamed = replace(ModelCard.from_json(card.read_bytes()), version=name)
            except UnusableModel as error:
                raise BackupDamaged(f"The version {row.name} of the archive: {error}") from error
            card.write_text(renamed.to_json(), encoding="utf-8")
        for one, place in ((source, target), (card, target.with_suffix(".json"))):
            self._move(one, place)

    def _move(self, source: Path, place: Path) -> None:
        if not place.exists():
            self._placed.append(lambda: place.unlink(missing_ok=True))
        move_into_place(source, place)

    def take_version_rows(self) -> None:
        """After the runs, which they name."""
        for row in self._theirs.scalars(select(VersionRow).order_by(VersionRow.created_at)):
            name = self._versions[row.name]
            if self._ours.get(VersionRow, name) is not None:
                continue
            values = {**_values(row), "name": name, "parent": self._version(row.parent)}
            self._ours.add(VersionRow(**{**values, "run_id": self._runs.get(row.run_id or 0)}))
            self._ours.flush()
            self.merged.versions += 1

    def _version(self, name: str | None) -> str | None:
        return None if name is None else self._versions.get(name, name)

    # ---- fields and what was found in them

    def take_fields(self) -> None:
        """Rows and images, by digest."""
        here = {row.digest: row for row in self._ours.scalars(select(FieldRow))}
        gone = set(self._ours.scalars(select(TombstoneRow.digest)))
        for row in self._theirs.scalars(select(FieldRow).order_by(FieldRow.id)):
            known = here.get(row.digest)
            if known is not None:
                self._compare(known, row)
            else:
                known = self._take_field(row)
                if row.digest in gone:
                    self.merged.notes.append(f"{row.name} was deleted here, and is back.")
            self._fields[row.id] = known

    def _take_field(self, row: FieldRow) -> FieldRow:
        files, name = self._store.image_files, image_name(row.digest)
        new = FieldRow(**{key: value for key, value in _values(row).items() if key != "id"})
        self._ours.add(new)
        self._ours.flush()
        if files.size(name) is None:
            self._placed.append(lambda: files.remove(name))
        files.take_in(image_path(self._other, row.digest), name)
        self.merged.fields += 1
        return new

    def _compare(self, known: FieldRow, row: FieldRow) -> None:
        """A field that both have: what is not known here is taken over, what differs is said."""
        if known.um_per_px is None and row.um_per_px is not None:
            known.um_per_px, known.scale_source = row.um_per_px, row.scale_source
        known.case, known.look = known.case or row.case, known.look if known.look is not None else row.look
        if row.um_per_px not in (None, known.um_per_px):
            self._keeps(known, row)
        if row.case not in ("", known.case):
            self.merged.notes.append(f"{known.name} stays in the case {known.case}; the archive has {row.case}.")
        self._ours.flush()

    def _keeps(self, known: FieldRow, row: FieldRow) -> None:
        kept = f"{known.name} keeps {known.um_per_px:g} µm/px"
        self.merged.notes.append(f"{kept}; the archive has {row.um_per_px:g}.")

    def take_predictions(self) -> None:
        """Predictions with their proposals, once per field, version and µm/px."""
        for row in self._theirs.scalars(select(PredictionRow).order_by(PredictionRow.id)):
            field_id, version = self._fields[row.field_id].id, str(self._version(row.version))
            found = _proposals(self._theirs, row.id)
            known = self._ours.scalar(
                select(PredictionRow).where(
                    PredictionRow.field_id == field_id,
                    PredictionRow.version == version,
                    PredictionRow.um_per_px == row.um_per_px,
                )
            )
            if known is None:
                new = PredictionRow(**{**_values(row, "id"), "field_id": field_id, "version": version})
                self._ours.add(new)
                self._ours.flush()
                if found:
                    self._ours.execute(insert(ProposalRow), [{**one, "prediction_id": new.id} for one in found])
                self._predictions[row.id] = f"p{new.id}"
                self.merged.predictions += 1
            elif _proposals(self._ours, known.id) == found:
                self._predictions[row.id] = f"p{known.id}"
            else:  # the ids of its proposals mean other places here
                self._predictions[row.id] = f"q{row.id}_{row.created_at:%Y%m%d%H%M%S%f}"

    # ---- reviews

    def take_events(self) -> None:
        """The events of each review, after those that are here, by the rule of `db.replay`."""
        there = self._theirs.execute(select(EventRow.field_id, EventRow.reader).distinct().order_by(EventRow.field_id))
        for field_id, reader in there.all():
            self._take_review(field_id, reader)

    def _take_review(self, field_id: int, reader: str) -> None:
        target, theirs = self._fields[field_id], events_of(self._theirs, field_id, reader)
        already = select(EventRow.op_id, EventRow.id).where(EventRow.field_id == target.id, EventRow.reader == reader)
        known = {op_id: number for op_id, number in self._ours.execute(already)}
        for event in theirs:
            _check(event, target)
            if event.op_id in known:
                self._events[event.id] = known[event.op_id]
        new = [event for event in theirs if event.op_id not in known]
        elsewhere = self._ours.scalar(select(EventRow.id).where(EventRow.op_id.in_([e.op_id for e in new])).limit(1))
        if elsewhere is not None:
            raise BackupDamaged("A change in the archive belongs to another review here.")
        numbers = reserve_event_ids(self._ours, len(new))
        self._events |= {event.id: number for event, number in zip(new, numbers, strict=True)}
        order = [event.id for event in theirs]
        if new and known and any(op_id not in {e.op_id for e in theirs} for op_id in known):
            self.merged.notes.append(
                f"{reader} has reviewed {target.name} here and there: where both changed the same, this installation's "
                "change stands."
            )
        write_events(self._ours, target.id, reader, [self._here(event, order) for event in new])
        self.merged.events += len(new)

    def _here(self, event: Event, order: list[int]) -> Event:
        """An event with the ids that its base, mark and version have here."""
        before = order[: bisect_right(order, event.base)]
        base = max((self._events[one] for one in before), default=0)
        found = _PROPOSAL.fullmatch(event.target)
        target = event.target
        if found and int(found[1]) in self._predictions:
            target = f"{self._predictions[int(found[1])]}-{found[2]}"
        number = self._events[event.id]
        return replace(event, id=number, base=base, target=target, version=self._version(event.version))

    # ---- training

    def take_runs(self) -> None:
        """Runs as history; one that had not ended there has no process here."""
        known = {(row.created_at, row.by, row.base_version): row.id for row in self._ours.scalars(select(RunRow))}
        for row in self._theirs.scalars(select(RunRow).order_by(RunRow.id)):
            base = str(self._version(row.base_version))
            if (row.created_at, row.by, base) in known:
                self._runs[row.id] = known[row.created_at, row.by, base]
                continue
            ids = {key: one.id for key, one in self._fields.items()}
            split = {side: [ids[key] for key in members if key in ids] for side, members in row.split.items()}
            last = max((here for there, here in self._events.items() if there <= row.last_event), default=0)
            ended = row.state not in ("queued", "running")
            new = RunRow(
                **{
                    **_values(row, "id"),
                    "base_version": base,
                    "version": self._version(row.version),
                    "split": split,
                    "last_event": last,
                    "state": row.state if ended else "lost",
                }
            )
            self._ours.add(new)
            self._ours.flush()
            self._runs[row.id] = new.id
            self.merged.runs += 1

    def take_decisions(self) -> None:
        """Decisions as history: the active version stays, but in an installation that held nothing."""
        rows = self._ours.scalars(select(DecisionRow).order_by(DecisionRow.id)).all()
        known, active = {_said(row) for row in rows}, active_version(rows, DEFAULT_VERSION)
        new = []
        for row in self._theirs.scalars(select(DecisionRow).order_by(DecisionRow.id)):
            here = DecisionRow(**{**_values(row, "id"), "version": self._version(row.version)})
            if _said(here) not in known:
                new.append(here)
        self._ours.add_all(new)
        self._ours.flush()
        self.merged.decisions = len(new)
        now = active_version(self._ours.scalars(select(DecisionRow).order_by(DecisionRow.id)).all(), DEFAULT_VERSION)
        if now != active and not self._was_empty:
            again = {"kind": "promote", "version": active, "by": new[-1].by, "at": datetime.now(UTC)}
            self._ours.add(DecisionRow(**{**again, "note": "stays active after an archive was merged"}))
            self.merged.notes.append(f"The active version stays {active}; in the archive it is {now}.")

    def take_splits(self) -> None:
        """Which cases are held out; what was decided here stays."""
        for row in self._theirs.scalars(select(SplitRow)):
            known = self._ours.get(SplitRow, row.case)
            if known is None:
                self._ours.add(SplitRow(**_values(row)))
                self.merged.splits += 1
            elif known.held_out != row.held_out:
                side = "held out" if known.held_out else "used to train"
                self.merged.notes.append(
                    f"The case {row.case} stays {side}; versions of the archive were made with it on the other side."
                )

    def take_labels(self) -> None:
        """What versions are called and what is noted about them; a version that has a label here keeps it."""
        known = latest_labels(self._ours)
        names = {row.name for row in known.values()}
        for row in latest_labels(self._theirs).values():
            version = str(self._version(row.version))
            if version in known:
                continue
            name = "" if row.name in names else row.name
            if name != row.name:
                self.merged.notes.append(f"{version} is called {row.name} in the archive; another version is, here.")
            if name or row.note:
                self._ours.add(VersionLabelRow(**{**_values(row, "id"), "version": version, "name": name}))
                self.merged.labels += 1

    def take_assignments(self) -> None:
        """Who was asked to review which field."""
        known = {tuple(row) for row in self._ours.execute(select(AssignmentRow.field_id, AssignmentRow.reader))}
        for row in self._theirs.scalars(select(AssignmentRow)):
            field_id = self._fields[row.field_id].id
            if (field_id, row.reader) not in known:
                self._ours.add(AssignmentRow(**{**_values(row), "field_id": field_id}))
                self.merged.assignments += 1

    def take_tombstones(self) -> None:
        """Deletions as history, each with an id that no field has or will have."""
        known = {(row.digest, row.at, row.by) for row in self._ours.scalars(select(TombstoneRow))}
        for row in self._theirs.scalars(select(TombstoneRow).order_by(TombstoneRow.id)):
            if (row.digest, row.at, row.by) in known:
                continue
            (taken,) = database_of(self._ours).reserve_ids(self._ours.connection(), FieldRow.__tablename__, 1)
            self._ours.add(TombstoneRow(**{**_values(row, "id"), "field_id": taken}))
            self._ours.flush()
            self.merged.deletions += 1


_HOLDING: tuple[type[Base], ...] = (FieldRow, VersionRow, DecisionRow)


def _counted(number: int, noun: str) -> str:
    first, *rest = noun.split(" ", 1)
    return " ".join([count_noun(number, first), *rest])


def _values(row: Base, *without: str) -> dict[str, Any]:
    """Attribute -> value of a row."""
    return {one.key: getattr(row, one.key) for one in row.__mapper__.column_attrs if one.key not in without}


def _other_name(row: VersionRow) -> str:
    return f"{row.name[:72]}-{row.sha256[:6]}"


def _said(row: DecisionRow) -> tuple[object, ...]:
    return row.kind, row.version, row.by, row.at


def _proposals(session: Session, prediction_id: int) -> list[dict[str, Any]]:
    table = ProposalRow.__table__.c
    wanted = select(table.place, table.x, table.y, table.score, table.area_um2)
    rows = session.execute(wanted.where(table.prediction_id == prediction_id).order_by(table.place))
    return [dict(row) for row in rows.mappings()]


def _check(event: Event, target: FieldRow) -> None:
    """An archive is not believed: what no page could have sent is refused. Raises BackupDamaged."""
    placed = event.x is None or event.y is None or on_image(event.x, event.y, target.width_px, target.height_px)
    with suppress(BadOp):
        named = check_reader(event.reader) == event.reader
        if named and placed and _TARGET.fullmatch(event.target) and OP_ID.fullmatch(event.op_id):
            return
    raise BackupDamaged(f"A change to {target.name} in the archive is damaged.")
