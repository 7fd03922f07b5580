"""Image files without a row: set aside in a folder of their own, never deleted, and taken back when their row is.

They are left by a crash, or by an older backup of the database put in the place of a newer one.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.disk import make_folders
from db.images import image_path, is_whole
from db.schema import FieldRow

if TYPE_CHECKING:
    from db.engine import Store

_STALE_PART_S = 3600
_OUR_PART = re.compile(r"[0-9a-f]{64}\.png\.[0-9a-f]{16}\.part")  # as db.disk.write_part names it


def set_orphans_aside(store: Store) -> list[Path]:
    """Set aside image files without a row, take back those whose row is there again; returns what was set aside.

    Unfinished files that this program began to write more than an hour ago are removed: nobody was told of them.
    """
    # An image is put in its place and its row committed under the same lock, so nothing half-added is seen here.
    with store.writing() as session:
        _take_back(session, store)
        remove_stale_parts(store.images, _OUR_PART)
        return [set_aside(store, file) for file in orphans(session, store)]


def orphans(session: Session, store: Store) -> list[Path]:
    """Files among the images that no row names. Under `store.writing` this is exact."""
    files = [file for file in store.images.glob("*") if file.is_file() and not _OUR_PART.fullmatch(file.name)]
    kept = {f"{digest}.png" for digest in session.scalars(select(FieldRow.digest))}
    return sorted(file for file in files if file.name not in kept)


def files_set_aside(store: Store) -> list[Path]:
    """The files that were set aside."""
    return sorted(store.aside.iterdir()) if store.aside.is_dir() else []


def find_aside(store: Store, digest: str) -> Path | None:
    """A whole copy of this image among the files that were set aside."""
    named = (file for file in files_set_aside(store) if file.name.startswith(digest))
    return next((file for file in named if is_whole(file, digest)), None)


def remove_stale_parts(folder: Path, form: re.Pattern[str]) -> None:
    """Remove unfinished files that this program named and nobody has written for an hour."""
    for file in folder.iterdir():
        if form.fullmatch(file.name) and time.time() - file.stat().st_mtime > _STALE_PART_S:
            file.unlink(missing_ok=True)


def _take_back(session: Session, store: Store) -> None:
    aside = {file.name for file in files_set_aside(store)}
    if not aside:
        return
    for digest in session.scalars(select(FieldRow.digest)):
        place = image_path(store, digest)
        if place.name in aside and not place.exists():  # whoever loads it checks the digest
            (store.aside / place.name).rename(place)


def set_aside(store: Store, file: Path) -> Path:
    """Move a file into the folder set-aside, never over another one; call it under `store.writing`."""
    make_folders(store.aside)
    place, number = store.aside / file.name, 1
    while place.exists():
        place, number = store.aside / f"{file.stem}.{number}{file.suffix}", number + 1
    file.rename(place)
    return place
