"""Twenty readers at work at once: what a change takes, what is lost, how much memory the server gains.

    python -m benchmarks.load [--quick] [--readers N] [--seconds S]

Every reader sends two changes a second to the real server over HTTP, each on a connection of its own, to one of ten
fields; a change that is not acknowledged is sent again. Times are from sending to the answer. Memory is that of the
server's process: its median over the last tenth of the time against that over the second tenth, when all is warm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.faults import fill, token
from benchmarks.record import Figures, cpu_name, write_result
from benchmarks.serving import Reader, Server
from db.engine import Store
from db.fields import list_fields
from db.reviews import history

PER_SECOND = 2.0
FIELDS = 10


def main() -> None:
    """Measure, and write the figures."""
    given = _parser().parse_args()
    seconds = given.seconds or (20 if given.quick else 300)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), given.readers, seconds)
    write_result("load-quick" if given.quick else "load", figures)


def measure(folder: Path, number: int, seconds: float) -> Figures:
    """p50, p95 and largest time of a change in ms, changes lost, and growth of memory as a share."""
    store = fill(folder / "data", FIELDS)
    server = Server(folder / "data", folder / "server.log")
    ids = [field.id for field in list_fields(store)]
    chosen = [ids[n % len(ids)] for n in range(number)]
    readers = [Reader(server.port, one, token(folder / "data", one, f"Reader {n}")) for n, one in enumerate(chosen)]
    server.start()
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=work, args=(reader, n / number / PER_SECOND, end)) for n, reader in enumerate(readers)
    ]
    for thread in threads:
        thread.start()
    memory = _watch(server, end)
    for thread in threads:
        thread.join()
    server.stop()
    taken = 1000 * np.array([one for reader in readers for one in reader.seconds])
    return {
        "readers": number,
        "seconds": seconds,
        "ops": len(taken),
        "p50_ms": round(float(np.quantile(taken, 0.5)), 1),
        "p95_ms": round(float(np.quantile(taken, 0.95)), 1),
        "max_ms": round(float(taken.max()), 1),
        "lost": lost(store, readers),
        "sent_again": sum(reader.sent_again for reader in readers),
        "memory_growth": round(_growth(memory), 4),
        "memory_mb": round(memory[-1] / 1e6),
        "machine": cpu_name(),
    }


def work(reader: Reader, wait: float, end: float) -> None:
    """Two changes a second by the clock, or as fast as they are answered when that is slower."""
    due = time.monotonic() + wait
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        op = reader.next_op()
        while not reader.send(op):
            reader.sent_again += 1
            time.sleep(0.2)
        due = max(due + 1 / PER_SECOND, time.monotonic() - 1)


def _watch(server: Server, end: float) -> list[int]:
    """Bytes that the server holds, once a second."""
    memory = []
    while time.monotonic() < end:
        memory.append(server.rss_bytes())
        time.sleep(1.0)
    return memory


def _growth(memory: list[int]) -> float:
    tenth = max(1, len(memory) // 10)
    return median(memory[-tenth:]) / median(memory[tenth : 2 * tenth]) - 1


def lost(store: Store, readers: list[Reader]) -> int:
    """Changes that were acknowledged and are not in the database, or not once."""
    there = [event.op_id for field in list_fields(store) for event in history(store, field.id)]
    acknowledged = {op_id for reader in readers for op_id in reader.acknowledged}
    return len(acknowledged - set(there)) + len(there) - len(set(there))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path for 20 seconds")
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=float, help="how long (default: 300)")
    return parser


if __name__ == "__main__":
    if sys.platform != "linux":
        sys.exit("The memory of the server is read as Linux tells it.")
    main()
