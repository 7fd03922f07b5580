"""What is counted for Prometheus: what happened in this process, and what is in the store when somebody asks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.backup import last_copy
from db.detection_queue import progress
from db.disk_space import free_bytes, reserve_bytes
from db.fields import count_fields
from db.runs import count_runs
from mitosis_core.errors import ConcentricError
from pages.shared.store import the_store

REGISTRY = CollectorRegistry()
DETECTION_SECONDS = Histogram(
    "concentric_detection_seconds",
    "Seconds of the detection in one field",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=REGISTRY,
)
CHANGES = Counter("concentric_changes", "Changes to reviews that were stored and acknowledged", registry=REGISTRY)
ERRORS = Counter(
    "concentric_errors",
    "Errors in the log (log) and answers 500 to 599 of a route (http)",
    ["where"],
    registry=REGISTRY,
)
for _where in ("log", "http"):
    ERRORS.labels(_where)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


class CountErrors(logging.Handler):
    """Every error that is logged is one that nobody foresaw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        ERRORS.labels("log").inc()


class CountAnswers:
    """Counts the answers of the server that say it failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; an error that no route caught is answered 500 further out, and counted here."""

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 500:
                ERRORS.labels("http").inc()
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            ERRORS.labels("http").inc()
            raise


class _StoreNow(Collector):
    """What the store holds at this moment; without a store that can be used, only that it cannot."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        usable = GaugeMetricFamily("concentric_store_usable", "1 while the store can be read", value=1)
        try:
            found = list(_of_the_store())
        except ConcentricError:
            usable, found = GaugeMetricFamily(usable.name, usable.documentation, value=0), []
        yield usable
        yield from found


def _of_the_store() -> Iterable[GaugeMetricFamily]:
    store = the_store()
    yield GaugeMetricFamily("concentric_fields", "Fields in the store", value=count_fields(store))
    queue = GaugeMetricFamily("concentric_runs", "Training runs by state", labels=["state"])
    for state, number in count_runs(store).items():
        queue.add_metric([state], number)
    yield queue
    waiting = GaugeMetricFamily("concentric_detections", "Fields in the detection queue by state", labels=["state"])
    for name, fields in progress(store).counts.items():
        waiting.add_metric([name], fields)
    yield waiting
    if copied := last_copy(store):
        age_s = (datetime.now(UTC) - copied).total_seconds()
        yield GaugeMetricFamily("concentric_last_copy_age_seconds", "Since the last copy of the store", value=age_s)
    free, reserve = free_bytes(store.folder), reserve_bytes()
    yield GaugeMetricFamily("concentric_disk_free_bytes", "Free on the disk of the data folder", value=free)
    yield GaugeMetricFamily("concentric_disk_reserve_bytes", "Below it no fields or runs are taken", value=reserve)


REGISTRY.register(_StoreNow())
