"""PostgreSQL beside SQLite, on one machine in one run: twenty readers at work, and a store with a million events.

    python -m benchmarks.postgres [--quick]

Readers: as in `benchmarks.load`, two changes a second each over HTTP, on SQLite, on PostgreSQL, and on PostgreSQL with
two servers of the program; the three take turns of a minute, so that whatever else the machine does meets all alike.
Both databases are on the disk at each commit.

Events: two readers have reviewed every field, ten changes each, and a version has proposed ten cells. The store is
filled on SQLite and moved to PostgreSQL, row by row and compared. A field is opened as the Review page does (field,
proposals, own review, others' reviews, history), fields by chance; the queue is that of one reader over all fields.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, text

from benchmarks.faults import fill, token
from benchmarks.load import lost, work
from benchmarks.postgres_server import PostgresServer, postgres_server
from benchmarks.record import Figures, cpu_name, write_result
from benchmarks.serving import Reader, Server
from db.engine import Store, open_store
from db.fields import get_field, list_fields
from db.move import move
from db.predictions import proposals
from db.reviews import history, replayed, review_of, reviews_of
from db.schema import Base, EventRow, FieldRow, MarkRow, PredictionRow, ProposalRow, ReviewRow
from pages.shared.operation.start import look_for_garbage_rarely
from pages.shared.service import reviewing

READERS, FIELDS = 20, 10
TURN_S = 60.0
MANY_FIELDS, EVENTS_EACH, PROPOSED = 50_000, 10, 10
NAMES = ("Ann", "Bob")
_MARKS = 6  # of a reader in a field; two of them change their verdict, then come the time and the state


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with fewer fields and seconds")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder, postgres_server(durable=True) as server:
        figures = {
            "readers": measure_readers(Path(folder) / "readers", server, 4.0 if quick else 300.0),
            "events": measure_events(Path(folder) / "events", server, 500 if quick else MANY_FIELDS),
            "machine": cpu_name(),
            "load_average": round(os.getloadavg()[2], 1),  # of the last 15 minutes: what else the machine had to do
        }
    write_result("postgres-quick" if quick else "postgres", figures)


# ---- readers


class Site:
    """A store with the servers before it, and the readers at them."""

    def __init__(self, folder: Path, url: str, servers: int) -> None:
        self.store = fill(folder, FIELDS, url)
        setting = {"CONCENTRIC_DATABASE": url, "CONCENTRIC_BACKUP_DAYS": "0"}
        self.servers = [Server(folder, folder / f"server{n}.log", **setting) for n in range(servers)]
        ids = [field.id for field in list_fields(self.store)]
        self.readers = [
            Reader(self.servers[n % servers].port, ids[n % FIELDS], token(folder, ids[n % FIELDS], f"R{n}", **setting))
            for n in range(READERS)
        ]

    def work(self, seconds: float) -> None:
        """Let all readers write for so long."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=work, args=(one, n / 40, end)) for n, one in enumerate(self.readers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def figures(self) -> Figures:
        """p50, p95 and the longest time of a change in ms; changes lost, and sent again."""
        taken = 1000 * np.array([one for reader in self.readers for one in reader.seconds])
        return {
            "changes": len(taken),
            "p50_ms": round(float(np.quantile(taken, 0.5)), 1),
            "p95_ms": round(float(np.quantile(taken, 0.95)), 1),
            "max_ms": round(float(taken.max()), 1),
            "lost": lost(self.store, self.readers),
            "refused": sum(len(reader.refused) for reader in self.readers),
            "sent_again": sum(reader.sent_again for reader in self.readers),
            "unlike_their_events": sum(
                replayed(self.store, field.id) != (reviews_of(self.store, field.id), True)
                for field in list_fields(self.store)
            ),
        }


