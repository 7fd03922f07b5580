"""`detect` on a Dask cluster of real processes: the rows of one process, whatever is killed; and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

import mitosis_core.prediction
from mitosis_core import cluster_detection, load_model
from mitosis_core.__main__ import main
from mitosis_core.cluster import Cluster, WorkerRefused, open_cluster
from mitosis_core.cluster_detection import ImageFile, Needed, look_over
from mitosis_core.detection import Options
from mitosis_core.detection_stream import DetectionStream
from mitosis_core.errors import ClusterUnusable
from mitosis_core.image.sample_field import draw_sample_field
from mitosis_core.model import DEFAULT_VERSION
from tests.core.stand_in_worker import stand_in
from tests.waiting import until

pytest.importorskip("distributed", reason="Dask is not installed (requirements-scale.txt)")
from distributed import Client, LocalCluster

from tests.core.local_workers import local_workers

FIELDS = 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of all tests here: the network is converted once. Workers are waited for."""
    monkeypatch.setenv("CONCENTRIC_CACHE", str(cache))
    monkeypatch.setattr("mitosis_core.cluster.WORKERS_S", 120.0)  # on a busy machine a worker takes long to come back


@pytest.fixture(scope="module")
def running(cache: Path) -> Iterator[LocalCluster]:
    """Two workers; a field that has killed two of them is given up."""
    import dask as settings

    environment = {"CONCENTRIC_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    with (
        settings.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_workers(2, env=environment, preload="tests.core.stand_in_worker") as one,
    ):
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn fields, one without tissue."""
    folder = tmp_path_factory.mktemp("fields")
    for seed in range(FIELDS - 1):
        Image.fromarray(draw_sample_field(seed=seed, size_px=320, mitoses=3, lookalikes=2).field.pixels).save(
            folder / f"f{seed}.png"
        )
    Image.fromarray(np.random.default_rng(0).integers(245, 250, (200, 200, 3), np.uint8)).save(folder / "glass.png")
    return folder


def detect(folder: Path, out: Path, *more: str) -> int:
    return main(["detect", str(folder), "--um-per-px", "0.25", "--device", "cpu", "--out", str(out), *more])


@pytest.mark.slow
def test_the_rows_are_those_of_one_process_and_what_is_done_is_not_done_again(
    running: LocalCluster, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, there = tmp_path / "alone.csv", tmp_path / "there.csv"
    assert detect(folder, alone, "--overlay", str(tmp_path / "alone")) == 0
    content = alone.read_bytes()
    there.write_bytes(content[: len(content) // 2])  # as a stop leaves it
    address = running.scheduler_address
    assert detect(folder, there, "--dask", address, "--overlay", str(tmp_path / "there")) == 0
    assert there.read_bytes() == content and content.count(b"\n") > FIELDS
    drawn = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert 0 < len(drawn) < FIELDS  # of the others it was known that they are done
    for name in drawn:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    said = capsys.readouterr().err
    assert "2 workers, 2 fields at a time; they read the images themselves" in said
    assert f"6 fields, {FIELDS - len(drawn)} of them done before" in said


@pytest.mark.slow
def test_images_that_workers_do_not_see_are_sent_to_them(
    running: LocalCluster,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone, there = tmp_path / "alone.csv", tmp_path / "there.csv"
    detect(folder, alone)
    real = ImageFile.at
    other = staticmethod(
        lambda path, *, send: ImageFile(path, real(path, send=False).size, 0, path.read_bytes() if send else None)
    )
    monkeypatch.setattr(ImageFile, "at", other)  # the file at the workers' path is of another time
    (folder / "bad.png").write_bytes(b"no image")
    try:
        assert detect(folder, there, "--dask", running.scheduler_address) == 2
    finally:
        (folder / "bad.png").unlink()
    assert there.read_bytes() == alone.read_bytes()
    said = capsys.readouterr().err
    assert "the images are sent to them" in said and "Error: bad.png: " in said and "1 file failed" in said


# ---- killed


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten small fields for the stand-in, here and on the workers."""
    monkeypatch.setattr(mitosis_core.prediction, "predict", stand_in)
    (tmp_path / "in").mkdir()
    for number in range(10):
        write_small(tmp_path / "in" / f"slow{number}.png", number)
    return tmp_path / "in"


def write_small(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(90, 140, (80, 100, 3), np.uint8)).save(path)


