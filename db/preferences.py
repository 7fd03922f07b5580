"""What each user has chosen, one row each: the same on every page, in every tab, and tomorrow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from db.engine import Store
from db.ops import check_reader
from db.schema import PreferencesRow
from mitosis_core.errors import ConcentricError
from mitosis_core.scale import check_um_per_px
from mitosis_core.scoring.counting import FIELD_DIAMETER_MM, check_field_diameter

KEY_LAYOUTS = ("standard", "left hand", "right hand")


@dataclass(frozen=True)
class Preferences:
    """The choices of one user; the defaults hold until there are any.

    reader: the name that verdicts carry where nobody logs in, "" while not given. um_per_px: of the scanner, for files
    that do not say; None: it is asked for. version: that detects, None: the active one. advance: to the next cell after
    a verdict.
    """

    reader: str = ""
    um_per_px: float | None = None
    field_diameter_mm: float = FIELD_DIAMETER_MM
    version: str | None = None
    key_layout: str = KEY_LAYOUTS[0]
    advance: bool = True


def read_preferences(store: Store, user: str) -> Preferences:
    """Those of a user; "" where nobody logs in: then of all who use this computer."""
    with store.reading() as session:
        return _read(session, user)


def change_preferences(store: Store, user: str, **changes: Any) -> Preferences:
    """Write some of them, named as in `Preferences`, and leave the others; returns all.

    Raises ConcentricError (MissingScale for an implausible µm/px) and then writes nothing; TypeError for another name.
    """
    with store.writing() as session:
        changed = _checked(replace(_read(session, user), **changes))
        session.merge(PreferencesRow(user=user, at=datetime.now(UTC), **asdict(changed)))
        return changed


def _read(session: Session, user: str) -> Preferences:
    row = session.get(PreferencesRow, user)
    if row is None:
        return Preferences()
    kept = {one.name: getattr(row, one.name) for one in fields(Preferences)}
    # Of a newer or an older program: what is not known here counts as not chosen.
    if kept["key_layout"] not in KEY_LAYOUTS:
        del kept["key_layout"]
    return Preferences(**kept)


def _checked(chosen: Preferences) -> Preferences:
    if chosen.key_layout not in KEY_LAYOUTS:
        raise ConcentricError(f"Please choose one of {', '.join(KEY_LAYOUTS)}.")
    if chosen.um_per_px is not None:
        check_um_per_px(chosen.um_per_px)
    check_field_diameter(chosen.field_diameter_mm)
    return replace(chosen, reader=check_reader(chosen.reader) if chosen.reader.strip() else "")
