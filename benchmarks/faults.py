"""What is lost when things go wrong: kills of the server and of runs, and a store that cannot be used.

    python -m benchmarks.faults [--quick] [--kills N] [--run-kills N] [--part server|runs|store]

1. The real server is killed (SIGKILL) at random moments while four readers write over HTTP and send again what was not
   acknowledged. Afterwards every acknowledged change must be in the database exactly once, and reviews follow from it.
2. A retraining is killed at random moments and taken up again; its weights must be those of a run nobody disturbed.
3. The store is broken in many ways, one at a time. A change must be answered with 503 and a sentence, or be stored: one
   that is acknowledged must be there after mending, without being sent again (a change may still fit on a full disk).
   After mending everything that was stored must be there, and the change be taken.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.record import RESULTS, Figures, cpu_name, write_result
from benchmarks.serving import ROOT, Reader, Server
from db import runs, versions
from db.engine import Store, open_store
from db.fields import add_field, list_fields
from db.replay import replay
from db.reviews import apply_ops, history, parse_op, review_of
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Field
from train.retrain.config import RetrainConfig

READERS = ("Anna", "Bert", "Chris", "Dora")
SIDE_PX = 256
RUN = RetrainConfig(steps=24, batch=2, crops_per_field=4, crop_px=64, validate_every=2, patience=1000)
QUICK_RUN = RetrainConfig(steps=4, batch=2, crops_per_field=4, crop_px=64, validate_every=2, folds=2)


def main() -> None:
    """Measure, and write the figures."""
    given = _parser().parse_args()
    quick, name = given.quick, "faults-quick" if given.quick else "faults"
    before = RESULTS / f"{name}.json"
    figures: Figures = json.loads(before.read_text(encoding="utf-8")) if given.part != "all" and before.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if given.part in ("all", "server"):
            figures |= kill_server(folder, given.kills or (2 if quick else 200), seed=given.seed)
        if given.part in ("all", "runs"):
            config = QUICK_RUN if quick else RUN
            figures |= kill_runs(folder, given.run_kills or (1 if quick else 10), config, given.seed)
        if given.part in ("all", "store"):
            figures["faults"] = break_store(folder)
            figures["faults_bad"] = sorted(name for name, one in figures["faults"].items() if not one["good"])
    figures |= {"readers": len(READERS), "seed": given.seed, "machine": cpu_name()}
    write_result(name, figures)


# -- 1. the server -------------------------------------------------------------------------------------------------


def kill_server(folder: Path, kills: int, seed: int) -> Figures:
    """kills, acknowledged changes, and how many of them are lost or there twice; integrity_bad: databases damaged."""
    data = folder / "server"
    store = fill(data)
    server = Server(data, folder / "server.log")
    ids = [field.id for field in list_fields(store)]
    readers = [
        Reader(server.port, ids[n % len(ids)], token(data, ids[n % len(ids)], name)) for n, name in enumerate(READERS)
    ]
    over, rng, integrity_bad, started = threading.Event(), random.Random(seed), 0, time.monotonic()
    threads = [threading.Thread(target=_write, args=(reader, over), daemon=True) for reader in readers]
    server.start()
    for thread in threads:
        thread.start()
    for number in range(kills):
        time.sleep(rng.uniform(0.05, 2.0))
        server.kill()
        integrity_bad += not _is_whole(store.file)
        server.start()
        if number % 20 == 19:
            print(f"{number + 1} kills, {sum(len(one.acknowledged) for one in readers)} changes", file=sys.stderr)
    over.set()
    for thread in threads:
        thread.join()
    server.stop()
    return {
        "kills": kills,
        **count(store, readers),
        "integrity_bad": integrity_bad + (not _is_whole(store.file)),
        "kill_seconds": round(time.monotonic() - started, 1),
    }


def _write(reader: Reader, over: threading.Event) -> None:
    """One change after the other; what was not acknowledged is sent again, as it was."""
    while not over.is_set():
        op = reader.next_op()
        while not reader.send(op):
            reader.sent_again += 1
            if over.wait(0.05):
                return


def count(store: Store, readers: list[Reader]) -> Figures:
    """What was acknowledged against what is in the database."""
    events = [event for field in list_fields(store) for event in history(store, field.id)]
    there = [event.op_id for event in events]
    acknowledged = [op_id for reader in readers for op_id in reader.acknowledged]
    unlike = 0
    for field in list_fields(store):
        for name in READERS:
            unlike += review_of(store, field.id, name) != replay(history(store, field.id, name))
    return {
        "acknowledged": len(acknowledged),
        "lost_ops": len(set(acknowledged) - set(there)),
        "duplicates": len(there) - len(set(there)) + len(there) - len({event.target for event in events}),
        "reviews_unlike_their_events": unlike,
        "refused": sum(len(reader.refused) for reader in readers),
        "sent_again": sum(reader.sent_again for reader in readers),
    }


def fill(folder: Path, fields: int = 2, url: str = "") -> Store:
    """Small drawn fields; those that are there already stay as they are."""
    store = open_store(folder, url=url)
    for seed in range(fields):
        drawn = draw_sample_field(seed=seed, size_px=SIDE_PX, mitoses=3, lookalikes=2).field
        add_field(store, Field(drawn.pixels, 0.25, f"field {seed}"), case=f"case {seed}")
    return store


def token(folder: Path, field: int, reader: str, **settings: str) -> str:
    """What the page of this reader would send with its changes."""
    with opened_here(folder, **settings):
        from pages.shared.viewer.routes import ops_token

        return ops_token(field, reader)


@contextmanager
def opened_here(folder: Path, **settings: str) -> Iterator[None]:
    """This process in the place of a server over a data folder, as just started."""
    from pages.shared import store
    from pages.shared.viewer import tokens

    def forget() -> None:
        for kept in (store._open, getattr(tokens, "_key", None)):
            getattr(kept, "cache_clear", lambda: None)()

    with patch.dict("os.environ", {"CONCENTRIC_DATA": str(folder), **settings}):
        forget()
        try:
            yield
        finally:
            forget()


def _is_whole(file: Path) -> bool:
    """Whether SQLite finds nothing wrong."""
    with sqlite3.connect(file) as connection:
        said = connection.execute("PRAGMA integrity_check").fetchall()
        return said == [("ok",)] and not connection.execute("PRAGMA foreign_key_check").fetchall()


# -- 2. runs -------------------------------------------------------------------------------------------------------


def kill_runs(folder: Path, kills: int, config: RetrainConfig, seed: int) -> Figures:
    """Runs killed again and again, until there were so many kills, against one that is not: the same weights?"""
    fresh, rng, ended, done = folder / "reviewed", random.Random(seed), list[str](), 0
    reviewed(fresh)
    calm = Path(shutil.copytree(fresh, folder / "calm"))
    started = time.monotonic()
    whole = _end(calm, _start_run(calm, config))
    calm_seconds = seconds = time.monotonic() - started
    while done < kills:
        data = Path(shutil.copytree(fresh, folder / f"cut {len(ended)}"))
        begun, process = time.monotonic(), _start_run(data, config)
        while done < kills and not _ends_within(process, rng.uniform(0.1, 0.6) * seconds):
            process.kill()
            process.wait()
            done += 1
            process = _start_run(data, config)
        seconds = min(seconds, time.monotonic() - begun)  # the first one also fills the caches of the system
        ended.append(_end(data, process))
    return {
        "run_kills": done,
        "run_weights_equal": set(ended) == {whole},
        "runs_killed": len(ended),
        "run_seconds": round(calm_seconds, 1),
    }


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _start_run(data: Path, config: RetrainConfig) -> subprocess.Popen[bytes]:
    """A process that does the run of this folder: a new one, or the one there is."""
    from train.job import queue

    store = open_store(data)
    known = runs.list_runs(store)
    run = known[0] if known else queue(store, by="bench", base_version=DEFAULT_VERSION, source="", config=config)
    store.close()
    command = [sys.executable, "-m", "train", "run", "--data", str(data), "--run", str(run.id)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _end(data: Path, process: subprocess.Popen[bytes]) -> str:
    """sha256 of the weights that came out; a sentence when none did."""
    process.wait()
    store = open_store(data)
    (run,) = runs.list_runs(store)
    return versions.get_version(store, run.version).sha256 if run.version else f"{run.state}: {run.message}"


def reviewed(folder: Path) -> None:
    """Drawn fields of two cases, finished by one reader."""
    store = open_store(folder)
    for seed in range(4):
        drawn = draw_sample_field(seed=seed, size_px=320, mitoses=3, lookalikes=2)
        field = add_field(store, drawn.field, case=f"case {seed % 2}")[0]
        marks = [("mitosis", xy) for xy in drawn.mitoses_xy_px] + [("lookalike", xy) for xy in drawn.lookalikes_xy_px]
        ops = [make_op(field.id, n, x=float(x), y=float(y), cls=cls) for n, (cls, (x, y)) in enumerate(marks)]
        ops.append({**make_op(field.id, 99), "kind": "state", "state": "complete"})
        for name in ("id", "x", "y", "cls"):
            del ops[-1][name]
        apply_ops(store, field.id, "Anna", [parse_op(op) for op in ops])
    store.close()


def make_op(field: int, number: int, **own: Any) -> dict[str, Any]:
    """A change as a page sends it."""
    return {
        "op_id": f"{field:08d}{number:08d}" * 2,
        "client": "bench",
        "seq": number + 1,
        "t": 0,
        "field": str(field),
        "base": 0,
        "kind": "add",
        "id": f"m{number}",
        "x": 10.0,
        "y": 10.0,
        "cls": "mitosis",
        **own,
    }


# -- 3. a store that cannot be used --------------------------------------------------------------------------------


def break_store(folder: Path, faults: dict[str, Fault] | None = None) -> dict[str, Figures]:
    """Every fault (FAULTS) by name: what the server answered while it lasted, and whether all was there afterwards."""
    whole = folder / "whole"
    store = fill(whole)
    field = list_fields(store)[0].id
    apply_ops(store, field, "Anna", [parse_op(make_op(field, n, x=10.0 + n)) for n in range(50)])
    with sqlite3.connect(store.file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    said = token(whole, field, "Anna")  # its key is copied with the folder
    answers: dict[str, Figures] = {}
    logging.disable(logging.CRITICAL)  # all of it is expected here
    for name, fault in (FAULTS if faults is None else faults).items():
        for moment in ("before the start", "while it runs"):
            if (name, moment) in _ONLY_BEFORE:
                continue
            data = Path(tempfile.mkdtemp(dir=folder))
            answers[f"{name}, {moment}"] = _try(whole, data, fault, field, said, running=moment == "while it runs")
    logging.disable(logging.NOTSET)
    return answers


def _try(whole: Path, data: Path, fault: Fault, field: int, said: str, *, running: bool) -> Figures:
    """good: the change was stored, or refused as it should be in a sentence, and nothing that was stored is lost."""
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from pages.shared.store import the_store
    from pages.shared.viewer.routes import ROUTES

    op = make_op(field, 1000)

    def send() -> tuple[int, str]:
        headers = {"X-Concentric-Token": said, "Host": "127.0.0.1"}
        answer = client.post("/api/ops", json={"field": str(field), "ops": [op]}, headers=headers)
        return answer.status_code, str(answer.json().get("error", ""))

    with ExitStack() as around:
        where = around.enter_context(fault.disk(data)) if fault.disk else data
        if where is None:
            return {"good": True, "skipped": "needs the right to mount a file system in memory"}
        shutil.copytree(whole, where, dirs_exist_ok=True)
        client = TestClient(Starlette(routes=ROUTES), raise_server_exceptions=False)
        with opened_here(where, CONCENTRIC_RESERVE_MB="0"):
            if running:
                the_store().secret()
            with fault.breaks(where):
                status, sentence = send()
            if running or status == 200:  # what it kept open of the broken file is closed
                the_store().close()
        fault.mend(whole, where)
        stored = op["op_id"] in _kept(where, field)[0]
        with opened_here(where, CONCENTRIC_RESERVE_MB="0"):
            after, _ = send()
        kept, sound = _kept(where, field)
    right = stored if status == 200 else status == fault.status and sentence.endswith(".")
    good = right and after == 200 and sound and len(kept) == len(set(kept)) == 51
    return {
        "good": good,
        "answered": status,
        "said": sentence.replace(str(where), "DATA"),
        "stored": stored,
        "after": after,
        "events": len(kept),
        "whole": sound,
    }


def _kept(data: Path, field: int) -> tuple[list[str], bool]:
    """The changes that are stored, and whether the database is sound and all images are there."""
    store = open_store(data)
    ids = [event.op_id for event in history(store, field)]
    images = all((store.images / f"{one.digest}.png").is_file() for one in list_fields(store))
    store.close()
    return ids, _is_whole(store.file) and images


class Fault:
    """breaks: a context in which the store is broken. mend: what the operator does afterwards. status: the right
    answer to a change that is not stored meanwhile."""

    def __init__(
        self,
        breaks: Callable[[Path], Any],
        mend: Callable[[Path, Path], None] = lambda whole, data: None,
        disk: Callable[[Path], Any] | None = None,
        status: int = 503,
    ) -> None:
        self.breaks, self.mend, self.disk, self.status = breaks, mend, disk, status


@contextmanager
def small_disk(data: Path) -> Iterator[Path | None]:
    """A file system of 8 MB; None where that may not be."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(data)], capture_output=True, check=False
    )
    try:
        yield data if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(data)], check=False)


