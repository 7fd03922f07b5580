"""How far it goes: what a reader and a field cost on this machine, and from that 1,000 readers and 1,000,000 fields.

    python -m benchmarks.scaling [--quick]

First the costs are measured: processor time of the server for a change and for an opened field (in a real browser),
bytes of a change and of a field. Then readers at work are simulated (simpy) on one to many servers of one core each
before one database, and a store of 10^6 fields is added up. What a reader does in a minute, and prices, are
assumptions: they stand in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import simpy

from benchmarks.browser import CHROMIUM, FLAGS
from benchmarks.faults import fill, token
from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from benchmarks.serving import Reader, Server
from db.engine import Store
from db.fields import add_field, list_fields
from db.predictions import save_prediction
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import list_versions
from mitosis_core.types import Detections, Field, Prediction

SERVERS = (1, 2, 4, 8, 16, 32)
READERS = (20, 100, 300, 1000)
FIELDS = 1_000_000
MOST_CHANGE_MS, MOST_PAGE_MS = 200.0, 1000.0  # 95 of 100 are to be faster


@dataclass(frozen=True)
class Assumptions:
    """A reader at work, the database, and prices. Seconds, bytes; prices per hour and per month."""

    seconds_per_field: float = 60.0
    changes_per_field: float = 6.0  # three proposals judged, two cells missed, finished
    pages_per_field: float = 2.0  # the next field, and once what was changed has settled
    readers_per_field: float = 2.0
    database_connections: int = 8  # that work at the same time
    core_hour_price: float = 0.05
    terabyte_month_price: float = 25.0


@dataclass(frozen=True)
class Costs:
    """What was measured on this machine: processor seconds of the server, seconds of the database, bytes."""

    change_s: float
    page_s: float
    commit_s: float
    change_bytes: float
    field_bytes: float
    detection_s: float


def main() -> None:
    """Measure, simulate, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats and minutes, the same path")
    quick = parser.parse_args().quick
    assumed = Assumptions()
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder), 40 if quick else 400, 6 if quick else 40)
    minutes = 3.0 if quick else 15.0
    readers = [simulate(costs, assumed, many, servers, minutes) for many in READERS for servers in SERVERS]
    figures = {
        "costs": asdict(costs),
        "assumptions": asdict(assumed),
        "readers": readers,
        "most_ms": {"change": MOST_CHANGE_MS, "page": MOST_PAGE_MS},
        "check": check(costs, minutes),
        "servers_needed": {str(many): _servers_needed(readers, many) for many in READERS},
        "fields": plan(costs, assumed, FIELDS),
        "machine": cpu_name(),
    }
    write_result("scaling-quick" if quick else "scaling", figures)


# ---- what one costs


def measure(folder: Path, changes: int, pages: int) -> Costs:
    """The costs, from a real server, with a real browser for the pages, and a field of full size."""
    store = fill(folder / "data", 5)
    add_field(store, Field(draw_sample_field(seed=1).field.pixels, 0.25, "full size"), case="full size")
    ids = [one.id for one in list_fields(store)]
    for one in ids:  # nothing proposed: what is measured is the page, not the detector
        save_prediction(store, one, Prediction(Detections(), 0.5, list_versions()[0], 0.0, 0.1))
    server = Server(folder / "data", folder / "server.log")
    reader = Reader(server.port, ids[0], token(folder / "data", ids[0], "Reader"))
    server.start()
    try:
        page_s = asyncio.run(_page_s(server, ids, pages))
        before = _database_bytes(store)
        change_s = _server_s(server, lambda: reader.send(reader.next_op()), changes)
        change_bytes = (_database_bytes(store) - before) / changes
    finally:
        server.stop()
    taken = json.loads((RESULTS / "review.json").read_text())["transaction_ms"]
    detection = json.loads((RESULTS / "speed.json").read_text())["field_s"]
    return Costs(change_s, page_s, taken / 1000, change_bytes, _field_bytes(store, ids[-1]), detection)


