"""What begins and ends with the server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mitosis_core.logs import start_logging
from pages.shared.operation.metrics import CountErrors

log = logging.getLogger("concentric")


@asynccontextmanager
async def operation(_: Any) -> AsyncIterator[None]:
    """The lifespan of the app. Requests under way are answered before it ends; runs go on without the server."""
    start_logging()
    counter = CountErrors()
    log.addHandler(counter)
    log.info("the server starts")
    try:
        yield
    finally:
        log.info("the server has stopped")
        log.removeHandler(counter)
