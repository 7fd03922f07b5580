"""The detection queue on a Dask cluster: the same states, whatever is killed; a sentence while it cannot be used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from db import detection_queue as queue
from db.engine import Store, open_store
from db.fields import add_field, appearances, image_path, list_fields
from db.predictions import candidates_by_field
from mitosis_core import cluster_detection
from mitosis_core.image.appearance import measure_appearance
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.types import Field
from pages.shared.service import detection_worker as worker
from tests.db.queued import list_detections
from tests.waiting import until

pytest.importorskip("distributed", reason="Dask is not installed (requirements-scale.txt)")
from distributed import Client, LocalCluster

from tests.core.local_workers import local_workers

ROOT = Path(__file__).parents[2]


def drawn(number: int) -> Field:
    return Field(np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8), 0.25, f"slow{number}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = open_store(tmp_path / "data")
    for number in range(6):
        add_field(one, drawn(number))
    yield one
    one.close()


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with local_workers(2, preload="tests.core.stand_in_worker") as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("IDLE_S", 0.2), ("_LOOK_S", 0.05), ("_WAIT_S", 0.05)):
        monkeypatch.setattr(worker, name, seconds)


@pytest.fixture
def address(running: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CONCENTRIC_DASK", running.scheduler_address)
    return str(running.scheduler_address)


def ask(store: Store) -> None:
    queue.enqueue(store, [one.id for one in list_fields(store)], DEFAULT_VERSION, by="Ann")


def states(store: Store) -> dict[int, str]:
    return {one.field_id: one.state for one in list_detections(store)}


def message(store: Store, field_id: int) -> str:
    return next(one.message for one in list_detections(store) if one.field_id == field_id)


@pytest.mark.slow
def test_fields_are_analysed_by_the_workers_and_a_killed_one_costs_time_alone(store: Store, address: str) -> None:
    image_path(store, list_fields(store)[5].digest).write_bytes(b"damaged")
    ask(store)
    working = Thread(target=worker.work, args=(store,), daemon=True)
    working.start()
    until(lambda: "done" in states(store).values())
    assert list(states(store).values()).count("running") > 1  # several at a time
    with Client(address, set_as_default=False) as client:
        os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
    working.join()
    assert states(store) == {**dict.fromkeys(range(1, 6), "done"), 6: "failed"}
    assert "stored image of slow5 is damaged" in message(store, 6)
    found = candidates_by_field(store, DEFAULT_VERSION)
    for number in range(5):
        assert len(found[number + 1].detections) == number
        assert appearances(store)[number + 1] == pytest.approx(measure_appearance(drawn(number)))
    assert all(one.seconds for one in list_detections(store) if one.state == "done")


WORK = """
import sys
from pages.shared.service import detection_worker as worker
worker.IDLE_S = 0.5
sys.exit(worker.main(["--data", {folder!r}]))
"""


@pytest.mark.slow
def test_the_process_of_the_queue_killed_midway_is_taken_up_where_it_was(store: Store, address: str) -> None:
    def spawn() -> subprocess.Popen[bytes]:
        code = WORK.format(folder=str(store.folder))
        return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)

    ask(store)
    first = spawn()
    until(lambda: {"done", "running"} <= set(states(store).values()))
    first.kill()
    first.wait()
    done = {number for number, state in states(store).items() if state == "done"}
    assert spawn().wait(timeout=60) == 0
    assert states(store) == dict.fromkeys(range(1, 7), "done")
    again = {one.field_id for one in list_detections(store) if one.attempts > 1}
    assert again and not again & done  # what was stored is not done again
    assert [len(candidates_by_field(store, DEFAULT_VERSION)[n + 1].detections) for n in range(6)] == list(range(6))


@pytest.mark.slow
def test_while_workers_are_refused_the_queue_waits_and_says_why(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cluster_detection.program_id
    monkeypatch.setattr(cluster_detection, "program_id", lambda: "9.9.9")
    ask(store)
    working = Thread(target=worker.work, args=(store,), daemon=True)
    working.start()
    until(lambda: "and 9.9.9 is needed" in message(store, 1))
    until(lambda: states(store) == dict.fromkeys(range(1, 7), "waiting"))
    monkeypatch.setattr(cluster_detection, "program_id", real)
    working.join()
    assert states(store) == dict.fromkeys(range(1, 7), "done") and message(store, 1) == ""
    assert {one.attempts for one in list_detections(store)} == {1}  # waiting was no attempt


def test_a_cluster_that_cannot_be_reached_loses_nothing_and_what_is_withdrawn_ends_the_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCENTRIC_DASK", "tcp://127.0.0.1:1")
    monkeypatch.setattr("mitosis_core.cluster.CONNECT_S", 0.2)
    ask(store)
    working = Thread(target=worker.work, args=(store,), daemon=True)
    working.start()
    until(lambda: "No Dask scheduler answers at" in message(store, 1))
    assert states(store) == dict.fromkeys(range(1, 7), "waiting")
    queue.withdraw(store, range(1, 7))
    working.join(timeout=20)
    assert not working.is_alive() and states(store) == {}
