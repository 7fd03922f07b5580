"""What a store asks of the database behind it. `sqlite` and `postgres` answer, one module each; nothing else knows
which of the two it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, insert
from sqlalchemy.orm import Session

from db.schema import Base

# Tables whose ids are never given twice, also not that of a row that is gone.
NUMBERED = tuple(
    table.name for table in Base.metadata.sorted_tables if table.dialect_options["sqlite"]["autoincrement"]
)


class Database(ABC):
    """One database, opened by nobody yet: `migrate` comes first, except for looking at `faults`."""

    engine: Engine
    kind: str  # "SQLite" or "PostgreSQL"
    place: str  # where it is, in words, without a password

    @abstractmethod
    def is_there(self) -> bool:
        """Whether there is anything to open. Raises StoreFailed when that cannot be said."""

    @abstractmethod
    def migrate(self, to: str = "head", *, beside_images: bool = False) -> None:
        """To the newest version, all steps or none, a copy first. Raises StoreFailed, StoreBusy.

        beside_images: a new database may be made although images lie in the folder, because its rows are to follow.
        """

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session]:
        """A session that sees one moment and writes nothing."""

    @abstractmethod
    def writing(self, only: str | None) -> AbstractContextManager[Session]:
        """A session whose changes are kept at its end, or none of them. only: see `Store.writing`."""

    @abstractmethod
    def lock(self, name: str) -> AbstractContextManager[Callable[[], bool]]:
        """Gives what tries to take a lock of this store, and tells whether this process has it now.

        The end of the block lets it go, and so does the end of the process, however it comes.
        """

    @abstractmethod
    def secret(self) -> bytes:
        """32 random bytes, made once, the same for all servers of the store."""

    @abstractmethod
    def copy_to(self, place: Path) -> str:
        """One moment of it in a new SQLite file, without holding up those who write; returns its version."""

    @abstractmethod
    def keep_copy(self, backups: Path) -> Path:
        """A copy of the database alone in a folder, in its own format. Raises StoreFailed."""

    @abstractmethod
    def held(self) -> AbstractContextManager[Connection]:
        """A connection that reads while nobody writes."""

    @abstractmethod
    def others(self) -> int:
        """How many other connections there are, as far as that can be known."""

    @abstractmethod
    def retire(self) -> Path | None:
        """After all of it was moved elsewhere, while it is `held`: put it away; returns where, None when it stays."""

    @abstractmethod
    def remove(self) -> None:
        """Undo a `migrate` that has just made it."""

    @abstractmethod
    def faults(self) -> Iterator[str]:
        """What is wrong with it, in sentences."""

    @abstractmethod
    def reserve_ids(self, connection: Connection, table: str, number: int) -> Sequence[int]:
        """So many new ids of a table, rising; nobody else is ever given them."""

    @abstractmethod
    def upsert(self, table: type[Base]) -> Any:
        """An INSERT that has `on_conflict_do_update`, `on_conflict_do_nothing` and `excluded`."""

    def add_rows(self, connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """Many rows as they are, each with all columns in their order."""
        names = table.columns.keys()
        connection.execute(insert(table), [dict(zip(names, row, strict=True)) for row in rows])

    @abstractmethod
    def last_ids(self, connection: Connection) -> dict[str, int]:
        """Of each table of NUMBERED, the highest id that was ever given."""

    @abstractmethod
    def set_last_ids(self, connection: Connection, ids: Mapping[str, int]) -> None:
        """Let the ids go on after these."""


def guard_fault(missing: Sequence[str]) -> str:
    """That triggers are missing which refuse changes of what was recorded, in a sentence."""
    return f"The database no longer refuses changes of what was recorded: {', '.join(missing)} missing."


def database_of(session: Session) -> Database:
    """The database that a session of a store works on."""
    database: Database = session.info["database"]
    return database
