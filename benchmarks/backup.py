"""A backup while four readers write: is it whole, does it come back identical, and do the readers notice?

    python -m benchmarks.backup [--quick]

Four processes change reviews, two changes a second each; half of the time alone, then while one backup after another is
made. Every backup is verified; the last one is restored into an empty folder and compared with the store: its events
must be the first ones of the store, its images the same bytes. `p95_ms` is what a change took while backups were made,
`p95_ms_alone` beside it without one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from benchmarks.record import Figures, cpu_name, write_result
from db.archive import restore, verify, write_archive
from db.doctor import examine, is_sound
from db.engine import Store, open_store
from db.fields import add_field, image_path, list_fields
from db.reviews import apply_ops, history, parse_op
from db.schema import EventRow
from mitosis_core.types import Field

READERS, PAUSE_S = 4, 0.5
SIDE_PX = 1024


def main() -> None:
    """Fill a store, measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with fewer fields and less time")
    quick = parser.parse_args().quick
    fields, events, seconds = (20, 2_000, 10) if quick else (200, 50_000, 120)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), fields, events, seconds)
    figures |= {"machine": f"{cpu_name()}, {platform.system()}"}
    write_result("backup-quick" if quick else "backup", figures)


def measure(folder: Path, fields: int, events: int, seconds: float) -> Figures:
    """Alone for half of the time, then with backups one after another."""
    store = fill(folder / "data", fields, events)
    with multiprocessing.get_context("spawn").Pool(READERS) as pool:
        middle, end = time.time() + 5 + seconds / 2, time.time() + 5 + seconds  # 5 s to start the processes
        asked = [pool.apply_async(review, (folder / "data", number, end)) for number in range(READERS)]
        time.sleep(max(0.0, middle - time.time()))
        archives, taken = 0, list[float]()
        while time.time() < end - 1 or not taken:
            archives += 1
            last, started = folder / f"{archives}.zip", time.perf_counter()
            manifest = write_archive(store, last)
            taken.append(time.perf_counter() - started)
            whole = verify(last) == (manifest, [])
            assert whole, "a backup was not whole"
            if archives > 1:
                (folder / f"{archives - 1}.zip").unlink()
        times = [pair for one in asked for pair in one.get()]
    restore(last, folder / "restored")
    alone = [ms for at, ms in times if at < middle]
    beside = [ms for at, ms in times if at >= middle]
    return {
        "readers": READERS,
        "seconds": seconds,
        "changes": len(times),
        "backups": archives,
        "backup_s": round(float(np.median(taken)), 2),
        "fields": fields,
        "events": manifest.events,
        "images": sum(name.startswith("images/") for name in manifest.files),
        "archive_bytes": last.stat().st_size,
        "identical": identical(store, open_store(folder / "restored"), manifest.events) and lost(store, times) == 0,
        "lost": lost(store, times),
        "p95_ms": _p95(beside),
        "p95_ms_alone": _p95(alone),
    }


def fill(folder: Path, fields: int, events: int) -> Store:
    """Noise for images, which no compression makes smaller, and a history for each."""
    store, rng = open_store(folder), np.random.default_rng(0)
    for number in range(fields):
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
        stored = add_field(store, Field(pixels, 0.25, f"{number}.png"), case=f"case {number % 7}")[0]
        many = [change(stored.id, f"m{n % 50}", n + 1, rng.uniform(10, 1000)) for n in range(events // fields)]
        apply_ops(store, stored.id, "Earlier", [parse_op(one) for one in many])
    return store


def review(folder: Path, number: int, end: float) -> list[tuple[float, float]]:
    """One reader's process: when each change was asked for, and what it took in ms."""
    store, rng, times = open_store(folder, 30), np.random.default_rng(number), list[tuple[float, float]]()
    ids = [one.id for one in list_fields(store)]
    while time.time() < end:
        op = parse_op(change(int(rng.choice(ids)), f"r{number}-{len(times)}", len(times) + 1, rng.uniform(10, 1000)))
        at, started = time.time(), time.perf_counter()
        assert apply_ops(store, int(op.field), f"Reader {number}", [op]).done
        times.append((at, 1000 * (time.perf_counter() - started)))
        time.sleep(PAUSE_S * rng.uniform(0.5, 1.5))
    return times


def change(field: int, mark: str, seq: int, x: float) -> dict[str, Any]:
    """A mark as a page sends it."""
    return {
        "op_id": uuid.uuid4().hex,
        "client": "bench",
        "seq": seq,
        "t": 0,
        "field": str(field),
        "base": 0,
        "kind": "add",
        "id": mark,
        "x": x,
        "y": 20.0,
        "cls": "mitosis",
    }


def identical(store: Store, back: Store, events: int) -> bool:
    """Whether the restored store has the first events, the fields and the images of the other, and is well."""
    fields = list_fields(store)
    if list_fields(back) != fields or not is_sound(examine(back.folder)):
        return False
    kept = 0
    for one in fields:
        then = history(back, one.id)
        kept += len(then)
        if then != history(store, one.id)[: len(then)]:
            return False
        if image_path(back, one.digest).read_bytes() != image_path(store, one.digest).read_bytes():
            return False
    return kept == events


def lost(store: Store, times: list[tuple[float, float]]) -> int:
    """Changes that were acknowledged and are not there."""
    with store.reading() as session:
        there = session.scalar(select(func.count()).where(EventRow.reader.startswith("Reader "))) or 0
    return len(times) - there


def _p95(ms: list[float]) -> float:
    return round(float(np.quantile(ms, 0.95)), 1)


if __name__ == "__main__":
    main()
