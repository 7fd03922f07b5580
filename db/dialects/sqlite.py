"""A store in a SQLite file of its folder: one writer at a time, and a file that may be moved or damaged under us."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from db.dialects.base import NUMBERED, Database, guard_fault
from db.disk import create, write_durably
from db.errors import BUSY, CHANGED, MOVED, NO_DATABASE, StoreBusy, StoreFailed
from db.file_lock import file_lock
from db.migrate import refuse_beside_images, upgrade, version_fault
from db.schema import Base
from mitosis_core.plurals import count_noun

DATABASE = "concentric.sqlite"
WITHOUT_LOG = "PRAGMA journal_mode = DELETE"  # no second file beside it
_SECRET_BYTES = 32
_FOREIGN = "The file concentric.sqlite is not a database of Concentric; please use another folder."
# As bytes: damaged text need not be text any more.
_SCHEMA = "SELECT CAST(sql AS BLOB) FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
TRIGGERS = {
    *(
        f"{table}_{what}"
        for table in ("event", "decision", "tombstone", "version_label")
        for what in ("update", "replace", "delete")
    ),
    "field_delete",
}


class SqliteDatabase(Database):
    """A file, concentric.sqlite in a data folder, in WAL mode, durable at each commit."""

    kind = "SQLite"

    def __init__(self, file: Path, busy_timeout_s: float) -> None:
        self.folder, self.file, self.busy_timeout_s = file.parent, file, busy_timeout_s
        self.place = str(self.file)
        self.engine = _engine(self.file, busy_timeout_s)
        event.listen(self.engine, "connect", self._remember_file)
        self._opened: tuple[int, int] | None = None
        self._schema: list[bytes] | None = None
        self._writer = self.engine.execution_options(writes=True)
        self._turn = Lock()

    def is_there(self) -> bool:
        """Whether the file is there and not empty."""
        return self.file.is_file() and self.file.stat().st_size > 0

    def migrate(self, to: str = "head", *, beside_images: bool = False) -> None:
        """A new database is made only where no images lie: beside images a missing or empty one was lost, and a new
        one would hide that. It is closed to other users from its first byte on."""

        def before_a_new_one() -> None:
            if not beside_images:
                refuse_beside_images(self.folder, f"the database {DATABASE}")

        if not self.is_there():
            before_a_new_one()  # before SQLite opens it, which would delete the log beside it
            with suppress(FileExistsError):
                create(self.file).close()
        # foreign_keys stays off here: a step that rebuilds a table would delete what refers to it.
        url = URL.create("sqlite", database=str(self.file))
        own_begin = {"isolation_level": None, "timeout": self.busy_timeout_s}
        engine = create_engine(url, poolclass=NullPool, connect_args=own_begin)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with engine.begin() as connection:
            changed = upgrade(
                connection,
                to,
                foreign=_FOREIGN,
                before_a_new_one=before_a_new_one,
                before_a_step=lambda: self.keep_copy(self.folder / "backups"),
            )
            if changed and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise StoreFailed("The database has rows that refer to rows that do not exist, so it was not changed.")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """As of one moment."""
        with Session(self.engine, info={"database": self}) as session:
            session.connection()
            self._check_file()
            yield session

    @contextmanager
    def writing(self, only: str | None) -> Iterator[Session]:
        """SQLite has one writer, whatever it writes."""
        # Threads wait here and wake at once; SQLite alone would have them sleep and look again.
        if not self._turn.acquire(timeout=self.busy_timeout_s):
            raise StoreBusy(BUSY)
        try:
            with Session(self._writer, expire_on_commit=False, info={"database": self}) as session:
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

    def lock(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """A lock on a file of the folder runs."""
        folder = self.folder / "runs"
        folder.mkdir(exist_ok=True)
        return file_lock(folder / f"{name}.lock")

    def secret(self) -> bytes:
        """Kept in secret.key."""
        file = self.folder / "secret.key"
        with self.writing(None):  # another process may be starting too
            if not file.exists() or file.stat().st_size != _SECRET_BYTES:
                write_durably(file, secrets.token_bytes(_SECRET_BYTES))
            return file.read_bytes()

    def copy_to(self, place: Path) -> str:
        """By SQLite's backup API."""
        create(place).close()
        with closing(open_existing(self.file)) as source, closing(sqlite3.connect(place)) as copy:
            source.backup(copy)
            copy.execute(WITHOUT_LOG)
            return str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    def keep_copy(self, backups: Path) -> Path:
        """Version and UTC time are in its name."""
        part = backups / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.part"
        revision = self.copy_to(part)
        place = backups / f"concentric-{revision}-{part.stem}Z.sqlite"
        os.replace(part, place)
        return place

    @contextmanager
    def held(self) -> Iterator[Connection]:
        """With the lock of the one writer."""
        with self._writer.begin() as connection:
            yield connection

    def others(self) -> int:
        """SQLite does not tell."""
        return 0

    def retire(self) -> Path:
        """A copy in the backups; a program that has the file open notices that it is gone."""
        kept = self.keep_copy(self.folder / "backups")
        self.remove()
        return kept

    def remove(self) -> None:
        """The file and what lies beside it."""
        for end in ("", "-wal", "-shm"):
            Path(f"{self.file}{end}").unlink(missing_ok=True)

    def faults(self) -> Iterator[str]:
        """Integrity, version, triggers and references."""
        try:
            with closing(open_existing(self.file)) as database:
                said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(5)")]
                if said != ["ok"]:
                    yield f"{NO_DATABASE} SQLite says: {'; '.join(said)}"
                    return
                yield from _wrong_tables(database)
        except sqlite3.DatabaseError as error:
            yield f"{NO_DATABASE} SQLite says: {error}."

    def reserve_ids(self, connection: Connection, table: str, number: int) -> Sequence[int]:
        """SQLite keeps the last id of a table that has AUTOINCREMENT."""
        last = self.last_ids(connection)[table]
        self.set_last_ids(connection, {table: last + number})
        return range(last + 1, last + number + 1)

    def upsert(self, table: type[Base]) -> Any:
        """SQLite's own INSERT."""
        return insert(table)

    def last_ids(self, connection: Connection) -> dict[str, int]:
        """0 for a table that never had a row."""
        known = {name: seq for name, seq in connection.execute(text("SELECT name, seq FROM sqlite_sequence"))}
        return {table: known.get(table, 0) for table in NUMBERED}

    def set_last_ids(self, connection: Connection, ids: Mapping[str, int]) -> None:
        """There is no row for a table that never had one."""
        for name, seq in ids.items():
            values = {"name": name, "seq": seq}
            done = connection.execute(text("UPDATE sqlite_sequence SET seq = :seq WHERE name = :name"), values)
            if done.rowcount == 0:
                connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values)

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


def open_existing(file: Path, **options: Any) -> sqlite3.Connection:
    """A connection to a database that is there: none is made where it was deleted. Raises SQLite's errors."""
    database: sqlite3.Connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, **options)
    return database


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


def _wrong_tables(database: sqlite3.Connection) -> Iterator[str]:
    names = {name: kind for kind, name in database.execute("SELECT type, name FROM sqlite_master")}
    rows = database.execute("SELECT version_num FROM alembic_version").fetchall() if "alembic_version" in names else []
    if not rows:
        yield "The database is not one of Concentric; please use another folder."
    elif said := version_fault(rows[0][0]):
        yield said
    elif missing := sorted(TRIGGERS - names.keys()):
        yield guard_fault(missing)
    broken = database.execute("PRAGMA foreign_key_check").fetchall()
    if broken:
        where = ", ".join(sorted({str(row[0]) for row in broken}))
        yield f"{count_noun(len(broken), 'row')} refer to rows that do not exist (in {where})."