def kill_a_worker_when_there_are_rows(out: Path, address: str) -> None:
    with Client(address, set_as_default=False) as client:
        pids = client.run(os.getpid)
    until(lambda: out.exists() and out.stat().st_size > 0)
    os.kill(next(iter(pids.values())), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_killed_midway_costs_time_alone(
    running: LocalCluster, slow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, there = tmp_path / "alone.csv", tmp_path / "there.csv"
    detect(slow, alone)
    killing = Thread(target=kill_a_worker_when_there_are_rows, args=(there, running.scheduler_address), daemon=True)
    killing.start()
    assert detect(slow, there, "--dask", running.scheduler_address) == 0
    killing.join()
    assert there.read_bytes() == alone.read_bytes()
    assert "10 fields: 45 mitoses" in capsys.readouterr().err


@pytest.mark.slow
def test_a_field_that_kills_its_workers_fails_and_holds_up_nobody(
    running: LocalCluster, slow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in slow.glob("slow[3-9].png"):
        path.unlink()
    write_small(slow / "deadly.png", 9)
    out = tmp_path / "found.csv"
    assert detect(slow, out, "--dask", running.scheduler_address) == 2
    said = capsys.readouterr().err
    assert "3 fields: 3 mitoses" in said and "1 file failed" in said
    assert "Error: deadly.png: Every worker that began with it was killed" in said


# ---- refused


@pytest.mark.slow
def test_a_worker_with_another_program_or_other_weights_is_refused(
    running: LocalCluster,
    slow: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, address = load_model(), running.scheduler_address
    with open_cluster(address) as cluster:
        assert look_over(cluster, Needed.by(model), list(slow.iterdir())) is False
        with pytest.raises(WorkerRefused, match=rf"A worker on .* has other weights of {DEFAULT_VERSION} \(sha256"):
            look_over(cluster, dataclasses.replace(Needed.by(model), sha256="0" * 64), [])
        elsewhere = dataclasses.replace(Needed.by(model), version="mine", weights=tmp_path / "mine.safetensors")
        with pytest.raises(WorkerRefused, match="cannot use the version mine: There is no version or file"):
            look_over(cluster, elsewhere, [])
        # As one that came later, after all had been asked.
        late = cluster.submit(cluster_detection._detect, elsewhere, "a", None, Options(), False)
        with pytest.raises(WorkerRefused, match=r"A worker on .* cannot use"):
            cluster.result(late)
    monkeypatch.setattr(cluster_detection, "program_id", lambda: "9.9.9 (abc)")
    assert detect(slow, tmp_path / "found.csv", "--dask", address) == 2
    said = capsys.readouterr().err
    assert "has Concentric 0" in said and "and 9.9.9 (abc) is needed" in said and not (tmp_path / "found.csv").exists()


@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_workers(0) as running:
        with pytest.raises(ClusterUnusable, match="has no workers; please start one"):  # noqa: SIM117
            with open_cluster(running.scheduler_address, workers_s=0.3):
                pass
        with running.get_client() as client:
            cluster = Cluster(client, "The Dask cluster")
            monkeypatch.setattr("mitosis_core.cluster.WORKERS_S", 0.3)
            monkeypatch.setattr("mitosis_core.cluster._LOOK_S", 0.1)
            with pytest.raises(ClusterUnusable, match="has lost its workers"):
                cluster.result(cluster.submit(os.getpid))
            with pytest.raises(ClusterUnusable, match="no worker that offers GPU"):
                cluster.wait_for_workers(0.1, "GPU")
            running.close()
            with pytest.raises(ClusterUnusable, match="is gone"):
                cluster.result(cluster.submit(os.getpid))


def test_a_scheduler_that_goes_while_something_is_awaited_is_a_sentence() -> None:
    with local_workers(0) as running, running.get_client() as client:
        cluster = Cluster(client, "The Dask cluster")
        coming = cluster.submit(os.getpid)
        closing = Thread(target=running.close)
        closing.start()
        with pytest.raises(ClusterUnusable, match="is gone"):
            cluster.result(coming)
        closing.join()


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", "tcp://127.0.0.1", "tcp://127.0.0.1:1"])
def test_a_wrong_address_is_a_sentence(
    address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mitosis_core.cluster.CONNECT_S", 0.5)
    assert detect(folder, tmp_path / "found.csv", "--dask", address) == 2
    assert f"No Dask scheduler answers at “{address}”" in capsys.readouterr().err


def test_what_listens_there_but_is_no_scheduler_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(ClusterUnusable, match="No Dask scheduler answers"), open_cluster(address, connect_s=0.5):
            pass


@pytest.mark.slow
def test_a_cluster_is_reached_from_where_an_event_loop_runs_too(running: LocalCluster) -> None:
    """As in a notebook."""

    async def workers() -> int:
        with open_cluster(running.scheduler_address) as cluster:
            return len(cluster.threads())

    assert asyncio.run(workers()) == len(running.workers)


def test_without_dask_a_sentence_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    for more in (["--dask", "tcp://127.0.0.1:1"], ["--dask", "local"], ["--workers", "2"]):
        assert detect(folder, tmp_path / "found.csv", *more) == 2
        assert "pip install -r requirements-scale.txt" in capsys.readouterr().err
    assert detect(folder, tmp_path / "found.csv", "--dask", "tcp://127.0.0.1:1", "--workers", "2") == 2
    assert "--workers is for this computer" in capsys.readouterr().err


@pytest.mark.slow
def test_several_processes_of_this_computer_by_one_option(slow: Path, tmp_path: Path) -> None:
    for path in slow.iterdir():
        path.unlink()
    write_small(slow / "small.png", 1)
    out = tmp_path / "found.csv"
    assert detect(slow, out, "--workers", "1") == 0
    assert len(DetectionStream(out).done) == 1
