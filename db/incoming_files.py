"""Files that came in: those that were refused, until somebody has seen why, and what the watched folder has brought."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, update

from db.dialects.base import database_of
from db.engine import Store
from db.schema import IncomingFileRow

_MOST_SHOWN = 200  # the latest; a folder of a thousand wrong files is told by its first pages
_NAME_LENGTH = 500


@dataclass(frozen=True)
class RefusedFile:
    """A file that did not become a field. problem: a sentence. watched: it lies in the watched folder. at: UTC."""

    id: int
    name: str
    problem: str
    watched: bool
    at: datetime


def refuse_file(store: Store, name: str, problem: str, *, by: str) -> None:
    """List an uploaded file that could not be taken, once for each name; the last sentence counts."""
    _write(store, name, problem, by=by)


def forget_refused(store: Store, name: str) -> None:
    """An upload of this name was taken after all: the sentence about the one before it goes."""
    table = IncomingFileRow
    with store.writing() as session:
        session.execute(
            update(table).where(table.name == short_name(name), ~table.watched, ~table.dismissed).values(dismissed=True)
        )


def refused_files(store: Store) -> list[RefusedFile]:
    """Those that nobody has dismissed, the latest first, 200 at most."""
    table = IncomingFileRow
    wanted = select(table).where(table.problem != "", ~table.dismissed).order_by(table.at.desc(), table.id.desc())
    with store.reading() as session:
        return [
            RefusedFile(row.id, row.name, row.problem, row.watched, row.at)
            for row in session.scalars(wanted.limit(_MOST_SHOWN))
        ]


def dismiss_refused(store: Store, ids: Iterable[int] | None = None) -> None:
    """Take refused files out of the list, all for None. A file of the watched folder comes back when it has changed."""
    wanted = update(IncomingFileRow).where(IncomingFileRow.problem != "").values(dismissed=True)
    with store.writing() as session:
        session.execute(wanted if ids is None else wanted.where(IncomingFileRow.id.in_(list(ids))))


def record_watched(store: Store, name: str, size: int, modified_ns: int, problem: str = "") -> None:
    """A file of the watched folder was dealt with as it was then: taken, or refused with a sentence.

    name: its path below the folder. size: in bytes.
    """
    _write(store, name, problem, size=size, modified_ns=modified_ns, watched=True)


def watched_files(store: Store) -> dict[str, tuple[int, int]]:
    """`short_name` -> (size, modified_ns) of every file of the watched folder that was dealt with."""
    table = IncomingFileRow
    with store.reading() as session:
        rows = session.execute(select(table.name, table.size, table.modified_ns).where(table.watched))
        return {name: (size, modified_ns) for name, size, modified_ns in rows}


def _write(
    store: Store, name: str, problem: str, *, by: str = "", size: int = 0, modified_ns: int = 0, watched: bool = False
) -> None:
    values = {
        "name": short_name(name),
        "watched": watched,
        "size": size,
        "modified_ns": modified_ns,
        "problem": problem,
        "dismissed": False,
        "by": by[:60],
        "at": datetime.now(UTC),
    }
    with store.writing() as session:
        statement = database_of(session).upsert(IncomingFileRow).values(**values)
        session.execute(statement.on_conflict_do_update(index_elements=["name", "watched"], set_=values))


def short_name(name: str) -> str:
    """A name as it is kept: its end, as text, whatever the file system holds."""
    return name.encode("utf-8", "replace").decode()[-_NAME_LENGTH:]
