"""What can go wrong with the store, as the sentence a user reads."""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, OperationalError, TimeoutError

from mitosis_core.errors import ConcentricError


class StoreFailed(ConcentricError):
    """The store cannot be read or written now, or is not a store. Nothing half-done was kept."""


class StoreBusy(StoreFailed):
    """Somebody else has been writing for longer than we wait. Trying again is right."""


class StoreAway(StoreBusy):
    """The server of the database, or of the images, cannot be reached now. Trying again is right once it is back."""


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
AWAY = "The database server cannot be reached now. Nothing was saved; please try again when it is back."
NEWER = "The database was made by a newer Concentric; please update the program to open it."
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


# PostgreSQL's codes, whole or by their class (the first two characters).
_BY_STATE: dict[str, tuple[type[StoreFailed], str]] = {
    "40": (StoreBusy, BUSY),  # a deadlock, or what could not be put in an order
    "55P03": (StoreBusy, BUSY),  # a lock was waited for long enough
    "57014": (StoreBusy, BUSY),  # a statement was given up
    "53": (StoreBusy, BUSY),  # too many connections, no memory
    "53100": (StoreFull, FULL),
    "57": (StoreAway, AWAY),  # it is shut down, or starts
    "08": (StoreAway, AWAY),
    "25006": (StoreFailed, "The database can only be read: its server is perhaps a standby. Nothing was saved."),
    "42P01": (StoreFailed, CHANGED),
    "42703": (StoreFailed, CHANGED),
    "42501": (
        StoreFailed,
        "The user of the database may not do this; please let the database belong to the user that "
        "CONCENTRIC_DATABASE names.",
    ),
    "XX": (StoreFailed, "The database server says that the database is damaged; please ask its administrator."),
}
# What a server says to who is not let in, for which there is no code.
_NOT_LET_IN = {
    r"password authentication failed|no password supplied|role .* does not exist|authentication failed": (
        "The database server does not know this user or password; please correct CONCENTRIC_DATABASE."
    ),
    r"database .* does not exist": (
        "The server has no database of this name; please make it (createdb NAME), or correct CONCENTRIC_DATABASE."
    ),
    r"no pg_hba.conf entry": (
        "The database server lets nobody in from this computer with this user; please ask its administrator."
    ),
}


@contextmanager
def as_sentences() -> Iterator[None]:
    """Errors of the database and of the disk become StoreBusy, StoreFull, StoreFailed or BadValue; all others pass."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:  # a lone surrogate, a whole number beyond 64 bits
        raise BadValue(_BAD_VALUE) from error
    except TimeoutError as error:  # all connections of the pool are in use
        raise StoreBusy(BUSY) from error
    except DataError as error:
        raise BadValue(_BAD_VALUE) from error
    except (DBAPIError, sqlite3.Error) as error:
        known = _known(error)
        if known is None:
            raise
        raise known[0](known[1]) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(FULL) from error
        raise StoreFailed(f"The data folder could not be read or written ({error.strerror}).") from error


def _known(error: DBAPIError | sqlite3.Error) -> tuple[type[StoreFailed], str] | None:
    """What an error of a database means, if that is known."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        if str(cause).startswith("no such table"):  # emptied under the running program
            return StoreFailed, NO_DATABASE
        return _BY_CODE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)  # the low byte is the primary code
    state = getattr(cause, "sqlstate", None) or ""
    if found := _BY_STATE.get(state) or _BY_STATE.get(state[:2]):
        return found
    if isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        for form, says in _NOT_LET_IN.items():
            if re.search(form, str(cause)):
                return StoreFailed, says
        return StoreAway, AWAY
    return None