def measure_readers(folder: Path, server: PostgresServer, seconds: float) -> Figures:
    """The figures of each site, by its name."""
    sites = {
        "sqlite": Site(folder / "sqlite", "", 1),
        "postgresql": Site(folder / "postgresql", server.make("one"), 1),
        "postgresql, two servers": Site(folder / "two", server.make("two"), 2),
    }
    servers = [one for site in sites.values() for one in site.servers]
    with ExitStack() as started, ThreadPoolExecutor(len(servers)) as pool:
        for one in servers:
            started.callback(one.kill)
        list(pool.map(lambda one: one.start(), servers))
        for turn in _turns(seconds):
            for site in sites.values():
                site.work(turn)
    return {"number": READERS, "seconds": seconds} | {name: site.figures() for name, site in sites.items()}


def _turns(seconds: float) -> Iterator[float]:
    while seconds > 0:
        yield min(seconds, TURN_S)
        seconds -= TURN_S


# ---- many events


def measure_events(folder: Path, server: PostgresServer, fields: int) -> Figures:
    """Rows, seconds of the move, and per database the times of opening a field and of the queue, in ms."""
    figures: Figures = {"fields": fields, "events": fields * EVENTS_EACH * len(NAMES)}
    store = open_store(folder)
    fill_many(store, fields)
    figures["sqlite"] = _look(store, fields)
    figures["sqlite"]["megabytes"] = round(store.file.stat().st_size / 1e6)
    store.close()
    # Nobody opens the images; one is enough for the folder to be that of the database.
    (folder / "images" / f"{fields - 1:064d}.png").touch()
    url, began = server.make("many"), time.perf_counter()
    rows = move(str(folder), url).rows
    figures["move"] = {"rows": sum(one.number for one in rows.values()), "seconds": round(time.perf_counter() - began)}
    server.say("VACUUM ANALYZE", "many")  # as autovacuum does within minutes
    there = open_store(folder, url=url)
    figures["postgresql"] = _look(there, fields)
    with there.reading() as session:
        size = session.scalar(text("SELECT pg_database_size(current_database())"))
    figures["postgresql"]["megabytes"] = round(int(size or 0) / 1e6)
    there.close()
    return figures


def _look(store: Store, fields: int) -> Figures:
    look_for_garbage_rarely()  # as the app does
    chosen = np.random.default_rng(0).integers(1, fields + 1, 100).tolist()
    opened = _times([lambda n=n: _open(store, n) for n in chosen])  # type: ignore[misc]
    queue = _times([lambda: reviewing.queue(store, "Ann", "v1")] * 11)
    assert len(reviewing.queue(store, "Ann", "v1")) == fields
    began = time.process_time()
    reviewing.queue(store, "Ann", "v1")
    processor_s = time.process_time() - began
    uncertain = _times([lambda: reviewing.queue(store, "Ann", "v1", order="uncertainty")] * 5)
    return {
        "open_p50_ms": _ms(opened, 0.5),
        "open_p95_ms": _ms(opened, 0.95),
        "queue_p50_ms": _ms(queue, 0.5),
        "queue_least_ms": _ms(queue, 0.0),
        "queue_own_processor_ms": round(1000 * processor_s, 1),
        "queue_most_uncertain_first_p50_ms": _ms(uncertain, 0.5),
    }


def _open(store: Store, field: int) -> None:
    get_field(store, field)
    found = proposals(store, field, "v1")
    assert found is not None and len(found.candidates) == PROPOSED
    assert len(review_of(store, field, "Ann").marks) == _MARKS and len(reviews_of(store, field)) == len(NAMES)
    assert len(history(store, field, "Ann")) == EVENTS_EACH


def _times(work: list[Callable[[], object]]) -> list[float]:
    work[0]()
    taken = []
    for one in work:
        began = time.perf_counter()
        one()
        taken.append(time.perf_counter() - began)
    return taken


def _ms(seconds: list[float], share: float) -> float:
    return round(1000 * float(np.quantile(seconds, share)), 1)


