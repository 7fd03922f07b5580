"""What the Data page does, without Streamlit: how the data folder stands, and its sentences."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from db import audit
from db.backup import Copy, copies, copies_folder, days_kept
from db.engine import Store
from db.fields import tombstones
from mitosis_core.plurals import count_noun

OVERDUE = timedelta(days=2)  # a last copy older than this is worth a warning
DOWNLOAD_BYTES = 200_000_000  # larger copies are fetched from their folder: a browser's download passes through memory
MIME = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True)
class BackupStatus:
    """How the data folder stands. bytes: of all its files; free_bytes: on its disk; copies: the newest first."""

    folder: Path
    bytes: int
    free_bytes: int
    copies_folder: Path
    copies: tuple[Copy, ...]

    @property
    def last(self) -> datetime | None:
        """When the newest copy was made (UTC)."""
        return self.copies[0].at if self.copies else None


def backup_status(store: Store) -> BackupStatus:
    """Raises StoreFailed when the folder of the copies cannot be read."""
    size = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file())
    known = tuple(reversed(copies(store)))
    return BackupStatus(store.folder.resolve(), size, shutil.disk_usage(store.folder).free, copies_folder(store), known)


def backup_warning(status: BackupStatus, now: datetime | None = None) -> str:
    """Why the copies are not as they should be, in a sentence; empty when they are."""
    last, now = status.last, now or datetime.now(UTC)
    if last is None:
        return "There is no copy of this data folder yet."
    if now - last > OVERDUE:
        return f"The last copy is {age(now - last)} old. The reason is in the server's log."
    if not status.copies[0].whole:
        return "Images are missing or damaged in the last copy; “Check” names them. The last complete copy is kept."
    return ""


def schedule_sentence() -> str:
    """What happens by itself."""
    if not (days := days_kept()):
        return "No daily copy is made, because CONCENTRIC_BACKUP_DAYS is 0."
    return f"A copy is made every day; the last {days} are kept."


def age(span: timedelta) -> str:
    """In words, rounded down."""
    for unit, length in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        if number := span // length:
            return count_noun(number, unit)
    return "less than a minute"


def size(number: int) -> str:
    """Bytes as a reader reads them."""
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if number >= length:
            return f"{number / length:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"


def audit_file(store: Store, form: str) -> Callable[[], bytes]:
    """What makes the audit once somebody asks for it."""

    def make() -> bytes:
        data = io.BytesIO()
        with io.TextIOWrapper(data, encoding="utf-8", newline="") as text:
            audit.write(store, text, form)
            text.flush()
            return data.getvalue()

    return make


def deleted(store: Store) -> list[dict[str, object]]:
    """Fields that were deleted, the newest first."""
    return [
        {
            "when (UTC)": one.at.replace(tzinfo=None),
            "by": one.by,
            "field": one.name,
            "case": one.case,
            "marks": one.marks,
            "changes": one.events,
            "image sha256": one.digest[:12],
        }
        for one in reversed(tombstones(store))
    ]
