"""The store: one folder with the database, the images, the backups and the key of the tokens."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from threading import Lock

from sqlalchemy import URL, Connection, Engine, create_engine, event, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.disk import make_folders, write_durably
from db.errors import BUSY, StoreBusy, as_sentences
from db.migrate import copy_to_backups, migrate
from db.schema import FieldRow

BUSY_TIMEOUT_S = 3.0
_STALE_PART_S = 3600
_SECRET_BYTES = 32


class Store:
    """Open it with `open_store`. Safe to use from many threads; other processes may have it open too."""

    def __init__(self, folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self.folder = folder
        self.file = folder / "concentric.sqlite"
        self.images = folder / "images"
        self.backups = folder / "backups"
        self.busy_timeout_s = busy_timeout_s
        self.engine = _engine(self.file, busy_timeout_s)
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        self._turn = Lock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the store and writes nothing. Raises StoreFailed."""
        with as_sentences(), Session(self.engine) as session:
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
                session.connection()  # take the lock now, not at the first statement
                yield session
                session.commit()
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
                write_durably(file, secrets.token_bytes(_SECRET_BYTES), mode=0o600)
            return file.read_bytes()

    def backup(self) -> Path:
        """A copy of the database in backups/, whole even while others write. Images are not copied."""
        with as_sentences():
            return copy_to_backups(self.file, self.backups)

    def close(self) -> None:
        """Give back all connections; the store is not used afterwards."""
        self.engine.dispose()


def open_store(folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Store:
    """Make what is missing, bring the database to the newest version (a backup first), sweep what a crash left.

    Raises StoreFailed: no database, one of a newer Concentric, a folder that cannot be written.
    """
    store = Store(folder, busy_timeout_s)
    make_folders(folder, store.images, store.backups)
    with as_sentences():
        migrate(store.file, store.backups, busy_timeout_s)
    with suppress(StoreBusy):  # the next start sweeps
        sweep(store)
    return store


def sweep(store: Store) -> None:
    """Remove image files without a row, and parts of files that were never finished."""
    # An image is put in its place and its row committed under the same lock, so nothing half-added is seen here.
    with store.writing() as session:
        kept = {f"{digest}.png" for digest in session.scalars(select(FieldRow.digest))}
        now = time.time()
        for file in store.images.iterdir():
            if file.suffix == ".part":
                orphan = now - file.stat().st_mtime > _STALE_PART_S  # a fresh one may be being written
            else:
                orphan = file.suffix == ".png" and file.name not in kept
            if orphan:
                file.unlink(missing_ok=True)


def _engine(file: Path, busy_timeout_s: float) -> Engine:
    # isolation_level None: the driver begins no transactions of its own; _begin does, as the engine's option says.
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"isolation_level": None, "timeout": busy_timeout_s},
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
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))
