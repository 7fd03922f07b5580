"""Names and notes that people give to versions. Append-only: what was said before stays known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.engine import Store
from db.schema import VersionLabelRow, VersionRow
from db.versions import named
from mitosis_core.errors import ConcentricError
from mitosis_core.model import list_versions

LONGEST_NAME, LONGEST_NOTE = 60, 500


@dataclass(frozen=True)
class VersionLabel:
    """What a version is called, "" for its own name, and what is noted about it, by whom and when."""

    version: str
    name: str
    note: str
    by: str
    at: datetime


def label_version(store: Store, version: str, *, name: str, note: str, by: str) -> None:
    """Call a version by a name and note something about it; empty takes back. The version keeps its own name too.

    Raises ConcentricError when nobody is named, when it is too long, or when another version has the name already.
    """
    by, name, note = named(by), " ".join(name.split()), note.strip()
    if len(name) > LONGEST_NAME or len(note) > LONGEST_NOTE:
        raise ConcentricError(f"Please use at most {LONGEST_NAME} letters for a name and {LONGEST_NOTE} for a note.")
    with store.writing() as session:
        called = {row.name for key, row in latest_labels(session).items() if key != version}
        own = {*list_versions(), *session.scalars(select(VersionRow.name))} - {version}
        if name and name in called | own:
            raise ConcentricError(f"Another version is called {name} already.")
        session.add(VersionLabelRow(version=version, name=name, note=note, by=by, at=datetime.now(UTC)))


def version_labels(store: Store) -> dict[str, VersionLabel]:
    """The latest label of each version that has one."""
    with store.reading() as session:
        return {
            version: VersionLabel(version, row.name, row.note, row.by, row.at)
            for version, row in latest_labels(session).items()
        }


def latest_labels(session: Session) -> dict[str, VersionLabelRow]:
    """`version_labels` as part of a larger reading."""
    return {row.version: row for row in session.scalars(select(VersionLabelRow).order_by(VersionLabelRow.id))}
