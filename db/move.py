"""A database moved to another place: from the file in a data folder to PostgreSQL, or back, or between two servers.

Every row is copied as it is, then read back and compared. Images and versions stay in the data folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from db.archive import Progress, no_progress
from db.dialects.base import Database
from db.engine import open_database
from db.errors import StoreFailed, as_sentences
from db.image_files import image_files
from db.images import image_name
from db.schema import FieldRow
from db.table_copy import Rows, copy_rows, count_rows, read_rows
from mitosis_core.plurals import count_noun


@dataclass(frozen=True)
class Moved:
    """What was moved: table -> its rows, the same on both sides. notes: sentences about what to do now."""

    rows: Mapping[str, Rows]
    notes: tuple[str, ...]


def move(source: str, target: str, progress: Progress = no_progress) -> Moved:
    """Copy all rows of one database into another one that has none, and check that they are the same.

    source, target: a data folder, or the URL of a PostgreSQL database. Nobody writes meanwhile. The file of a data
    folder goes to its backups afterwards, so that nobody works on with it by mistake; a PostgreSQL database stays.
    progress: of rows, each once copied and once compared. Raises StoreFailed: the source is not there or in use, the
    target is not empty, something differs; then both are as they were.
    """
    folder = _data_folder(source, target)
    here, there = (open_database(Path(one), one if _is_url(one) else "") for one in (source, target))
    with as_sentences():
        if not here.is_there():
            raise StoreFailed(f"There is no database at {here.place}.")
        is_new = not there.is_there()
    try:
        with as_sentences():
            here.migrate()
            _refuse_used(here)
            there.migrate(beside_images=True)
            with here.held() as reading, there.engine.begin() as writing:
                _refuse_full(there, writing)
                missing = _missing_images(reading, folder)
                rows = _copy_and_compare(here, there, reading, writing, progress)
                writing.commit()
                kept = here.retire()
        return Moved(rows, tuple(_notes(here, there, kept, folder, missing)))
    except BaseException:
        if is_new:
            there.remove()
        raise
    finally:
        here.engine.dispose()
        there.engine.dispose()


def _copy_and_compare(
    here: Database, there: Database, reading: Connection, writing: Connection, progress: Progress
) -> Mapping[str, Rows]:
    total, done = 2 * sum(count_rows(reading).values()), 0

    def told(number: int) -> None:
        nonlocal done
        done += number
        progress(done, total)

    read = copy_rows((here, reading), (there, writing), told)
    written = read_rows(writing, told)
    if differing := [table for table, rows in read.items() if written[table] != rows]:
        raise StoreFailed(f"The copy is not the same in {', '.join(differing)}, so it was not kept.")
    return read


def _data_folder(source: str, target: str) -> Path | None:
    folders = [Path(one) for one in (source, target) if not _is_url(one)]
    if len(folders) == 2:
        raise StoreFailed("From folder to folder a store goes by python -m db backup and restore.")
    if folders and not folders[0].is_dir():
        raise StoreFailed(f"There is no data folder {folders[0]}.")
    return folders[0] if folders else None


def _is_url(place: str) -> bool:
    return "://" in place


def _refuse_used(database: Database) -> None:
    others = database.others()
    if others:
        raise StoreFailed(
            f"{count_noun(others, 'connection')} of other programs to {database.place}: please stop the servers first."
        )


def _refuse_full(database: Database, connection: Connection) -> None:
    if held := [table for table, number in count_rows(connection).items() if number]:
        raise StoreFailed(
            f"The database {database.place} is not empty (rows in {', '.join(held)}); please name an empty one."
        )


def _missing_images(connection: Connection, folder: Path | None) -> int:
    """How many images are not where those of the folder lie. Raises StoreFailed when it is all of them."""
    if folder is None:
        return 0
    files = image_files(folder)
    names = {image_name(digest) for digest in connection.execute(select(FieldRow.digest)).scalars()}
    missing = len(names - set(files.names()))
    if names and missing == len(names):
        raise StoreFailed(
            f"The images of the database are not in {files.where}; please name its data folder, or copy images and "
            "versions there first."
        )
    return missing


def _notes(here: Database, there: Database, kept: Path | None, folder: Path | None, missing: int) -> list[str]:
    notes = []
    if kept is not None:
        notes.append(f"The old database is now {kept}.")
        notes.append(f"Please start the program with CONCENTRIC_DATABASE naming {there.place}.")
    else:
        notes.append(f"{here.place} was left as it is.")
        notes.append(
            "Please start the program without CONCENTRIC_DATABASE."
            if folder is not None
            else f"Please start the program with CONCENTRIC_DATABASE naming {there.place}."
        )
    if missing:
        notes.append(f"{count_noun(missing, 'image')} are missing; python -m db doctor says which.")
    return notes
