"""What begins and ends with the server."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from typing import Any

from mitosis_core.errors import ConcentricError
from mitosis_core.logs import start_logging
from pages.shared.operation.metrics import CountErrors
from pages.shared.service.watched_folder import watch, watched_path
from pages.shared.store import the_store

log = logging.getLogger("concentric")

_NEW_OBJECTS = 50_000  # that Python makes before it looks for garbage among them; 700 if nobody says otherwise


@asynccontextmanager
async def operation(_: Any) -> AsyncIterator[None]:
    """The lifespan of the app. Requests under way are answered before it ends; runs go on without the server."""
    start_logging()
    look_for_garbage_rarely()
    counter = CountErrors()
    log.addHandler(counter)
    log.info("the server starts")
    stop = threading.Event()
    if folder := watched_path():
        threading.Thread(target=watch, args=(the_store, folder, stop), name="watched folder", daemon=True).start()
    threading.Thread(target=_prepare, name="prepare", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        log.info("the server has stopped")
        log.removeHandler(counter)


def look_for_garbage_rarely() -> None:
    """A queue of 50,000 fields is 150,000 objects: with a look after every 700 of them it takes half as long again."""
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def _prepare() -> None:
    """What the first page would wait for, done while the browser still loads its own part; detections that were left
    behind go on, whether anybody looks or not."""
    for library in ("pandas", "pyarrow"):  # Streamlit brings both along with the first page
        import_module(library)
    with suppress(ConcentricError):  # the page says what is wrong with the store
        the_store()
