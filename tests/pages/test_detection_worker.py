"""The worker of the detection queue: killed, doubled, without room or image, it loses and doubles nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import detection_queue as queue
from db import versions
from db.engine import Store, open_store
from db.errors import FULL, StoreBusy, StoreFull
from db.fields import add_field, appearances, delete_field, image_path, list_fields, load_field
from db.predictions import candidates_by_field, versions_by_field
from db.tissues import read_tissue
from mitosis_core.image.appearance import measure_appearance
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.image.tissue import find_tissue
from mitosis_core.model import DEFAULT_VERSION, load_model
from mitosis_core.prediction import predict
from mitosis_core.types import Detections, Field, Prediction
from pages.shared.service import background
from pages.shared.service import detection_worker as worker
from tests.db.queued import list_detections
from tests.waiting import until

ROOT = Path(__file__).parents[2]

# A worker whose detector is known: it writes down what it was asked, takes its time, and may die of a field.
WORKER = """
import os, sys, time
from pathlib import Path
import numpy as np
from mitosis_core.types import Detections, Prediction
from pages.shared.service import detection_worker as worker

def predict(field, model):
    with Path({log!r}).open("a") as log:
        log.write(field.name + "\\n")
    time.sleep({seconds})
    if field.name == {deadly!r}:
        os.kill(os.getpid(), 9)
    return Prediction(Detections(np.array([[1, 2]]), np.array([0.9]), np.array([9.0])), 0.5, model.version, 0.1, 0.1)

worker.predict, worker.IDLE_S = predict, 0.5
sys.exit(worker.main(["--data", {folder!r}]))
"""
SERVER = """
import sys, time
from pathlib import Path
from db.engine import open_store
from pages.shared.service.detection_worker import detect_later
detect_later(open_store(Path({folder!r})), [1, 2], {version!r}, by="Ann")
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = open_store(tmp_path / "data")
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8)
        add_field(one, Field(pixels, 0.25, f"f{number + 1}"), case=f"case {number % 2}")
    yield one
    one.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A known detector in the place of the real one, here; the names of the fields it was asked about."""
    seen: list[str] = []

    def find(field: Field, model: Any) -> Prediction:
        seen.append(field.name)
        return Prediction(Detections(), 0.5, model.version, 0.1, 0.1)

    monkeypatch.setattr(worker, "predict", find)
    for name, seconds in (("IDLE_S", 0.2), ("_LOOK_S", 0.02), ("_WAIT_S", 0.01)):
        monkeypatch.setattr(worker, name, seconds)
    return seen


def ask(store: Store, *ids: int, version: str = DEFAULT_VERSION) -> None:
    queue.enqueue(store, ids or [one.id for one in list_fields(store)], version, by="Ann")


def states(store: Store) -> dict[int, str]:
    return {one.field_id: one.state for one in list_detections(store)}


def message(store: Store, field_id: int) -> str:
    return next(one.message for one in list_detections(store) if one.field_id == field_id)


def spawn(store: Store, seconds: float = 0.0, deadly: str = "") -> subprocess.Popen[bytes]:
    code = WORKER.format(log=str(log_of(store)), seconds=seconds, deadly=deadly, folder=str(store.folder))
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)


def log_of(store: Store) -> Path:
    return store.folder.parent / "asked.txt"


def detected(store: Store) -> list[str]:
    return log_of(store).read_text().split()


ALL = dict.fromkeys(range(1, 5), "done")


@pytest.mark.slow
def test_a_worker_killed_midway_is_taken_up_where_it_was(store: Store) -> None:
    ask(store)
    process = spawn(store, seconds=0.5)
    until(lambda: states(store)[1] == "done" and states(store)[2] == "running")
    process.kill()
    process.wait()
    assert states(store)[2] == "running"
    assert spawn(store).wait(timeout=60) == 0
    assert states(store) == ALL and all(versions_by_field(store)[number] == {DEFAULT_VERSION} for number in ALL)
    assert detected(store)[0] == "f1" and detected(store).count("f1") == 1  # what was stored is not done again
    assert detected(store)[-2:] == ["f3", "f4"]


@pytest.mark.slow
def test_a_field_that_kills_its_worker_fails_after_three_and_holds_up_nobody(store: Store) -> None:
    ask(store)
    codes = [spawn(store, deadly="f2").wait(timeout=60) for _ in range(4)]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert states(store) == {**ALL, 2: "failed"} and "cut off 3 times" in message(store, 2)
    assert detected(store) == ["f1", "f2", "f2", "f2", "f3", "f4"]


@pytest.mark.slow
def test_of_two_workers_started_at_once_one_works(store: Store) -> None:
    ask(store)
    both = [spawn(store, seconds=0.3) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert states(store) == ALL and detected(store) == ["f1", "f2", "f3", "f4"]


@pytest.mark.slow
def test_the_queue_outlives_the_server_and_stores_what_a_page_would(tmp_path: Path) -> None:
    """The real detector in a worker that the app has started."""
    store = open_store(tmp_path / "data")
    for seed in range(2):
        add_field(store, draw_sample_field(seed=seed, size_px=320, mitoses=3, lookalikes=2).field)
    code = SERVER.format(folder=str(store.folder), version=DEFAULT_VERSION)
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    until(lambda: (store.folder / "runs" / "detection.lock").exists() and bool(list_detections(store)))
    until(lambda: (store.folder / "runs" / "detection.log").exists())
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    until(lambda: list(states(store).values()) == ["done", "done"])
    found = candidates_by_field(store, DEFAULT_VERSION)
    for stored in list_fields(store):
        field = load_field(store, stored)
        expected = predict(field, load_model()).candidates
        assert np.allclose(found[stored.id].detections.xy_px, expected.xy_px, atol=1e-3)
        assert np.allclose(found[stored.id].detections.score, expected.score, atol=1e-3)
        assert appearances(store)[stored.id] == pytest.approx(measure_appearance(field))
        tissue = read_tissue(store, stored)  # so that its result is there at once
        assert tissue is not None and (tissue.mask == find_tissue(field).mask).all()
    assert queue.progress(store).seconds_left is None  # nothing is left


def test_what_cannot_be_detected_says_why_and_the_others_go_on(store: Store, asked: list[str]) -> None:
    weights = load_model()
    versions.store_version(store, "mine", weights.weights.read_bytes(), weights.card.to_json(), by="Ann")
    ask(store, 1, 2)
    ask(store, 3, version="mine")
    ask(store, 4)
    image_path(store, list_fields(store)[0].digest).write_bytes(b"damaged")
    versions.delete_version(store, "mine", by="Ann")
    worker.work(store)
    assert states(store) == {1: "failed", 2: "done", 3: "failed", 4: "done"} and asked == ["f2", "f4"]
    assert "stored image of f1 is damaged" in message(store, 1) and "mine was deleted" in message(store, 3)


def test_a_fault_nobody_foresaw_is_tried_three_times_and_holds_up_nobody(
    store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = worker.predict

    def stumble(field: Field, model: Any) -> Prediction:
        answer = find(field, model)
        if field.name == "f1":
            raise MemoryError
        return answer

    monkeypatch.setattr(worker, "predict", stumble)
    ask(store, 1, 2)
    worker.work(store)
    assert states(store) == {1: "failed", 2: "done"} and message(store, 1) == worker.UNEXPECTED
    assert asked == ["f1", "f1", "f1", "f2"]


def test_while_there_is_no_room_the_queue_waits_and_says_so(
    store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, 1)
    monkeypatch.setenv("CONCENTRIC_RESERVE_MB", "1e12")
    said: list[str] = []

    def sleep(seconds: float) -> None:
        if seconds == worker._WAIT_S and not said:
            said.append(message(store, 1))
            assert states(store) == {1: "waiting"} and asked == []
            monkeypatch.delenv("CONCENTRIC_RESERVE_MB")

    monkeypatch.setattr(worker.time, "sleep", sleep)
    worker.work(store)
    assert "no new fields" in said[0] and states(store) == {1: "done"} and message(store, 1) == ""


@pytest.mark.parametrize("error", [StoreFull(FULL), StoreBusy("busy")])
def test_a_result_that_cannot_be_stored_at_once_is_not_thrown_away(
    store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    finish, tries = queue.finish, list[int]()

    def full(*given: Any, **named: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise error
        finish(*given, **named)

    monkeypatch.setattr(queue, "finish", full)
    ask(store, 1, 2)
    worker.work(store)
    assert states(store) == {1: "done", 2: "done"} and asked == ["f1", "f2"] and len(tries) == 4


def test_a_field_deleted_while_it_is_looked_at_is_passed_over(
    store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = worker.predict

    def deleted_meanwhile(field: Field, model: Any) -> Prediction:
        if field.name == "f1":
            delete_field(store, 1, by="Ann")
        return find(field, model)

    monkeypatch.setattr(worker, "predict", deleted_meanwhile)
    ask(store, 1, 2)
    worker.work(store)
    assert states(store) == {2: "done"}


def test_what_is_asked_for_as_a_worker_ends_is_not_forgotten(
    store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor finds the lock taken and is gone; so the one that ends looks once more."""
    real, rounds = worker.work, list[int]()

    def work(one: Store, *is_mine: object) -> None:
        rounds.append(1)
        if len(rounds) == 1:
            ask(store, 1)  # after its last look, before it lets go
        else:
            real(one)

    monkeypatch.setattr(worker, "work", work)
    monkeypatch.setattr(worker.os, "nice", lambda by: 0)
    assert worker.main(["--data", str(store.folder)]) == 0
    assert states(store) == {1: "done"}