@contextmanager
def full(data: Path) -> Iterator[None]:
    """Not a byte is free."""
    filler = data / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Nobody may write: by the rights, or for root, whom they do not bind, by mounting the path over itself."""
    if os.geteuid():
        mode = path.stat().st_mode
        path.chmod(0o555 if path.is_dir() else 0o444)
        yield
        path.chmod(mode)
        return
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Another program writes for longer than anybody waits."""
    other = sqlite3.connect(data / "concentric.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def spoiled(spoil: Callable[[Path], object]) -> Callable[[Path], Any]:
    """The database file changed behind the program's back."""

    @contextmanager
    def breaks(data: Path) -> Iterator[None]:
        spoil(data / "concentric.sqlite")
        yield

    return breaks


def put_back(whole: Path, data: Path) -> None:
    """As docs/data-model.md says: the copy in the place of the file, without what belongs to the broken one."""
    for name in ("concentric.sqlite-wal", "concentric.sqlite-shm"):
        (data / name).unlink(missing_ok=True)
    shutil.copy2(whole / "concentric.sqlite", data / "concentric.sqlite")


def _overwrite(start: int, length: int, value: bytes = b"\xa5") -> Callable[[Path], None]:
    def spoil(file: Path) -> None:
        with file.open("r+b") as opened:
            opened.seek(start)
            opened.write(value * length)

    return spoil


def _pages_of_events(file: Path) -> None:
    """Every page of the table of events and its indexes, header and all."""
    with sqlite3.connect(file) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        roots = [
            root
            for (root,) in connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'event' AND rootpage > 0"
            )
        ]
    for root in roots:
        _overwrite((root - 1) * size, size)(file)


