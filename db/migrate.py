"""Bringing a database to the newest version, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect

from db.errors import NEWER, StoreFailed

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(
    connection: Connection,
    to: str,
    *,
    foreign: str,
    before_a_new_one: Callable[[], object],
    before_a_step: Callable[[], object],
) -> bool:
    """In the transaction that is open: all steps or none; whether there was anything to do.

    foreign: the sentence for a database with tables of another program. before_a_new_one, before_a_step: called before
    an empty database, and one of an older program, is changed. Raises StoreFailed, and what these raise.
    """
    config = _config(connection)
    scripts = ScriptDirectory.from_config(config)
    now = _revision(connection, {script.revision for script in scripts.walk_revisions()}, foreign)
    wanted = scripts.get_current_head() if to == "head" else to
    if now is None:
        before_a_new_one()
    if now == wanted:
        return False
    if now is not None:
        before_a_step()
    command.upgrade(config, to)
    return True


def draft(revision: str, says: str) -> None:
    """For developers: write a migration from what the migrations make to what `db.schema` wants."""
    with create_engine("sqlite://").begin() as connection:
        config = _config(connection)
        command.upgrade(config, "head")
        command.revision(config, says, autogenerate=True, rev_id=revision)


def known_versions() -> set[str]:
    """The versions of the database that this program can bring to the newest."""
    return {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}


def newest_version() -> str:
    """The version of the database that this program works with."""
    return str(ScriptDirectory(str(SCRIPTS)).get_current_head())


def version_fault(version: str) -> str:
    """Why this program cannot work with a database of this version, in a sentence; "" when it can."""
    if version not in known_versions():
        return "The database was made by a newer Concentric; please update the program."
    if version != newest_version():
        return "The database is of an older Concentric; please start the program once, then examine again."
    return ""


def refuse_beside_images(folder: Path, database: str) -> None:
    """Raises StoreFailed where images lie in a folder whose database is gone. database: which, in words."""
    if any((folder / "images").glob("*.png")):
        raise StoreFailed(
            f"There are images in {folder} but {database} is missing or empty, so nothing was changed. "
            "Please put a backup of it back (the folder backups has copies; python -m db restore makes a new folder "
            "from an archive, python -m db move brings a database to another place, python -m db doctor says what is "
            "there), or move the images away to begin anew."
        )


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection, known: set[str], foreign: str) -> str | None:
    """The version of the database; None for a new one. Raises StoreFailed for one we cannot have written."""
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None and inspect(connection).get_table_names():
        raise StoreFailed(foreign)
    if revision is not None and revision not in known:
        raise StoreFailed(NEWER)
    return revision