def test_a_folder_that_is_no_store_ends_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.os, "nice", lambda by: 0)
    (tmp_path / "concentric.sqlite").write_bytes(b"not a database")
    assert worker.main(["--data", str(tmp_path)]) == 1


# ---- when the app starts one


class Child:
    """A process, as far as the starting looks at it."""

    returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    children: list[Child] = []

    def start(arguments: list[str], log: Path) -> Child:
        children.append(Child())
        return children[-1]

    monkeypatch.setattr(background, "start", start)
    monkeypatch.setattr(worker, "_started", {})
    return children


def test_a_worker_is_started_only_where_there_is_work_and_nobody_at_it(store: Store, started: list[Child]) -> None:
    worker.watch(store)
    assert started == []
    (store.folder / "runs").mkdir()
    with (store.folder / "runs" / "detection.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        worker.detect_later(store, [1, 2], DEFAULT_VERSION, by="Ann")
        assert started == []  # that of another server works
    assert worker.watch(store)["case 0"].counts["waiting"] == 1 and len(started) == 1
    worker.watch(store)
    assert len(started) == 1  # it is on its way
    started[0].returncode = -signal.SIGKILL
    worker.watch(store)
    assert len(started) == 1  # not at once again, for it may fail at once again


def test_a_worker_that_was_killed_is_replaced(
    store: Store, started: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_NOT_AGAIN_S", 0.0)
    worker.detect_later(store, [1], DEFAULT_VERSION, by="Ann")
    queue.take_next(store)
    started[0].returncode = -signal.SIGKILL
    worker.watch(store)
    assert len(started) == 2
    started[1].returncode = 0
    queue.withdraw(store, [1])
    queue.take_up(store)
    queue.withdraw(store, [1])
    worker.watch(store)
    assert len(started) == 2
