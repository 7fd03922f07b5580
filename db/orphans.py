"""Image files without a row: set aside in a folder of their own, never deleted, and taken back when their row is.

They are left by a crash, or by an older backup of the database put in the place of a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.images import decode, image_name
from db.schema import FieldRow

if TYPE_CHECKING:
    from db.engine import Store


def set_orphans_aside(store: Store) -> list[str]:
    """Set aside image files without a row, take back those whose row is there again; returns what was set aside.

    Unfinished files that this program began to write more than an hour ago are removed: nobody was told of them.
    """
    # An image is put in its place and its row committed under the same lock, so nothing half-added is seen here.
    with store.writing() as session:
        _take_back(session, store)
        store.image_files.remove_stale_parts()
        return [store.image_files.set_aside(name) for name in orphans(session, store)]


def orphans(session: Session, store: Store) -> list[str]:
    """Names of files among the images that no row names. Under `store.writing` this is exact."""
    kept = {image_name(digest) for digest in session.scalars(select(FieldRow.digest))}
    return [name for name in store.image_files.names() if name not in kept]


def find_aside(store: Store, digest: str) -> str | None:
    """The name of a whole copy of this image among the files that were set aside."""
    named = (name for name in store.image_files.names_aside() if name.startswith(digest))
    return next((name for name in named if decode(store.image_files.read_aside(name), digest) is not None), None)


def _take_back(session: Session, store: Store) -> None:
    aside = set(store.image_files.names_aside())
    if not aside:
        return
    for digest in session.scalars(select(FieldRow.digest)):
        name = image_name(digest)
        if name in aside and store.image_files.size(name) is None:  # whoever loads it checks the digest
            store.image_files.take_back(name, name)
