"""Labels from files of other programs: first what would happen, then all of it in one transaction, or nothing.

The file is read once, without a lock, and the marks wait on the disk; so files of any length need little memory, and
others go on reviewing until the marks are stored.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path, PurePosixPath
from typing import Protocol, TextIO, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Store
from db.errors import FieldGone
from db.fields import StoredField, UnscaledField, list_fields, list_unscaled
from db.label_export import file_names, stem_of
from db.ops import MAX_COMMENT, check_reader
from db.replay import Event
from db.reviews import LOCKED, write_events
from db.schema import FieldRow, MarkRow, ReviewRow
from mitosis_core.errors import UnusableData
from mitosis_core.interchange.csv_rows import short
from mitosis_core.interchange.exchange import format_of
from mitosis_core.interchange.files import open_sources
from mitosis_core.interchange.marks import Mark, MarkedImage, outside, unique, where, with_labels, with_size
from mitosis_core.plurals import count_noun
from mitosis_core.types import Region
from mitosis_core.vocabulary import Verdict

_MARK = MarkRow.__table__.c
_SLACK_PX = 0.01  # beside what a format rounds: marks nearer than both are the same one

_MOST_SHOWN = 5  # images in one sentence
SWAPPED = "Most marks lie outside their images, and inside with x and y exchanged: are the two columns swapped?"


@dataclass(frozen=True)
class ImportSettings:
    """How a file is taken in. reader: whose labels these become. format_name: None: what the file looks like.

    classes: the file's class -> mitosis, lookalike, unsure or skip. swap_xy: x and y are exchanged in the file.
    of_reader: only marks that the file says this reader made; "": all. leave_out: marks outside their image are left
    out; else they refuse the whole file. finish: fields are finished by it, so that training learns from them.
    """

    reader: str
    format_name: str | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    swap_xy: bool = False
    of_reader: str = ""
    leave_out: bool = False
    finish: bool = False


@dataclass(frozen=True)
class ImageImport:
    """What becomes of one image of the file.

    field_id: None: no stored field is meant, `problem` says why. new, changed (another class than before), there
    (nothing to do), refused (outside the image): marks. problem: why its marks are not taken in, a sentence.
    """

    name: str
    field_id: int | None = None
    new: int = 0
    changed: int = 0
    there: int = 0
    refused: int = 0
    unplaced: int = 0
    finishes: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Import:
    """What becomes of a file. format: its title. skipped: marks left out, by class, as was asked for.

    swapped: most marks lie outside their images, and inside with x and y exchanged.
    """

    format: str
    images: tuple[ImageImport, ...]
    skipped: Mapping[str, int]
    swapped: bool

    def total(self, what: str) -> int:
        """Marks of one kind: new, changed, there, refused or unplaced (their image is no stored field, or locked)."""
        return sum(getattr(image, what) for image in self.images)

    @property
    def problems(self) -> list[str]:
        """Every sentence about what is not taken in."""
        return [image.problem for image in self.images if image.problem]


def preview_import(store: Store, path: Path, settings: ImportSettings) -> Import:
    """What `import_labels` would do now; nothing is written. Raises UnusableData, BadOp (the reader's name)."""
    reader = check_reader(settings.reader)
    with _read(store, path, settings) as found, store.reading() as session:
        return found.told([found.changes(session, one, reader).told for one in found.images()])


def import_labels(store: Store, path: Path, settings: ImportSettings) -> Import:
    """Store the labels of a file, in one transaction: all that `preview_import` says, or nothing.

    Done twice, the second time changes nothing. Fields that the reader has finished or excluded stay as they are.
    Raises UnusableData, also for marks outside their image unless they are to be left out; BadOp; StoreFailed.
    """
    reader = check_reader(settings.reader)
    with _read(store, path, settings) as found:
        if found.refused and not settings.leave_out:
            raise UnusableData(_refusal(found))
        with store.writing() as session:
            told = []
            for one in found.images():
                changes = found.changes(session, one, reader)
                if changes.events and one.field_id is not None:
                    write_events(session, one.field_id, reader, changes.events)
                told.append(changes.told)
            return found.told(told)


# ---- reading: the images of a file with the fields that they mean


@dataclass(frozen=True)
class _Placed:
    """An image of the file: its field, the marks on it, and what was found wrong."""

    name: str
    field_id: int | None
    marks: tuple[tuple[float, float, str, str], ...]  # x, y, verdict, comment
    refused: int
    problem: str
    area: Region | None = None  # what was reviewed, None for the whole image


@dataclass(frozen=True)
class _Changes:
    """The events that an image brings, and what is told of it."""

    events: Sequence[Event]
    told: ImageImport


@dataclass(frozen=True)
class _Change:
    """One mark of the file that the reader does not have like this.

    score: of the proposal it came from. comment: of the file for a new mark; what the reader wrote about a mark with
    another verdict, which stays.
    """

    kind: str
    mark: str
    x: float
    y: float
    verdict: Verdict
    version: str | None = None
    score: float | None = None
    comment: str | None = None


class _Found:
    """The images of a file, waiting on the disk."""

    def __init__(self, title: str, near_px: float, finish: bool, file: TextIO) -> None:
        self._title, self._near_px, self._finish, self._file = title, near_px, finish, file
        self._client = f"import-{secrets.token_hex(8)}"
        self._now = datetime.now(UTC)
        self.skipped: Counter[str] = Counter()
        self.refused, self.exchanged, self.marks = 0, 0, 0
        self.refusals: list[str] = []

    def keep(self, one: _Placed) -> None:
        """Put an image with the others."""
        area = one.area and one.area.edges
        self._file.write(json.dumps([one.name, one.field_id, one.marks, one.refused, one.problem, area]) + "\n")

    def images(self) -> Iterator[_Placed]:
        """All of them, in the order of the file."""
        self._file.seek(0)
        for line in self._file:
            name, field_id, marks, refused, problem, edges = json.loads(line)
            area = Region(*edges) if edges else None
            yield _Placed(name, field_id, tuple(map(tuple, marks)), refused, problem, area)

    def told(self, images: list[ImageImport]) -> Import:
        """What becomes of all of them."""
        return Import(self._title, tuple(images), dict(self.skipped), self.swapped)

    @property
    def swapped(self) -> bool:
        """Most marks lie outside their images, and most of those inside with x and y exchanged."""
        return 2 * self.refused > self.marks and 2 * self.exchanged > self.refused

    def changes(self, session: Session, one: _Placed, reader: str) -> _Changes:
        """What the labels of an image change in the review of this reader as it is now."""
        told = ImageImport(one.name, refused=one.refused, problem=one.problem)
        if one.field_id is None:
            return _Changes((), replace(told, unplaced=len(one.marks)))
        digest = session.scalar(select(FieldRow.digest).where(FieldRow.id == one.field_id))
        if digest is None:
            raise FieldGone(f"{one.name} was deleted meanwhile. Nothing was imported.")
        state, rev = _state(session, one.field_id, reader)
        changes = self._unlike(session, one, digest, reader)
        told = replace(told, field_id=one.field_id, there=len(one.marks) - len(changes))
        if state in LOCKED:
            return _Changes((), _locked(told, reader, state, len(changes)))
        blank = Event(0, "", self._now, reader, self._client, 0, 0.0, rev, "", "")
        events = [_event(blank, place, change) for place, change in enumerate(changes, 1)]
        if one.area and state == "unseen":
            events.append(replace(_own(blank, len(events) + 1, "area"), area=one.area))
        changed = sum(change.kind == "class" for change in changes)
        if self._finish:
            events.append(replace(_own(blank, len(events) + 1, "state"), state="complete"))
        new = len(changes) - changed
        return _Changes(events, replace(told, new=new, changed=changed, finishes=self._finish))

    def _unlike(self, session: Session, one: _Placed, digest: str, reader: str) -> list[_Change]:
        """What must change so that the reader has each mark of the file."""
        columns = (_MARK.id, _MARK.x, _MARK.y, _MARK.verdict, _MARK.deleted, _MARK.version, _MARK.score, _MARK.comment)
        rows = session.execute(select(*columns).where(_MARK.field_id == one.field_id, _MARK.reader == reader)).all()
        deleted = {row.id for row in rows if row.deleted}
        kept = [row for row in rows if not row.deleted]
        there, standing = {row.id for row in kept}, _Standing(self._near_px, kept)
        changes = []
        for x, y, label, comment in one.marks:
            verdict = cast(Verdict, label)  # labels of files are verdicts, see class_names.LABELS
            row = standing.take(x, y, verdict)
            if row is None:
                mark = _mark_id(digest, reader, x, y)
                if mark in there:  # imported before, and moved by the reader since
                    continue
                kind = "restore" if mark in deleted else "add"
                changes.append(_Change(kind, mark, x, y, verdict, comment=comment or None))
            elif row.verdict != verdict:
                changes.append(_Change("class", row.id, row.x, row.y, verdict, row.version, row.score, row.comment))
        return changes


def _own(blank: Event, seq: int, kind: str) -> Event:
    """One of the review itself, not of a mark."""
    return replace(blank, op_id=secrets.token_hex(16), seq=seq, kind=kind, target=f":{kind}")


def _event(blank: Event, seq: int, change: _Change) -> Event:
    return replace(
        blank,
        op_id=secrets.token_hex(16),
        seq=seq,
        kind=change.kind,
        target=change.mark,
        x=change.x,
        y=change.y,
        verdict=change.verdict,
        version=change.version,
        score=change.score,
        comment=change.comment,
    )


def _locked(told: ImageImport, reader: str, state: str, changes: int) -> ImageImport:
    """Of a field that the reader has finished or excluded: marks that are there already do no harm."""
    if not changes:
        return told
    done = "finished" if state == "complete" else "excluded"
    said = f"{told.name}: {reader} has {done} this field, so it stays as it is; reopen it on the Review page first."
    return replace(told, unplaced=changes, problem=" ".join([told.problem, said]).strip())


class _Row(Protocol):
    """A mark of the reader, as its row has it."""

    id: str
    x: float
    y: float
    verdict: str
    version: str | None
    score: float | None
    comment: str | None


class _Standing:
    """The standing marks of a reader, found by their place; each is given out once."""

    def __init__(self, near_px: float, rows: Sequence[_Row]) -> None:
        self._near, self._cells = near_px, dict[tuple[int, int], list[_Row]]()
        for row in rows:
            self._cells.setdefault(self._cell(row.x, row.y), []).append(row)

    def _cell(self, x: float, y: float) -> tuple[int, int]:
        side = max(self._near, 1.0)
        return int(x // side), int(y // side)

    def take(self, x: float, y: float, verdict: str) -> _Row | None:
        """The mark at this place, one of this verdict before others."""
        left, top = self._cell(x, y)
        around = [(left + i, top + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        near = [
            row
            for cell in around
            for row in self._cells.get(cell, ())
            if max(abs(row.x - x), abs(row.y - y)) <= self._near
        ]
        if not near:
            return None
        best = min(near, key=lambda row: (row.verdict != verdict, abs(row.x - x) + abs(row.y - y), row.id))
        self._cells[self._cell(best.x, best.y)].remove(best)
        return best


@contextmanager
def _read(store: Store, path: Path, settings: ImportSettings) -> Iterator[_Found]:
    """Read the whole file. Raises UnusableData."""
    chosen, fields = format_of(path, settings.format_name), _Fields(store)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file, open_sources(path, chosen.suffixes) as sources:
        found = _Found(chosen.title, chosen.keeps.position_px + _SLACK_PX, settings.finish, file)
        for image in unique(chosen.read(sources)):
            labelled = with_labels(image, settings.classes, found.skipped)
            if settings.of_reader:
                kept = tuple(mark for mark in labelled.marks if mark.reader == settings.of_reader)
                labelled = replace(labelled, marks=kept)
            found.keep(_place(labelled, fields, settings, found))
        yield found


def _refusal(found: _Found) -> str:
    said = [SWAPPED] if found.swapped else []
    said += found.refusals[:_MOST_SHOWN]
    if (more := len(found.refusals) - _MOST_SHOWN) > 0:
        said.append(f"And {count_noun(more, 'image')} more.")
    return " ".join([*said, "Nothing was imported."])


def _place(image: MarkedImage, fields: _Fields, settings: ImportSettings, found: _Found) -> _Placed:
    """An image with its field; marks outside it are taken out, and said."""
    if settings.swap_xy:
        image = replace(image, marks=tuple(_exchanged(mark) for mark in image.marks))
    marks = _once(image)
    found.marks += len(image.marks)
    try:
        stored = fields.meant(image)
        image = with_size(image, stored.width_px, stored.height_px)
    except UnusableData as error:
        return _Placed(image.name, None, marks, 0, str(error))
    area = _area(image, stored, settings.of_reader)
    wrong = outside(image)
    if not wrong:
        return _Placed(image.name, stored.id, marks, 0, "", area)
    exchanged = replace(image, marks=tuple(_exchanged(mark) for mark in wrong))
    found.refused += len(wrong)
    found.exchanged += len(wrong) - len(outside(exchanged))
    lie = "this mark lies" if len(wrong) == 1 else f"{len(wrong)} marks lie"
    said = f"{where(image, wrong)}: {lie} outside the image ({image.width_px} × {image.height_px} px)."
    found.refusals.append(said)
    taken_out = set(wrong)
    inside = replace(image, marks=tuple(mark for mark in image.marks if mark not in taken_out))
    return _Placed(image.name, stored.id, _once(inside), len(wrong), said, area)


def _area(image: MarkedImage, stored: StoredField, of_reader: str) -> Region | None:
    """What the reader of the file reviewed, or what all of its readers did where none is chosen; None for the whole
    image. Raises UnusableData where that is nothing."""
    chosen = [area for name, area in image.areas.items() if of_reader in ("", name)]
    if not chosen:
        return None
    area = reduce(Region.clipped, chosen, stored.extent)
    if not (area.width_px > 0 and area.height_px > 0):
        raise UnusableData(
            f"{short(image.name)}: its readers reviewed no part of it together; please choose one reader."
        )
    return None if area == stored.extent else area


def _exchanged(mark: Mark) -> Mark:
    return replace(mark, x_px=mark.y_px, y_px=mark.x_px)


def _once(image: MarkedImage) -> tuple[tuple[float, float, str, str], ...]:
    """Places, labels and comments; what stands twice in the file comes once.

    Raises UnusableData where the same place has two labels: nobody can tell which is meant.
    """
    seen: dict[tuple[float, float], Mark] = {}
    for mark in image.marks:
        first = seen.setdefault((mark.x_px, mark.y_px), mark)
        if first.label != mark.label:
            readers = sorted({first.reader, mark.reader} - {""})
            whose = f", by {' and '.join(map(short, readers))}; choose one reader" if len(readers) > 1 else ""
            raise UnusableData(
                f"{where(image, [first, mark])}: the same place is {first.label} and {mark.label}{whose}."
            )
    return tuple((mark.x_px, mark.y_px, mark.label, _comment(mark)) for mark in seen.values())


def _comment(mark: Mark) -> str:
    """What was written about a mark, as a review can hold it."""
    return "".join(sign if sign.isprintable() else " " for sign in mark.comment).strip()[:MAX_COMMENT]


class _Fields:
    """The stored fields, found by digest or by the name of their file."""

    def __init__(self, store: Store) -> None:
        known: list[StoredField | UnscaledField] = [*list_fields(store), *list_unscaled(store)]
        self._by_digest = {one.digest: one for one in known}
        self._by_name: dict[str, list[StoredField | UnscaledField]] = {}
        names = file_names(known)
        for one in known:
            path = PurePosixPath(one.name)
            for name in {_comparable(n) for n in (one.name, names[one.id], path.stem, stem_of(names[one.id]))}:
                self._by_name.setdefault(name, []).append(one)

    def meant(self, image: MarkedImage) -> StoredField:
        """The field that an image of a file is. Raises UnusableData."""
        shown = short(image.name)
        found = self._by_digest.get(image.digest) if image.digest else self._named(image)
        if found is None and image.digest:
            same = " One of this name is, but with other pixels." if self._candidates(image) else ""
            raise UnusableData(f"{shown}: no field with these pixels is stored here.{same}")
        if found is None:
            raise UnusableData(f"{shown}: no field of this name is stored here.")
        if isinstance(found, UnscaledField):
            raise UnusableData(f"{shown}: this field waits for its µm/px; give it first.")
        return found

    def _named(self, image: MarkedImage) -> StoredField | UnscaledField | None:
        found = self._candidates(image)
        if len(found) > 1:
            raise UnusableData(f"{short(image.name)}: {len(found)} stored fields are called so; rename them first.")
        return found[0] if found else None

    def _candidates(self, image: MarkedImage) -> list[StoredField | UnscaledField]:
        path = PurePosixPath(image.name.replace("\\", "/"))
        for name in (image.name, path.name, path.stem):
            if found := self._by_name.get(_comparable(name)):
                return found
        return []


def _comparable(name: str) -> str:
    """As names are compared: without case, each letter in its one spelling."""
    return unicodedata.normalize("NFC", name).casefold()


def _state(session: Session, field_id: int, reader: str) -> tuple[str, int]:
    wanted = select(ReviewRow.state, ReviewRow.rev).where(ReviewRow.field_id == field_id, ReviewRow.reader == reader)
    row = session.execute(wanted).first()
    return ("unseen", 0) if row is None else (row.state, row.rev)


def _mark_id(digest: str, reader: str, x: float, y: float) -> str:
    """The same for the same place: what was imported, deleted and imported again is one mark."""
    said = f"{digest}|{reader}|{x!r}|{y!r}"
    return f"i{hashlib.blake2b(said.encode(), digest_size=12).hexdigest()}"