async def _page_s(server: Server, ids: list[int], steps: int) -> float:
    """Processor seconds of the server for a step to another field on Review, its image included."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        page.set_default_timeout(60_000)
        await page.goto(f"http://127.0.0.1:{server.port}/review?reader=Reader&field={ids[0]}")
        used, last = 0.0, len(ids) - 1
        for number in range(steps + 2 * last):
            turn, place = divmod(number, last)  # to the last field and back again
            shown, key = (ids[last - place], "[") if turn % 2 else (ids[place], "]")
            await page.locator(f".viewer[data-ready='{shown}']").wait_for()
            await page.wait_for_timeout(300)  # the page has run again, and fetched what comes next
            if number == 2 * last:  # every field was seen
                used = server.cpu_s()
            await page.keyboard.press(key)
        await page.wait_for_timeout(1000)
        used = server.cpu_s() - used
        await browser.close()
    return used / steps


def _server_s(server: Server, act: Callable[[], object], times: int) -> float:
    """Processor seconds of the server for one act."""
    before = server.cpu_s()
    for _ in range(times):
        act()
    return (server.cpu_s() - before) / times


def _database_bytes(store: Store) -> int:
    with store.reading() as session:
        connection = session.connection()
        pages, size = (
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "page_size")
        )
        return int(pages * size)


def _field_bytes(store: Store, field: int) -> int:
    digest = next(one.digest for one in list_fields(store) if one.id == field)
    return sum(file.stat().st_size for file in store.folder.rglob(f"{digest}.*"))


# ---- many readers


def simulate(costs: Costs, assumed: Assumptions, readers: int, servers: int, minutes: float) -> Figures:
    """Readers at work for some minutes; each stays with one server, as Streamlit's sessions do."""
    world = simpy.Environment()
    cores = [simpy.Resource(world) for _ in range(servers)]  # a server's Python runs on one core at a time
    database = simpy.Resource(world, assumed.database_connections)
    waits: dict[str, list[float]] = {"change": [], "page": []}
    busy = dict.fromkeys(("server", "database"), 0.0)

    def use(kind: str, place: simpy.Resource, seconds: float) -> Generator[simpy.Event, Any, None]:
        with place.request() as turn:
            yield turn
            yield world.timeout(seconds)
        busy[kind] += seconds

    def reader(number: int) -> Generator[simpy.Event, Any, None]:
        random, core = Random(number), cores[number % servers]
        acts = ["change"] * round(assumed.changes_per_field) + ["page"] * round(assumed.pages_per_field)
        while True:
            random.shuffle(acts)
            for act in acts:
                yield world.timeout(random.expovariate(len(acts) / assumed.seconds_per_field))
                started = world.now
                own = costs.change_s if act == "change" else costs.page_s
                yield from use("server", core, random.expovariate(1 / own))
                yield from use("database", database, random.expovariate(1 / costs.commit_s))
                waits[act].append(world.now - started)

    for number in range(readers):
        world.process(reader(number))
    world.run(until=60 * minutes)
    p95 = {f"{act}_p95_ms": round(1000 * float(np.percentile(times, 95)), 1) for act, times in waits.items() if times}
    return {
        "readers": readers,
        "most_ms": {"change": MOST_CHANGE_MS, "page": MOST_PAGE_MS},
        "servers": servers,
        **p95,
        "server_busy": round(busy["server"] / (60 * minutes * servers), 3),
        "database_busy": round(busy["database"] / (60 * minutes * assumed.database_connections), 4),
    }


def check(costs: Costs, minutes: float) -> Figures:
    """What the simulation says of the readers of load.json, beside what was measured there."""
    measured = json.loads((RESULTS / "load.json").read_text())
    like = Assumptions(seconds_per_field=1.0, changes_per_field=2.0, pages_per_field=0.0)
    simulated = simulate(costs, like, measured["readers"], 1, minutes)
    return {"measured_p95_ms": measured["p95_ms"], "simulated_p95_ms": simulated["change_p95_ms"]}


def _servers_needed(runs: list[Figures], readers: int) -> int | None:
    """The fewest servers with which the waits are short enough; None where even the most tried are too few."""
    good = (
        run["servers"]
        for run in runs
        if run["readers"] == readers and run["change_p95_ms"] <= MOST_CHANGE_MS and run["page_p95_ms"] <= MOST_PAGE_MS
    )
    return min(good, default=None)


# ---- many fields


def plan(costs: Costs, assumed: Assumptions, fields: int) -> Figures:
    """A store of so many fields: bytes, core hours of detection and of reading, prices."""
    changes = fields * assumed.changes_per_field * assumed.readers_per_field
    images, database = fields * costs.field_bytes / 1e12, changes * costs.change_bytes / 1e12
    hours = (
        fields * costs.detection_s * (os.cpu_count() or 1) / 3600
    )  # a field takes all cores of the machine it was measured on
    return {
        "fields": fields,
        "changes": int(changes),
        "images_tb": round(images, 2),
        "database_tb": round(database, 4),
        "detection_core_hours": round(hours, 1),
        "detection_price": round(hours * assumed.core_hour_price, 2),
        "storage_price_a_month": round((images + database) * assumed.terabyte_month_price, 2),
        "reader_hours": round(fields * assumed.readers_per_field * assumed.seconds_per_field / 3600),
    }


if __name__ == "__main__":
    main()
