"""Bringing a database file to the newest version, with a backup first."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event, inspect
from sqlalchemy.pool import NullPool

from db.disk import create
from db.errors import StoreFailed

SCRIPTS = Path(__file__).parent / "migrations"
DATABASE = "concentric.sqlite"


def migrate(file: Path, backups: Path, busy_timeout_s: float, to: str = "head") -> None:
    """In one transaction: all steps or none. Raises StoreFailed, and SQLite's errors.

    A new database is made only where no images lie: beside images a missing or empty one was lost, and a new one
    would hide that. It is closed to other users from its first byte on.
    """
    if not file.exists() or file.stat().st_size == 0:
        _refuse_beside_images(file.parent)  # before SQLite opens it, which would delete the log beside it
        with suppress(FileExistsError):
            create(file).close()
    # foreign_keys stays off here: a step that rebuilds a table would delete what refers to it.
    url = URL.create("sqlite", database=str(file))
    own_begin = {"isolation_level": None, "timeout": busy_timeout_s}
    engine = create_engine(url, poolclass=NullPool, connect_args=own_begin)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        config = _config(connection)
        scripts = ScriptDirectory.from_config(config)
        now = _revision(connection, {script.revision for script in scripts.walk_revisions()})
        wanted = scripts.get_current_head() if to == "head" else to
        if now is None:
            _refuse_beside_images(file.parent)
        if now == wanted:
            return
        if now is not None:
            copy_to_backups(file, backups)
        command.upgrade(config, to)
        if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
            raise StoreFailed("The database has rows that refer to rows that do not exist, so it was not changed.")


def draft(revision: str, says: str) -> None:
    """For developers: write a migration from what the migrations make to what `db.schema` wants."""
    with create_engine("sqlite://").begin() as connection:
        config = _config(connection)
        command.upgrade(config, "head")
        command.revision(config, says, autogenerate=True, rev_id=revision)


def copy_to_backups(file: Path, backups: Path) -> Path:
    """Copy by SQLite's backup API: right even while others write. Version and UTC time are in the name."""
    part = backups / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}.part"
    revision = copy_database(file, part)
    place = backups / f"concentric-{revision}-{part.stem}Z.sqlite"
    os.replace(part, place)
    return place


def copy_database(file: Path, place: Path) -> str:
    """One moment of the database in one new file, without holding up those who write; returns its version."""
    create(place).close()
    with closing(open_existing(file)) as source, closing(sqlite3.connect(place)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # no log beside it
        return str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def open_existing(file: Path, **options: Any) -> sqlite3.Connection:
    """A connection to a database that is there: none is made where it was deleted. Raises SQLite's errors."""
    database: sqlite3.Connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, **options)
    return database


def known_versions() -> set[str]:
    """The versions of the database that this program can bring to the newest."""
    return {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}


def newest_version() -> str:
    """The version of the database that this program works with."""
    return str(ScriptDirectory(str(SCRIPTS)).get_current_head())


def _refuse_beside_images(folder: Path) -> None:
    if any((folder / "images").glob("*.png")):
        raise StoreFailed(
            f"There are images in {folder} but the database {DATABASE} is missing or empty, so nothing was changed. "
            "Please put a backup of it back (the folder backups has copies; python -m db restore makes a new folder "
            "from an archive, python -m db doctor says what is there), or move the images away to begin anew."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection, known: set[str]) -> str | None:
    """The version of the file; None for a new one. Raises StoreFailed for one we cannot have written."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and inspect(connection).get_table_names():
        raise StoreFailed("The file concentric.sqlite is not a database of Concentric; please use another folder.")
    if revision is not None and revision not in known:
        raise StoreFailed("The database was made by a newer Concentric; please update the program to open it.")
    return revision
