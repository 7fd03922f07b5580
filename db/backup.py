"""The copies of a store that it makes itself: one a day, so many kept, in backups/ or CONCENTRIC_BACKUPS."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread

from sqlalchemy import select

from db.archive import Manifest, Progress, no_progress, read_manifest, verify, write_archive
from db.disk import make_folders
from db.engine import Store
from db.errors import BackupDamaged, StoreBusy, as_sentences
from db.images import is_whole
from db.schema import FieldRow, VersionRow

log = logging.getLogger("concentric")

DAYS_KEPT = 7
EVERY = timedelta(days=1)
_LOOK_EVERY_S = 3600.0
_TIME = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True)
class Copy:
    """One archive of the store. at: UTC. whole: False when images were missing or damaged as it was made."""

    path: Path
    at: datetime
    bytes: int
    whole: bool


def copies_folder(store: Store) -> Path:
    """CONCENTRIC_BACKUPS, or else backups/ in the data folder."""
    return Path(os.environ.get("CONCENTRIC_BACKUPS") or store.backups)


def days_kept() -> int:
    """Of how many days a copy is kept: CONCENTRIC_BACKUP_DAYS, 7 when it is not a number from 0 on.

    0: no copy is made unless somebody asks for it, and none is removed."""
    given = os.environ.get("CONCENTRIC_BACKUP_DAYS", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 6 else DAYS_KEPT


def copies(store: Store) -> list[Copy]:
    """The archives of this store in its folder of copies, the oldest first."""
    form = re.compile(rf"concentric-backup-{_mark(store)}-(\d{{8}}T\d{{12}}Z)(-not-whole)?\.zip")
    found = []
    with as_sentences():
        for file in copies_folder(store).glob("concentric-backup-*.zip"):
            if named := form.fullmatch(file.name):
                at = datetime.strptime(named[1], _TIME).replace(tzinfo=UTC)
                found.append(Copy(file, at, file.stat().st_size, whole=not named[2]))
    return sorted(found, key=lambda one: one.at)


def last_copy(store: Store) -> datetime | None:
    """When the newest copy was made (UTC); None when there is none."""
    known = copies(store)
    return known[-1].at if known else None


def make_copy(store: Store, progress: Progress = no_progress) -> Copy:
    """Copy the store now and read the copy back; only then remove the oldest beyond the days that are kept.

    The newest whole copy always stays. Raises StoreBusy while another process makes one, StoreFull, StoreFailed,
    BackupDamaged; then the older ones stay too.
    """
    folder = copies_folder(store)
    make_folders(folder)
    with as_sentences(), _alone(store):
        for part in folder.glob(f"concentric-backup-{_mark(store)}-*.part"):
            part.unlink(missing_ok=True)  # of a process that is gone: only one at a time holds the lock
        place = folder / f"concentric-backup-{_mark(store)}-{datetime.now(UTC):{_TIME}}.zip"
        before = [one for one in copies(store) if one.whole]
        manifest = write_archive(store, place, progress)
        _, problems = verify(place)
        if problems:
            place.unlink()
            raise BackupDamaged(f"The copy could not be read back: {problems[0]} The older copies were kept.")
        if manifest.missing or _damaged(store, manifest, before):
            place.rename(place.with_name(f"{place.stem}-not-whole.zip"))
        _remove_oldest(store)
        return copies(store)[-1]


def _damaged(store: Store, manifest: Manifest, whole: Sequence[Copy]) -> list[str]:
    """Images of a new copy that are not what they should be. Only those are opened that the last whole copy has not."""
    known = read_manifest(whole[-1].path).files if whole else {}
    fresh = [name for name, entry in manifest.files.items() if name.startswith("images/") and known.get(name) != entry]
    return [name for name in fresh if not is_whole(store, Path(name).stem)]


def _remove_oldest(store: Store) -> None:
    """All of the newest day stay up to the number of days; of earlier days the last copy of each, whole before not."""
    known, kept = copies(store), days_kept() or sys.maxsize
    if not known:
        return
    newest = [one.path for one in known if one.at.date() == known[-1].at.date()]
    of_day = {one.at.date(): one.path for one in sorted(known, key=lambda one: (one.whole, one.at))}
    last_whole = [one.path for one in known if one.whole][-1:]
    stay = {*newest[-kept:], *[of_day[day] for day in sorted(of_day)[-kept:]], *last_whole}
    for old in known:
        if old.path not in stay:
            old.path.unlink(missing_ok=True)


def copy_if_due(store: Store) -> Copy | None:
    """Make today's copy, unless there is one, or nothing to lose, or another process is at it."""
    last = last_copy(store)
    fresh = last is not None and timedelta(0) <= datetime.now(UTC) - last < EVERY  # one from the future is not
    if days_kept() == 0 or fresh or _is_empty(store):
        return None
    try:
        return make_copy(store)
    except StoreBusy:
        return None


def keep_copies(store: Store, look_every_s: float = _LOOK_EVERY_S) -> Event:
    """Look now and every hour, in a thread of its own, whether a copy is due. Setting the event ends it."""
    stop = Event()

    def work() -> None:
        while not stop.is_set():
            try:
                if made := copy_if_due(store):
                    level = logging.INFO if made.whole else logging.WARNING
                    log.log(
                        level, "daily copy of the data folder, %swhole: %s", "" if made.whole else "not ", made.path
                    )
            except Exception:  # the next hour tries again, and the page shows how old the last copy is
                log.exception("the daily copy of the data folder failed")
            stop.wait(look_every_s)

    if days_kept():
        Thread(target=work, name="daily copy", daemon=True).start()
    return stop


def _is_empty(store: Store) -> bool:
    with store.reading() as session:
        return all(session.scalar(select(column).limit(1)) is None for column in (FieldRow.id, VersionRow.name))


def _mark(store: Store) -> str:
    """Tells the copies of two stores apart that share a folder of copies."""
    where = store.database.place if store.url else str(store.folder.resolve())  # servers may call one folder two names
    return hashlib.sha256(where.encode()).hexdigest()[:8]


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One process of all servers at a time."""
    with store.lock("copy") as take:
        if not take():
            raise StoreBusy("A copy is being made already; please wait until it is done.")
        yield
