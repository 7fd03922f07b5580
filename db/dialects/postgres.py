"""A store on a PostgreSQL server: many servers of the program, and writers that only wait for who writes the same.

Locks are advisory ones of the database. Whoever changes many things takes the lock of the store alone; whoever changes
one review, or one row of a queue, shares it and takes the lock of that.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Table, create_engine, func, inspect, make_url, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from db.dialects.base import NUMBERED, Database, guard_fault
from db.dialects.sqlite import WITHOUT_LOG, SqliteDatabase, open_existing
from db.disk import create
from db.errors import CHANGED, StoreAway, StoreFailed, as_sentences
from db.migrate import newest_version, refuse_beside_images, upgrade, version_fault
from db.schema import Base, SecretRow
from db.table_copy import copy_rows
from mitosis_core.plurals import count_noun

log = logging.getLogger("concentric")

URL_FORM = "postgresql://USER@HOST/NAME"
TRIGGERS = {
    *(
        f"{table}_{what}"
        for table in ("event", "decision", "tombstone", "version_label")
        for what in ("update", "delete", "truncate")
    ),
    "field_delete",
}
_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")
_POOL, _OVERFLOW = 5, 15  # a server of PostgreSQL lets 100 in, if nobody says otherwise
_MIGRATION_S = 60.0  # that a server waits for another one that migrates
_DUMP_S = 3600.0
_SECRET_BYTES = 32
_ALL = "all of the store"
_VERSION = text("SELECT version_num FROM alembic_version")


class PostgresDatabase(Database):
    """A database of a PostgreSQL server. The folder holds the images."""

    kind = "PostgreSQL"

    def __init__(self, folder: Path, url: str, busy_timeout_s: float) -> None:
        self.folder, self.busy_timeout_s = folder, busy_timeout_s
        self.url = parse_url(url)
        self.place = self.url.set(password=None, query={}).render_as_string().replace("+psycopg", "")
        self.engine = create_engine(
            self.url,
            connect_args=_connect_args(busy_timeout_s),
            pool_size=_POOL,
            max_overflow=_OVERFLOW,
            pool_timeout=busy_timeout_s,
            pool_pre_ping=True,
        )
        self._alone = create_engine(
            self.url, connect_args=_connect_args(busy_timeout_s), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        snapshot = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(**snapshot)
        self._version = newest_version()  # read once: every write compares it

    def is_there(self) -> bool:
        """Whether there are tables of ours."""
        with as_sentences(), self.engine.connect() as connection:
            return bool(inspect(connection).has_table("alembic_version"))

    def migrate(self, to: str = "head", *, beside_images: bool = False) -> None:
        """Servers that start at once wait for the first of them, and those that write until it is done."""

        def before_a_new_one() -> None:
            if not beside_images:
                refuse_beside_images(self.folder, f"the database {self.place}")

        with self.engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = {round(1000 * _MIGRATION_S)}"))
            _take(connection, _ALL)
            upgrade(
                connection,
                to,
                before_a_new_one=before_a_new_one,
                before_a_step=self._copy_if_possible,
                foreign=f"The database {self.place} holds tables of another program; please name an empty database.",
            )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """As of one moment; a transaction that cannot write."""
        with Session(self._reader, info={"database": self}) as session:
            yield session

    @contextmanager
    def writing(self, only: str | None) -> Iterator[Session]:
        """Locks come before the first look, and every statement sees what was committed before it: so whoever holds
        a lock sees all that earlier holders wrote."""
        with Session(self.engine, expire_on_commit=False, info={"database": self}) as session:
            connection = session.connection()
            if only is None:
                _take(connection, _ALL)
            else:
                _take(connection, _ALL, shared=True)
                _take(connection, only)
            if connection.execute(_VERSION).scalar() != self._version:
                raise StoreFailed(CHANGED)  # a newer program has migrated it meanwhile
            yield session
            session.commit()

    @contextmanager
    def lock(self, name: str) -> Iterator[Callable[[], bool]]:
        """A lock of a connection of its own: it is lost with the connection, which is found out by asking again."""
        held: list[Connection] = []

        def take() -> bool:
            asked = {"key": _key(f"lock {name}")}
            try:
                with as_sentences():
                    if not held:
                        held.append(self._alone.connect())
                    return bool(held[0].execute(text("SELECT pg_try_advisory_lock(:key)"), asked).scalar())
            except StoreAway:
                release()
                return False

        def release() -> None:
            for connection in held:
                with suppress(DBAPIError):
                    if not connection.invalidated:  # its end alone, the server would notice a moment later
                        connection.execute(text("SELECT pg_advisory_unlock_all()"))
                with suppress(DBAPIError):
                    connection.invalidate()
                    connection.close()
            held.clear()

        try:
            yield take
        finally:
            release()

    def secret(self) -> bytes:
        """A row of the database, so that every server takes the tokens of the others."""
        wanted = select(SecretRow.value).where(SecretRow.name == "tokens")
        with self.reading() as session:
            known = session.scalar(wanted)
        if known is not None:
            return known
        with self.writing(None) as session:
            known = session.scalar(wanted)
            if known is None:
                known = secrets.token_bytes(_SECRET_BYTES)
                session.add(SecretRow(name="tokens", value=known))
            return known

    def copy_to(self, place: Path) -> str:
        """Row by row out of one moment, so that every program that reads an archive reads this one too."""
        target = SqliteDatabase(place, self.busy_timeout_s)
        target.migrate(beside_images=True)
        with self._reader.connect() as source, target.engine.begin() as connection:
            copy_rows((self, source), (target, connection), lambda _: None)
        target.engine.dispose()
        with closing(open_existing(place)) as copy:
            copy.execute(WITHOUT_LOG)
        return newest_version()

    def keep_copy(self, backups: Path) -> Path:
        """By pg_dump, which must be as new as the server. Raises StoreFailed where there is none."""
        tool = shutil.which("pg_dump")
        if tool is None:
            raise StoreFailed(
                "A copy of a PostgreSQL database alone needs pg_dump, which is not installed here (package "
                "postgresql-client); python -m db backup copies the whole store without it."
            )
        place = backups / f"concentric-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.dump"
        create(place).close()
        plain = self.url.set(drivername="postgresql", password=None)
        secret = {"PGPASSWORD": self.url.password} if self.url.password else {}
        done = subprocess.run(
            [tool, "--format=custom", f"--file={place}", f"--dbname={plain.render_as_string()}"],
            env={**os.environ, **secret},
            capture_output=True,
            text=True,
            timeout=_DUMP_S,
            check=False,
        )
        if done.returncode:
            place.unlink(missing_ok=True)
            last = done.stderr.strip().splitlines() or ["no reason given"]
            raise StoreFailed(f"pg_dump could not copy the database: {last[-1]}")
        return place

    @contextmanager
    def held(self) -> Iterator[Connection]:
        """With the lock of the store."""
        with self.engine.begin() as connection:
            _take(connection, _ALL)
            yield connection

    def others(self) -> int:
        """Those that the server shows, this process's own left out."""
        self.engine.dispose()
        wanted = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
        with self._alone.connect() as connection:
            return int(connection.execute(wanted).scalar_one())

    def retire(self) -> None:
        """It stays: a server may hold it for others too."""

    def remove(self) -> None:
        """Tables without rows do no harm."""

    def faults(self) -> Iterator[str]:
        """Version, triggers and references. What lies on the disk is the server's to check (pg_amcheck)."""
        with self.engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                yield f"The database {self.place} is not one of Concentric, or empty; please name another one."
                return
            version = connection.execute(_VERSION).scalar()
            if version is None:
                yield f"The database {self.place} is not one of Concentric; please name another one."
            elif said := version_fault(version):
                yield said
            else:
                yield from _without_guard(connection)

    def reserve_ids(self, connection: Connection, table: str, number: int) -> Sequence[int]:
        """Of the sequence of the table."""
        wanted = text("SELECT nextval(:sequence) FROM generate_series(1, :number)")
        return list(connection.execute(wanted, {"sequence": f"{table}_id_seq", "number": number}).scalars())

    def upsert(self, table: type[Base]) -> Any:
        """PostgreSQL's own INSERT."""
        return insert(table)

    def add_rows(self, connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """By COPY, several times as fast as INSERT."""
        import psycopg

        kinds = [column.type.dialect_impl(connection.dialect) for column in table.columns]
        written = [kind.bind_processor(connection.dialect) or _as_it_is for kind in kinds]
        named = ", ".join(f'"{column.name}"' for column in table.columns)
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        try:
            with driver.cursor().copy(f'COPY "{table.name}" ({named}) FROM STDIN') as copy:
                for row in rows:
                    copy.write_row([write(value) for write, value in zip(written, row, strict=True)])
        except psycopg.Error as error:  # as SQLAlchemy would have said it
            raise DBAPIError.instance(None, None, error, psycopg.Error, dialect=connection.dialect) from error

    def last_ids(self, connection: Connection) -> dict[str, int]:
        """Of the sequences, which nobody else moves back."""
        wanted = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {}_id_seq"
        return {table: int(connection.execute(text(wanted.format(table))).scalar_one()) for table in NUMBERED}

    def set_last_ids(self, connection: Connection, ids: Mapping[str, int]) -> None:
        """An id that was never given is 0. Other tables with numbers go on after their highest."""
        for table in Base.metadata.sorted_tables:
            if table.autoincrement_column is not None and table.name not in ids:
                highest = connection.execute(select(func.max(table.autoincrement_column))).scalar() or 0
                ids = {**ids, table.name: highest}
        for name, last in ids.items():
            values = {"sequence": f"{name}_id_seq", "last": max(last, 1), "given": last > 0}
            connection.execute(text("SELECT setval(:sequence, :last, :given)"), values)

    def _copy_if_possible(self) -> None:
        try:
            self.keep_copy(self.folder / "backups")
        except (StoreFailed, OSError):  # the step is all or nothing; docs/operation.md asks for a dump before an update
            log.warning("the database is brought to the newest version without a copy before", exc_info=True)


def parse_url(given: str) -> URL:
    """The URL of a database, as psycopg opens it. Raises StoreFailed for one that is none, or without psycopg."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # the latter: of a port
        url = URL.create("none")
    if url.drivername not in _DRIVERS or not url.database:
        # Not repeated: it may hold a password.
        raise StoreFailed(f"CONCENTRIC_DATABASE is not the URL of a PostgreSQL database; it looks like {URL_FORM}.")
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise StoreFailed(
            "A store on PostgreSQL needs the package psycopg: pip install -r requirements-scale.txt"
        ) from error
    return url.set(drivername="postgresql+psycopg")


def _as_it_is(value: Any) -> Any:
    return value


def _connect_args(busy_timeout_s: float) -> dict[str, Any]:
    """A server that falls silent is given up after 15 seconds, and a lock after the busy timeout."""
    wait = f"-c lock_timeout={max(1, round(1000 * busy_timeout_s))}"
    return {
        "application_name": "concentric",
        "connect_timeout": 5,
        "options": wait,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15000,
    }


def _take(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Wait for a lock that the end of the transaction lets go. PostgreSQL gives it in the order of asking."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    connection.execute(text(f"SELECT {function}(:key)"), {"key": _key(name)})


def _key(name: str) -> int:
    """64 bits that stand for the name of a lock."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _without_guard(connection: Connection) -> Iterator[str]:
    there = set(connection.execute(text("SELECT tgname FROM pg_trigger WHERE tgenabled <> 'D'")).scalars())
    if missing := sorted(TRIGGERS - there):
        yield guard_fault(missing)
    for table in Base.metadata.sorted_tables:
        for key in table.foreign_keys:
            referred = select(key.column).where(key.column == key.parent)
            wanted = select(func.count()).select_from(table).where(key.parent.is_not(None), ~referred.exists())
            if number := connection.execute(wanted).scalar_one():
                yield f"{count_noun(number, 'row')} refer to rows that do not exist (in {table.name})."
