"""The one store of this server, in the folder CONCENTRIC_DATA or else data/ beside app.py."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from threading import Lock

from db.engine import Store, open_store

_opening = Lock()


def data_folder() -> Path:
    """The folder of the store."""
    return Path(os.environ.get("CONCENTRIC_DATA") or Path(__file__).parents[2] / "data")


def the_store() -> Store:
    """Opened, and migrated where needed, at the first call. Raises ConcentricError when it cannot be used."""
    with _opening:
        return _open(data_folder())


@cache
def _open(folder: Path) -> Store:
    return open_store(folder)
