"""Versions beside the shipped ones, and what people decided about them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.disk import write_durably
from db.engine import Store
from db.errors import VersionGone
from db.ops import check_reader
from db.schema import DecisionRow, VersionRow
from mitosis_core.errors import ConcentricError, UnusableModel
from mitosis_core.model import Model, list_versions, load_model
from mitosis_core.scoring.comparison import Comparison

VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class StoredVersion:
    """A version whose weights and card lie in the data folder. comparison: champion and challenger, when measured."""

    name: str
    parent: str | None
    run_id: int | None
    sha256: str
    comparison: Comparison | None
    by: str
    created_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True)
class Decision:
    """What somebody decided. kind: promote, reject, roll_back, upload, delete."""

    id: int
    kind: str
    version: str
    by: str
    note: str
    at: datetime


def weights_path(store: Store, name: str) -> Path:
    """Where the weights of a version lie; the card is beside them, as .json. Raises VersionGone for an odd name."""
    if not VERSION_NAME.fullmatch(name):
        raise VersionGone("A version's name has letters, digits, dots and dashes only.")
    return store.folder / "versions" / f"{name}.safetensors"


def list_stored(store: Store, *, deleted: bool = False) -> list[StoredVersion]:
    """The newest first; deleted ones only when asked for."""
    wanted = select(VersionRow).order_by(VersionRow.created_at.desc())
    with store.reading() as session:
        rows = session.scalars(wanted if deleted else wanted.where(VersionRow.deleted_at.is_(None)))
        return [_version(row) for row in rows]


def get_version(store: Store, name: str) -> StoredVersion:
    """Raises VersionGone."""
    with store.reading() as session:
        row = session.get(VersionRow, name)
        if row is None:
            raise VersionGone(f"There is no version {name} in the store.")
        return _version(row)


def load_version(store: Store, name: str) -> Model:
    """A version by name, shipped or stored, its weights checked. Raises UnusableModel or VersionGone."""
    if name in list_versions():
        return load_model(name)
    stored = get_version(store, name)
    if stored.deleted_at is not None:
        raise VersionGone(f"The version {name} was deleted.")
    path = weights_path(store, name)
    if not path.is_file():
        raise UnusableModel(f"The weights of {name} are missing; it cannot be used.")
    file = path.stat()
    if _sha256(path, file.st_mtime_ns, file.st_size) != stored.sha256:
        raise UnusableModel(f"The weights of {name} do not match the stored sha256; it is not used.")
    return load_model(path)


@lru_cache(maxsize=32)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    """Of the file as it was then: one that was changed since is read again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def named(by: str) -> str:
    """The name under which a decision is recorded. Raises ConcentricError when it is none."""
    if not by.strip():
        raise ConcentricError("Please say who you are first: decisions on versions are recorded with a name.")
    return check_reader(by)


def record_decision(store: Store, kind: str, version: str, *, by: str, note: str = "") -> None:
    """Write down a decision. The champion follows from these.

    Raises ConcentricError when nobody is named, UnusableModel when the active version is to be rejected, VersionGone
    when one that was deleted is to be promoted.
    """
    by = named(by)
    with store.writing() as session:
        if kind == "reject" and version == _history(session)[-1]:
            raise UnusableModel(f"{version} is the active version. Roll back or promote another one instead.")
        row = session.get(VersionRow, version) if kind == "promote" else None
        if row is not None and row.deleted_at is not None:
            raise VersionGone(f"{version} was deleted, so it cannot be promoted.")
        session.add(DecisionRow(kind=kind, version=version, by=by, note=note.strip(), at=datetime.now(UTC)))


def decisions(store: Store) -> list[Decision]:
    """Oldest first."""
    with store.reading() as session:
        rows = session.scalars(select(DecisionRow).order_by(DecisionRow.id))
        return [Decision(**{name: getattr(row, name) for name in Decision.__dataclass_fields__}) for row in rows]


def active_history(past: Iterable[Decision | DecisionRow], shipped: str) -> list[str]:
    """The champions one over the other, the active one last: promoting puts one on top, rolling back takes it off."""
    reign = [shipped]
    for one in past:
        if one.kind == "promote" and one.version != reign[-1]:
            reign.append(one.version)
        elif one.kind == "roll_back" and len(reign) > 1:
            reign.pop()
    return reign


def champion(store: Store, shipped: str) -> str:
    """The active version: what was promoted last, or what a roll-back went back to; at first the shipped one."""
    return active_history(decisions(store), shipped)[-1]


