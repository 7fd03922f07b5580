"""The one store of this server, in the folder CONCENTRIC_DATA or else data/ beside app.py."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from db.engine import Store, data_folder, open_store

_opening = Lock()


def the_store() -> Store:
    """Opened, and migrated where needed, at the first call. Raises ConcentricError when it cannot be used."""
    with _opening:
        return _open(data_folder())


@cache
def _open(folder: Path) -> Store:
    return open_store(folder)
