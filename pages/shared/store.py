"""The one store of this server: the folder CONCENTRIC_DATA or else data/ beside app.py, with its database or with that
of CONCENTRIC_DATABASE."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from db.backup import keep_copies
from db.engine import BUSY_TIMEOUT_S, Store, data_folder, open_configured
from db.errors import BUSY, StoreBusy
from pages.shared.service.detection_worker import start_worker

_opening = Lock()


def the_store() -> Store:
    """Opened, and migrated where needed, at the first call, and from then on copied once a day.

    Raises ConcentricError when it cannot be used; a later call tries again. Waits for another call
    that is opening it, but not for long.
    """
    if not _opening.acquire(timeout=BUSY_TIMEOUT_S):
        raise StoreBusy(BUSY)
    try:
        return _open(data_folder())
    finally:
        _opening.release()


@cache
def _open(folder: Path) -> Store:
    store = open_configured(folder)
    keep_copies(store)
    start_worker(store)  # for detections that were cut by the end of the last server
    return store