def rolled_back(past: Sequence[Decision], version: str, shipped: str) -> Decision | None:
    """The roll-back that took a version off since it was made active last; None where none did. past: oldest first."""
    places = [
        place for place, one in enumerate(past) if one.version == version and one.kind in ("promote", "roll_back")
    ]
    if not places:
        return None
    stood = len(active_history(past[: places[-1] + 1], shipped))
    later = range(places[-1] + 1, len(past))
    return next((past[place] for place in later if len(active_history(past[: place + 1], shipped)) < stood), None)


def active_version(past: Iterable[DecisionRow], shipped: str) -> str:
    """`champion` as part of a larger reading; past: oldest first."""
    return active_history(past, shipped)[-1]


def previous_champion(store: Store, shipped: str) -> str | None:
    """The version that a roll-back would make active."""
    reign = active_history(decisions(store), shipped)
    return reign[-2] if len(reign) > 1 else None


def roll_back(store: Store, shipped: str, *, by: str, note: str = "", shown: str = "") -> str:
    """Make the champion before this one active again; returns it. shown: what was active for who decides.

    Raises VersionGone when there was none, ConcentricError when nobody is named or another one than `shown` is active:
    of two who roll back at once the second would go back two versions.
    """
    by = named(by)
    with store.writing() as session:
        reign = _history(session, shipped)
        if shown and shown != reign[-1]:
            raise ConcentricError(
                f"Meanwhile somebody else has changed the active version: it is {reign[-1]} now, not {shown}. "
                "Nothing was rolled back."
            )
        if len(reign) < 2:
            raise VersionGone("There is no earlier active version to roll back to.")
        session.add(DecisionRow(kind="roll_back", version=reign[-2], by=by, note=note.strip(), at=datetime.now(UTC)))
        return reign[-2]


def delete_version(store: Store, name: str, *, by: str) -> None:
    """Remove the files; that there was such a version stays known. The champion and its predecessors are kept."""
    by = named(by)
    path = weights_path(store, get_version(store, name).name)
    with store.writing() as session:
        if name in _history(session):
            raise UnusableModel(f"{name} is active or an earlier active version, so it cannot be deleted.")
        session.execute(update(VersionRow).where(VersionRow.name == name).values(deleted_at=datetime.now(UTC)))
        session.add(DecisionRow(kind="delete", version=name, by=by, note="", at=datetime.now(UTC)))
    _remove_files(path)


def _history(session: Session, shipped: str = "") -> list[str]:
    """`active_history` within a turn of writing, so that no other server decides meanwhile."""
    return active_history(session.scalars(select(DecisionRow).order_by(DecisionRow.id)), shipped)


def store_version(
    store: Store,
    name: str,
    weights: bytes,
    card: str,
    *,
    by: str,
    parent: str | None = None,
    run_id: int | None = None,
    comparison: Comparison | None = None,
) -> StoredVersion:
    """Files and row of a new version, in one turn of writing: of two servers that store one of this name at the same
    moment, the second is refused. Raises UnusableModel when there is such a version already, StoreFailed; then
    nothing is left of it.
    """
    path, written = weights_path(store, name), False
    row = VersionRow(
        name=name,
        parent=parent,
        run_id=run_id,
        sha256=hashlib.sha256(weights).hexdigest(),
        comparison=comparison.to_dict() if comparison else {},
        by=by,
        created_at=datetime.now(UTC),
        deleted_at=None,
    )
    try:
        with store.writing() as session:
            if session.get(VersionRow, name) is not None:
                raise UnusableModel(f"There is a version {name} already.")
            written = True
            _write_files(path, weights, card)
            return _enter(session, row)
    except BaseException:
        if written:
            _remove_files(path)
        raise


def _write_files(path: Path, weights: bytes, card: str) -> None:
    """Each whole or not at all."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_durably(path, weights)
    write_durably(path.with_suffix(".json"), card.encode())


def _remove_files(path: Path) -> None:
    for file in (path, path.with_suffix(".json")):
        file.unlink(missing_ok=True)


def _enter(session: Session, row: VersionRow) -> StoredVersion:
    session.add(row)
    session.flush()
    return _version(row)


def _version(row: VersionRow) -> StoredVersion:
    values = {name: getattr(row, name) for name in StoredVersion.__dataclass_fields__}
    return StoredVersion(**{**values, "comparison": Comparison.from_dict(row.comparison) if row.comparison else None})


def lineage(name: str, stored: Mapping[str, StoredVersion]) -> list[str]:
    """A version, the one it was trained from, and so on; the last one is shipped, or was imported.

    stored: the versions of the store by name, deleted ones too.
    """
    line = [name]
    while (one := stored.get(line[-1])) and one.parent and one.parent not in line:
        line.append(one.parent)
    return line
