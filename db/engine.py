"""The store: one folder with the database, the images, the backups and the key of the tokens."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from threading import Lock

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.disk import make_folders, restrict_access, write_durably
from db.errors import BUSY, CHANGED, MOVED, NO_DATABASE, StoreBusy, StoreFailed, as_sentences
from db.migrate import DATABASE, copy_to_backups, migrate, open_existing
from db.orphans import set_orphans_aside

BUSY_TIMEOUT_S = 3.0
_SECRET_BYTES = 32
# As bytes: damaged text need not be text any more.
_SCHEMA = "SELECT CAST(sql AS BLOB) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"


class Store:
    """Open it with `open_store`. Safe to use from many threads; other processes may have it open too."""

    def __init__(self, folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.folder = folder
        self.file = folder / DATABASE
        self.images = folder / "images"
        self.aside = folder / "set-aside"
        self.backups = folder / "backups"
        self.busy_timeout_s = busy_timeout_s
        self.engine = _engine(self.file, busy_timeout_s)
        event.listen(self.engine, "connect", self._remember_file)
        self._opened: tuple[int, int] | None = None
        self._schema: list[bytes] | None = None
        self._writer = self.engine.execution_options(writes=True)
        self._turn = Lock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the store and writes nothing. Raises StoreFailed."""
        with as_sentences(), Session(self.engine) as session:
            session.connection()
            self._check_file()
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session alone in writing: committed, and on disk, at its end; undone by an exception.

        Do not open another one inside. Raises StoreBusy after the busy timeout, StoreFull, StoreFailed.
        """
        # Threads wait here and wake at once; SQLite alone would have them sleep and look again.
        if not self._turn.acquire(timeout=self.busy_timeout_s):
            raise StoreBusy(BUSY)
        try:
            with as_sentences(), Session(self._writer, expire_on_commit=False) as session:
                connection = session.connection()  # take the lock now, not at the first statement
                self._check_file()
                self._check_schema(connection)
                yield session
                session.commit()
                self._check_file()  # what went into a file that nobody will find again is not acknowledged
                if not Path(f"{self.file}-wal").exists():
                    raise StoreFailed(MOVED)
        finally:
            self._turn.release()

    def secret(self) -> bytes:
        """32 random bytes, made once and kept in secret.key, so that tokens survive a restart."""
        return self._secret

    @cached_property
    def _secret(self) -> bytes:
        file = self.folder / "secret.key"
        with self.writing():  # another process may be starting too
            if not file.exists() or file.stat().st_size != _SECRET_BYTES:
                write_durably(file, secrets.token_bytes(_SECRET_BYTES))
            return file.read_bytes()

    def backup(self) -> Path:
        """A copy of the database in backups/, whole even while others write. Images are not copied."""
        with as_sentences():
            return copy_to_backups(self.file, self.backups)

    def close(self) -> None:
        """Give back all connections; the store is not used afterwards."""
        self.engine.dispose()

    def _remember_file(self, *_: object) -> None:
        if self._opened is None:
            self._opened = _identity(self.file)

    def _check_file(self) -> None:
        """SQLite goes on with a file that has lost its name. Raises StoreFailed."""
        if _identity(self.file) != self._opened:
            raise StoreFailed(MOVED)

    def _check_schema(self, connection: Connection) -> None:
        """SQLite goes on with a schema that it has read once. Raises StoreFailed, and SQLite's errors."""
        found = list(connection.exec_driver_sql(_SCHEMA).scalars())
        if self._schema is None:
            self._schema = found
        if found != self._schema:
            raise StoreFailed(CHANGED if found else NO_DATABASE)


def data_folder() -> Path:
    """CONCENTRIC_DATA, or else data/ beside app.py."""
    return Path(os.environ.get("CONCENTRIC_DATA") or Path(__file__).parents[1] / "data")


def open_store(folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Store:
    """Make what is missing, bring the database to the newest version (a backup first), set aside what a crash left.

    Nothing is deleted. Raises StoreFailed: no database, none beside images, one of a newer Concentric, a folder that
    cannot be written.
    """
    store = Store(folder, busy_timeout_s)
    make_folders(folder, store.images, store.backups)
    with as_sentences():
        migrate(store.file, store.backups, busy_timeout_s)
        restrict_access(own_files(store))
    with suppress(StoreBusy):  # the next start does it
        set_orphans_aside(store)
    return store


def open_known(folder: Path) -> Store:
    """A store that is there already, for the command line. Raises StoreFailed where there is none."""
    if not (folder / DATABASE).is_file():
        raise StoreFailed(f"There is no database in {folder}.")
    return open_store(folder)


def own_files(store: Store) -> Iterator[Path]:
    """The folder, the database and its log, and every image, copy and file of a version."""
    yield from (store.folder, *store.folder.glob(f"{DATABASE}*"), *store.folder.glob("secret.key"))
    others = (store.folder / name for name in ("versions", "thumbnails", "tissues"))
    for folder in (store.images, store.backups, store.aside, *others):
        if folder.is_dir():
            yield folder
            yield from (file for file in folder.iterdir() if file.is_file())


def _engine(file: Path, busy_timeout_s: float) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: the driver begins no transactions of its own; _begin does, as the engine's option says.
        return open_existing(file, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)

    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        creator=connect,
        pool_size=8,
        max_overflow=40,
        pool_timeout=busy_timeout_s,
    )
    event.listen(engine, "connect", _pragmas)
    event.listen(engine, "begin", _begin)
    return engine


def _pragmas(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("writes"):
        connection.exec_driver_sql("BEGIN")
        return
    # From an empty cache: a header or page that was overwritten in the file is noticed before anything is stored.
    # Never open the file here by other means: closing it would cancel the locks that SQLite holds on it.
    connection.exec_driver_sql("PRAGMA shrink_memory")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file lies at this place; None when there is none."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
