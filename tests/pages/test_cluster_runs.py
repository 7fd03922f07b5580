"""Retraining runs on a worker of a Dask cluster: done there, cancelled, refused; each end is a sentence in the run."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread

import psutil
import pytest

from db import runs, versions
from db.engine import Store
from db.runs import Run
from mitosis_core.cluster import WorkerRefused
from mitosis_core.errors import ClusterUnusable
from mitosis_core.model import DEFAULT_VERSION
from mitosis_core.vocabulary import RunState
from pages.shared.service import background, cluster_runs, training
from tests.train.finished import finished_fields
from tests.waiting import until
from train import job
from train.retrain.config import RetrainConfig

pytest.importorskip("distributed", reason="Dask is not installed (requirements-scale.txt)")
from distributed import Client, LocalCluster

from tests.core.local_workers import local_workers

QUICK = RetrainConfig(steps=4, batch=2, crops_per_field=4, crop_px=64, validate_every=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return finished_fields(tmp_path / "data")


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCluster]:
    with local_workers(1, resources={"GPU": 1}) as one:
        yield one


@pytest.fixture
def address(running: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CONCENTRIC_DASK", running.scheduler_address)
    return str(running.scheduler_address)


def queued(store: Store) -> Run:
    return job.queue(store, by="Anna", base_version=DEFAULT_VERSION, source="", config=QUICK)


def works_at(run: Run) -> list[psutil.Process]:
    """The processes of a run."""
    wanted = {cluster_runs.__name__, "--run", str(run.id), "--here"}
    return [one for one in psutil.process_iter(["cmdline"]) if wanted <= set(one.info["cmdline"] or [])]


@pytest.mark.slow
def test_a_run_of_the_page_is_done_by_a_worker(store: Store, address: str) -> None:
    with Client(address, set_as_default=False) as client:
        (worker,) = client.run(os.getpid).values()
    run = training.start(store, by="Anna", source="", settings=dataclasses.asdict(QUICK))
    until(lambda: bool(works_at(run)))
    assert works_at(run)[0].ppid() == worker
    assert "OMP_NUM_THREADS" not in works_at(run)[0].environ()  # Dask's 1 is not for it
    until(lambda: not runs.get_run(store, run.id).is_open)
    ended = runs.get_run(store, run.id)
    assert ended.state == "done", ended.message
    assert [one.run_id for one in versions.list_stored(store)] == [run.id]


@pytest.mark.slow
def test_a_worker_killed_amid_a_training_costs_time_alone(store: Store, address: str) -> None:
    """It and its run die, as with their computer; what was begun is taken up at its checkpoint."""
    with Client(address, set_as_default=False) as client:
        (worker,) = client.run(os.getpid).values()
    longer = dataclasses.replace(QUICK, steps=40)
    run = training.start(store, by="Anna", source="", settings=dataclasses.asdict(longer))
    folder = store.folder / "runs" / str(run.id)
    until(lambda: (folder / "checkpoint.pt").exists())
    (training_process,) = works_at(run)
    assert runs.get_run(store, run.id).state == "running"
    for one in (psutil.Process(worker), training_process):
        one.kill()
    until(lambda: any(one.pid != training_process.pid for one in works_at(run)))
    until(lambda: not runs.get_run(store, run.id).is_open)
    ended = runs.get_run(store, run.id)
    assert ended.state == "done", ended.message
    assert [one.run_id for one in versions.list_stored(store)] == [run.id]


@pytest.mark.slow
def test_a_run_that_waits_for_a_worker_gives_signs_of_life_and_can_be_cancelled(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cluster_runs, "_LOOK_S", 0.1)
    run, freed = queued(store), tmp_path / "freed"
    with Client(address, set_as_default=False) as client:
        busy = client.submit(lambda: until(freed.exists), resources={"GPU": 1}, pure=False)
        waiting = Thread(target=cluster_runs.hand_over, args=(store, run.id), daemon=True)
        waiting.start()
        until(lambda: runs.get_run(store, run.id).heartbeat != run.heartbeat)
        runs.ask_to_cancel(store, run.id)
        waiting.join()
        freed.touch()
        busy.result()
    assert runs.get_run(store, run.id).state == "cancelled" and not works_at(run)


@pytest.mark.parametrize("state", ["cancelled", "failed", "done"])
def test_a_process_that_comes_too_late_finds_the_run_ended(store: Store, state: RunState) -> None:
    """`python -m train run` would take it up again."""
    run = queued(store)
    runs.end(store, run.id, state)
    ended = runs.get_run(store, run.id)
    assert cluster_runs.main(["--data", str(store.folder), "--run", str(run.id), "--here"]) == 0
    assert runs.get_run(store, run.id) == dataclasses.replace(ended, heartbeat=runs.get_run(store, run.id).heartbeat)


def test_a_worker_that_does_not_train_for_this_store_says_why(store: Store, tmp_path: Path) -> None:
    order = cluster_runs._order(store, queued(store).id)
    for other, said in (
        ({"program": "9.9.9"}, "has Concentric 0.*, and 9.9.9 is needed"),
        ({"data": tmp_path / "elsewhere"}, "does not see the store in"),
        ({"asked_at": order.asked_at + timedelta(seconds=1)}, "does not see the store in"),
        ({"host": "elsewhere"}, "cannot train for elsewhere: .* need a store on PostgreSQL"),
    ):
        with pytest.raises(WorkerRefused, match=f"A worker on {platform.node()} {said}"):
            cluster_runs.do_run(dataclasses.replace(order, **other))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_what_the_worker_refuses_is_what_the_run_says(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_runs, "program_id", lambda *folders: "9.9.9")
    run = queued(store)
    cluster_runs.hand_over(store, run.id)
    ended = runs.get_run(store, run.id)
    assert ended.state == "failed" and "and 9.9.9 is needed" in ended.message


def test_without_a_worker_that_trains_nothing_is_queued_and_this_computer_can_do_it(
    store: Store, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(background, "start", lambda arguments, log: started.append(arguments))
    monkeypatch.setenv("CONCENTRIC_DASK_RUNS", "TPU")
    with pytest.raises(ClusterUnusable, match="has no worker that offers TPU"):
        training.start(store, by="Anna", source="", settings={})
    assert runs.list_runs(store) == [] and not started
    run = training.start(store, by="Anna", source="", settings={}, here=True)
    runs.end(store, run.id, "failed")
    with pytest.raises(ClusterUnusable):
        training.resume(store, run.id)
    assert runs.get_run(store, run.id).state == "failed"
    training.resume(store, run.id, here=True)
    monkeypatch.setenv("CONCENTRIC_DASK_RUNS", "any")
    training.start(store, by="Anna", source="", settings={})
    monkeypatch.setenv("CONCENTRIC_DASK_RUNS", "none")
    training.start(store, by="Anna", source="", settings={})
    assert [arguments[0] for arguments in started] == ["train", "train", cluster_runs.__name__, "train"]
