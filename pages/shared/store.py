"""The one store of this server, in the folder CONCENTRIC_DATA or else data/ beside app.py."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from threading import Lock

from db.engine import BUSY_TIMEOUT_S, Store, open_store
from db.errors import BUSY, StoreBusy

_opening = Lock()


def data_folder() -> Path:
    """The folder of the store."""
    return Path(os.environ.get("CONCENTRIC_DATA") or Path(__file__).parents[2] / "data")


def the_store() -> Store:
    """Opened, and migrated where needed, at the first call. Raises ConcentricError when it cannot be used.

    A later call tries again; nobody waits long behind those who try.
    """
    if not _opening.acquire(timeout=BUSY_TIMEOUT_S):
        raise StoreBusy(BUSY)
    try:
        return _open(data_folder())
    finally:
        _opening.release()


@cache
def _open(folder: Path) -> Store:
    return open_store(folder)