def _truncate(share: float) -> Callable[[Path], object]:
    return lambda file: file.open("r+b").truncate(int(file.stat().st_size * share))


def _newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _of_another_program(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE event (id INTEGER PRIMARY KEY)")


@contextmanager
def clock_moved(hours: float) -> Iterator[None]:
    """Every clock of the program is wrong."""
    from datetime import UTC, datetime, timedelta, tzinfo

    real, moved = time.time, timedelta(hours=hours)

    class Moved(datetime):
        """The same clock, moved."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            """What the moved clock shows."""
            return datetime.now(tz) + moved

    assert Moved.now(UTC) != datetime.now(UTC)
    with patch("db.reviews.datetime", Moved), patch("time.time", lambda: real() + hours * 3600):
        yield


CORRUPT: dict[str, Callable[[Path], object]] = {
    "not a database": lambda file: file.write_bytes(b"This is a letter.\n" * 1000),
    "empty": lambda file: file.write_bytes(b""),
    "deleted": lambda file: file.unlink(),
    "cut in half": _truncate(0.5),
    "cut to its first page": lambda file: file.open("r+b").truncate(4096),
    "a damaged header": _overwrite(0, 100),
    "a damaged schema": _overwrite(100, 3900),
    "damaged pages of the events": _pages_of_events,
    "of another program": _of_another_program,
}
FAULTS: dict[str, Fault] = {
    "full disk": Fault(full, disk=small_disk),
    "read-only folder": Fault(read_only),
    "read-only database": Fault(lambda data: read_only(data / "concentric.sqlite")),
    "locked": Fault(locked),
    "newer schema": Fault(spoiled(_newer), put_back),
    **{f"corrupt: {name}": Fault(spoiled(spoil), put_back) for name, spoil in CORRUPT.items()},
    "clock an hour back": Fault(lambda data: clock_moved(-1), status=200),
    "clock a year ahead": Fault(lambda data: clock_moved(24 * 366), status=401),  # tokens run out
}
_ONLY_BEFORE = {
    ("newer schema", "while it runs"),  # a migration is done by the program that is started
    ("read-only folder", "while it runs"),  # what is open already stays open for writing
    ("read-only database", "while it runs"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the same path with few kills")
    parser.add_argument("--kills", type=int, help="of the server")
    parser.add_argument("--run-kills", type=int, help="of a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part",
        choices=("all", "server", "runs", "store"),
        default="all",
        help="measure this alone again, and leave the other figures as they were",
    )
    return parser


if __name__ == "__main__":
    main()
