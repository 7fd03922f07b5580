"""Whether the server can do its work now: the store is really read and really written to."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from db.disk import write_part
from db.disk_space import disk_space_warning
from db.engine import Store
from db.errors import FULL, StoreBusy, StoreFull, as_sentences
from db.fields import count_fields
from mitosis_core.errors import ConcentricError
from pages.shared.store import the_store

_KEEP_S = 1.0  # so that nobody can keep the disk busy by asking
_PROBE_BYTES = 4096
_asking = Lock()
_last: tuple[float, Health] | None = None


@dataclass(frozen=True)
class Health:
    """Whether changes would be stored now, and a sentence without names and paths."""

    ok: bool
    sentence: str


def health() -> Health:
    """As it is now, or was less than a second ago."""
    global _last
    with _asking:
        if _last is None or not 0 <= time.monotonic() - _last[0] < _KEEP_S:
            _last = (time.monotonic(), look())
        return _last[1]


def look() -> Health:
    """Open the store if need be, read, take the write lock, and write a little beside the database."""
    try:
        store = the_store()
        _try(store)
        return Health(True, disk_space_warning(store.folder) or "The data folder can be read and written.")
    except StoreBusy as error:  # or its server is away: sentences without names
        return Health(False, str(error))
    except StoreFull:
        return Health(False, FULL)
    except ConcentricError:  # its sentence may name a folder
        return Health(False, "The store cannot be read or written; the server's pages say why.")


def _try(store: Store) -> None:
    count_fields(store)
    with store.writing():
        pass
    with as_sentences():
        write_part(store.folder / "health", b"\0" * _PROBE_BYTES).unlink()
