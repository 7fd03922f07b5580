"""What can go wrong with the store, as the sentence a user reads."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, TimeoutError

from mitosis_core.errors import ConcentricError


class StoreFailed(ConcentricError):
    """The store cannot be read or written now, or is not a store. Nothing half-done was kept."""


class StoreBusy(StoreFailed):
    """Somebody else has been writing for longer than we wait. Trying again is right."""


class StoreFull(StoreFailed):
    """No room on the disk. Trying again is right once there is."""


class ImageDamaged(StoreFailed):
    """The stored image of a field is missing, or is not the one that was kept."""


class BadValue(ConcentricError):
    """A text or number that no database can hold. Nothing was stored."""


class BackupDamaged(ConcentricError):
    """An archive that is no backup of a store, or not whole."""


class FieldGone(ConcentricError):
    """The field was deleted, or never was."""


class RunGone(ConcentricError):
    """There is no such run."""


class VersionGone(ConcentricError):
    """There is no such version in the store."""


BUSY = "The database is busy; please try again in a moment. Nothing was saved."
FULL = "The disk is full, so nothing was saved; please free some space and try again."
NO_DATABASE = (
    "The database file concentric.sqlite is damaged or is not a database; please put a backup in its place. "
    "python -m db doctor says what is wrong, python -m db restore makes a folder from a backup."
)
MOVED = (
    "The database file was moved, deleted or replaced while the program was running. Nothing was saved; please stop "
    "the program, put the file back (python -m db restore makes a folder from a backup) and start it again."
)
CHANGED = (
    "The tables of the database were changed or damaged while the program was running. Nothing was saved; please stop "
    "the program and put a backup in the place of the database, unless a newer Concentric has changed it "
    "(python -m db doctor says what is wrong)."
)
_BAD_VALUE = "A text contains characters, or a number is too large, to be stored. Nothing was saved."
_UNREADABLE = "The database could not be read or written, perhaps because of the disk or of access rights."

_BY_CODE: dict[int, tuple[type[StoreFailed], str]] = {
    sqlite3.SQLITE_BUSY: (StoreBusy, BUSY),
    sqlite3.SQLITE_LOCKED: (StoreBusy, BUSY),
    sqlite3.SQLITE_FULL: (StoreFull, FULL),
    sqlite3.SQLITE_NOTADB: (StoreFailed, NO_DATABASE),
    sqlite3.SQLITE_CORRUPT: (StoreFailed, NO_DATABASE),
    sqlite3.SQLITE_IOERR: (StoreFailed, _UNREADABLE),
    sqlite3.SQLITE_READONLY: (StoreFailed, _UNREADABLE),
    sqlite3.SQLITE_CANTOPEN: (StoreFailed, _UNREADABLE),
    sqlite3.SQLITE_PERM: (StoreFailed, _UNREADABLE),
    sqlite3.SQLITE_AUTH: (StoreFailed, _UNREADABLE),
}


@contextmanager
def as_sentences() -> Iterator[None]:
    """Errors of SQLite and of the disk become StoreBusy, StoreFull, StoreFailed or BadValue; all others pass."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:  # a lone surrogate, a whole number beyond 64 bits
        raise BadValue(_BAD_VALUE) from error
    except TimeoutError as error:  # all connections of the pool are in use
        raise StoreBusy(BUSY) from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        known = _BY_CODE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)  # the low byte is the primary code
        if known is None and str(cause).startswith("no such table"):  # emptied under the running program
            known = (StoreFailed, NO_DATABASE)
        if known is None:
            raise
        raise known[0](known[1]) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(FULL) from error
        raise StoreFailed(f"The data folder could not be read or written ({error.strerror}).") from error