def fill_many(store: Store, fields: int) -> None:
    """The rows alone, as reviews would have written them; the doctor finds nothing to say about them."""
    now = datetime.now(UTC)
    with store.writing() as session:
        rows: dict[type[Base], Iterator[dict[str, Any]]] = {
            FieldRow: (_field(n, now) for n in range(1, fields + 1)),
            PredictionRow: (_prediction(n, now) for n in range(1, fields + 1)),
            ProposalRow: (_proposal(n, place) for n in range(1, fields + 1) for place in range(PROPOSED)),
            EventRow: (
                _event(n, reader, step, now)
                for n in range(1, fields + 1)
                for reader in range(len(NAMES))
                for step in range(EVENTS_EACH)
            ),
            MarkRow: (
                _mark(n, reader, mark)
                for n in range(1, fields + 1)
                for reader in range(len(NAMES))
                for mark in range(_MARKS)
            ),
            ReviewRow: (_review(n, reader) for n in range(1, fields + 1) for reader in range(len(NAMES))),
        }
        for table, made in rows.items():
            while portion := list(islice(made, 10_000)):
                session.connection().execute(insert(table), portion)


def _field(number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "digest": f"{number - 1:064d}",
        "name": f"field {number}",
        "case": f"case {number // 20}",
        "um_per_px": 0.25,
        "scale_source": "given",
        "width_px": 2000,
        "height_px": 2000,
        "file_size": 1,
        "created_at": now,
    }


def _prediction(number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": number,
        "field_id": number,
        "version": "v1",
        "um_per_px": 0.25,
        "threshold": 0.5,
        "doubt": number % 97 / 97,
        "seconds": 1.0,
        "notes": "",
        "created_at": now,
    }


def _proposal(number: int, place: int) -> dict[str, Any]:
    return {
        "prediction_id": number,
        "place": place,
        "x": 100.0 * place,
        "y": 50.0,
        "score": 0.9 - place / 20,
        "area_um2": 20.0,
    }


def _event(number: int, reader: int, step: int, now: datetime) -> dict[str, Any]:
    key = (number - 1) * EVENTS_EACH * len(NAMES) + reader * EVENTS_EACH + step + 1
    blank = dict.fromkeys(
        ("x", "y", "verdict", "version", "score", "state", "x0", "y0", "x1", "y1", "seconds", "comment")
    )
    own: dict[str, Any] = {
        "kind": "add" if step < _MARKS else "class",
        "target": f"m{step % _MARKS}",
        "x": 10.0 * step,
        "y": 7.0,
        "verdict": "mitosis" if step < _MARKS else "lookalike",
    }
    if step == EVENTS_EACH - 2:
        own = {"kind": "time", "target": ":time", "seconds": 60.0}
    if step == EVENTS_EACH - 1:
        own = {"kind": "state", "target": ":state", "state": "complete"}
    return {
        **blank,
        "id": key,
        "op_id": f"{key:032x}",
        "field_id": number,
        "reader": NAMES[reader],
        "client": "page",
        "seq": step + 1,
        "base": 0,
        "sent_ms": 0.0,
        "at": now,
        "superseded": False,
        "settles": False,
        **own,
    }


def _mark(number: int, reader: int, mark: int) -> dict[str, Any]:
    changed = mark < EVENTS_EACH - 2 - _MARKS
    return {
        "field_id": number,
        "reader": NAMES[reader],
        "id": f"m{mark}",
        "x": 10.0 * (mark + _MARKS if changed else mark),
        "y": 7.0,
        "verdict": "lookalike" if changed else "mitosis",
        "deleted": False,
        "settles": False,
    }


def _review(number: int, reader: int) -> dict[str, Any]:
    last = (number - 1) * EVENTS_EACH * len(NAMES) + (reader + 1) * EVENTS_EACH
    return {
        "field_id": number,
        "reader": NAMES[reader],
        "state": "complete",
        "seconds": 60.0,
        "rev": last,
        "mitoses": _MARKS - 2,
        "lookalikes": 2,
        "unsure": 0,
    }


if __name__ == "__main__":
    main()
