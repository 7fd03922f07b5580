"""The store: one folder with the images, the backups and the versions, and a database: in the folder, or by a URL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from db.dialects.base import Database
from db.dialects.postgres import PostgresDatabase
from db.dialects.sqlite import DATABASE, SqliteDatabase
from db.disk import make_folders, restrict_access
from db.errors import StoreBusy, StoreFailed, as_sentences
from db.image_files import ImageFiles, files_of, image_files
from db.images import image_name
from db.orphans import set_orphans_aside
from db.schema import FieldRow

BUSY_TIMEOUT_S = 3.0
_LOOKED_AT = 20  # images that tell whether a folder belongs to a database


class Store:
    """Open it with `open_store`. Safe to use from many threads; other processes may have it open too.

    url: of the database, "" for the file concentric.sqlite in the folder. images: where they lie, images/ in the folder
    unless given. Raises StoreFailed for a URL that is none.
    """

    def __init__(
        self, folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S, url: str = "", images: ImageFiles | None = None
    ) -> None:
        self.folder = folder
        self.url = url
        self.image_files = images or files_of(folder)
        self.file = folder / DATABASE
        self.images = folder / "images"
        self.aside = folder / "set-aside"
        self.backups = folder / "backups"
        self.busy_timeout_s = busy_timeout_s
        self.database = open_database(folder, url, busy_timeout_s)

    @property
    def engine(self) -> Engine:
        """What connections to the database come from."""
        return self.database.engine

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the store and writes nothing. Raises StoreFailed."""
        with as_sentences(), self.database.reading() as session:
            yield session

    @contextmanager
    def writing(self, only: str | None = None) -> Iterator[Session]:
        """A session alone in writing: committed, and on disk, at its end; undone by an exception.

        only: the name of what this changes, when it is one thing apart from all others (one review, one queue): on
        PostgreSQL others may then write meanwhile, but not what has the same name. Do not open another one inside.
        Raises StoreBusy after the busy timeout, StoreFull, StoreFailed.
        """
        with as_sentences(), self.database.writing(only) as session:
            yield session

    def lock(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """What one process of all servers does: gives what tries to take its turn, and says whether this one has it."""
        return self.database.lock(name)

    def secret(self) -> bytes:
        """32 random bytes, made once, so that tokens survive a restart and all servers of the store know them."""
        return self._secret

    @cached_property
    def _secret(self) -> bytes:
        with as_sentences():
            return self.database.secret()

    def backup(self) -> Path:
        """A copy of the database in backups/, whole even while others write. Images are not copied."""
        with as_sentences():
            return self.database.keep_copy(self.backups)

    def close(self) -> None:
        """Give back all connections; the store is not used afterwards."""
        self.engine.dispose()


def open_database(folder: Path, url: str, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Database:
    """The database of a folder, or the one that the URL names; nothing is made or looked at. Raises StoreFailed."""
    return PostgresDatabase(folder, url, busy_timeout_s) if url else SqliteDatabase(folder / DATABASE, busy_timeout_s)


def data_folder() -> Path:
    """CONCENTRIC_DATA, or else data/ beside app.py."""
    return Path(os.environ.get("CONCENTRIC_DATA") or Path(__file__).parents[1] / "data")


def database_url() -> str:
    """CONCENTRIC_DATABASE; "" for the file in the data folder."""
    return os.environ.get("CONCENTRIC_DATABASE", "").strip()


def open_store(
    folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S, url: str = "", images: ImageFiles | None = None
) -> Store:
    """Make what is missing, bring the database to the newest version (a backup first), set aside what a crash left.

    Nothing is deleted. url, images: see Store. Raises StoreFailed: no database, none beside images, one of a newer
    Concentric, a folder or an object store that cannot be written, a URL that leads to no database, images that are of
    another store.
    """
    store = Store(folder, busy_timeout_s, url, images)
    make_folders(folder, store.images, store.backups)
    store.image_files.prepare()
    with as_sentences():
        store.database.migrate()
        restrict_access(own_files(store))
    if url:
        _check_images(store)
    if store.image_files.swept:
        with suppress(StoreBusy):  # the next start does it
            set_orphans_aside(store)
    return store


def open_configured(folder: Path) -> Store:
    """A folder with its database and images, or with those that CONCENTRIC_DATABASE and CONCENTRIC_IMAGES name."""
    return open_store(folder, url=database_url(), images=image_files(folder))


def open_known(folder: Path) -> Store:
    """`open_configured` of a store that is there already, for the command line. Raises StoreFailed without one."""
    database = open_database(folder, database_url())
    if not database.is_there():
        where = f"in {folder}" if not database_url() else f"at {database.place}"
        raise StoreFailed(f"There is no database {where}.")
    database.engine.dispose()
    return open_configured(folder)


def own_files(store: Store) -> Iterator[Path]:
    """The folder, the database and its log, and every image, copy and file of a version."""
    yield from (store.folder, *store.folder.glob(f"{DATABASE}*"), *store.folder.glob("secret.key"))
    others = (store.folder / name for name in ("versions", "thumbnails", "tissues"))
    for folder in (store.images, store.backups, store.aside, *others):
        if folder.is_dir():
            yield folder
            yield from (file for file in folder.iterdir() if file.is_file())


def _check_images(store: Store) -> None:
    """A database by URL and a folder may be of two stores. Raises StoreFailed."""
    with store.reading() as session:
        latest = list(session.scalars(select(FieldRow.digest).order_by(FieldRow.id.desc()).limit(_LOOKED_AT)))
    if latest and not any(store.image_files.size(image_name(digest)) is not None for digest in latest):
        raise StoreFailed(
            f"The images of the database {store.database.place} are not in {store.image_files.where}. All servers of a "
            "database need the same images: please set CONCENTRIC_DATA to the data folder that they share, or "
            "CONCENTRIC_IMAGES."
        )
