"""The one store of this server, in the folder CONCENTRIC_DATA or else data/ beside app.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from db.backup import keep_copies
from db.engine import Store, data_folder, open_store

_opening = Lock()


def the_store() -> Store:
    """Opened, and migrated where needed, at the first call, and from then on copied once a day.

    Raises ConcentricError when it cannot be used.
    """
    with _opening:
        return _open(data_folder())


@cache
def _open(folder: Path) -> Store:
    store = open_store(folder)
    keep_copies(store)
    return store
