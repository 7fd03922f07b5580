"""The process that gives a retraining run to a worker of a Dask cluster, and waits beside it.

    python -m pages.shared.service.cluster_runs --data FOLDER --run NUMBER

The page starts it in the place of `python -m train run`. On the worker the run is a process too: it gives its own signs
of life to the store, looks there whether it is cancelled, and writes its checkpoint. Until it has begun, the signs of
life are given here, and a run that waits for a worker is cancelled here.
"""

from __future__ import annotations

import argparse
import logging
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from db import runs
from db.engine import Store, open_configured
from db.errors import RunGone
from mitosis_core.cluster import WORKERS_S, Cluster, WorkerRefused, open_cluster
from mitosis_core.errors import ConcentricError
from mitosis_core.logs import start_logging
from mitosis_core.program import program_id
from pages.shared.operation.settings import dask_address, training_resource
from pages.shared.service import background

if TYPE_CHECKING:
    from distributed import Future

log = logging.getLogger("concentric.train")

_ROOT = Path(__file__).parents[3]
_CODE = (_ROOT / "train", _ROOT / "db")
_CONNECT_S = 5.0  # while a person waits
_LOOK_S = 1.0
# Dask sets these for its workers, where many share the cores; a run has the computer to itself.
_SET_BY_DASK = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")


@dataclass(frozen=True)
class Order:
    """A run for a worker. asked_at: when the run was, by which its store is told from others. host: of a store whose
    database is a file; "" for one on a server."""

    program: str
    data: Path
    run_id: int
    asked_at: datetime
    host: str


def check_cluster() -> None:
    """Raises ClusterUnusable unless there is a worker now that trains."""
    with open_cluster(dask_address(), connect_s=_CONNECT_S, workers_s=0.0) as cluster:
        cluster.wait_for_workers(0.0, training_resource() or "")


def start(store: Store, run_id: int) -> None:
    """A process of its own: closing the browser or stopping the server does not touch it."""
    log.info("run %d is given to the cluster", run_id)
    arguments = [__name__, "--data", str(store.folder.resolve()), "--run", str(run_id)]
    background.start(arguments, runs.run_folder(store, run_id) / "log.txt")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when the run has ended, however; 1 when the store cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    parser.add_argument("--run", type=int, required=True, help="a run that is queued")
    parser.add_argument("--here", action="store_true", help="do it in this process, on the worker")
    given = parser.parse_args(arguments)
    start_logging()
    try:
        store = open_configured(given.data)
        if given.here:
            from train.job import do_run as train  # brings torch along

            train(store, given.run)
        else:
            hand_over(store, given.run)
    except ConcentricError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def hand_over(store: Store, run_id: int) -> None:
    """Have a worker do a run. When that cannot be, the run has failed, with a sentence."""
    try:
        with open_cluster(dask_address()) as cluster:
            resource = training_resource() or ""
            cluster.wait_for_workers(WORKERS_S, resource)
            future = cluster.submit(do_run, _order(store, run_id), resources={resource: 1} if resource else None)
            _wait(store, run_id, cluster, future)
    except ConcentricError as error:
        log.warning("run %d was not done by the cluster: %s", run_id, error)
        if not _has_begun(store, run_id):  # one that has goes on without this process, or falls silent
            runs.end(store, run_id, "failed", message=str(error))


def _order(store: Store, run_id: int) -> Order:
    run = runs.get_run(store, run_id)
    host = "" if store.url else platform.node()
    return Order(program_id(*_CODE), store.folder.resolve(), run_id, run.created_at, host)


def _has_begun(store: Store, run_id: int) -> bool:
    return runs.get_run(store, run_id).started_at is not None


def _wait(store: Store, run_id: int, cluster: Cluster, future: Future) -> None:
    while not future.done():
        cluster.look()
        # One that has begun is not kept alive from here: when its process falls silent, that shall be seen.
        if not _has_begun(store, run_id) and runs.beat(store, run_id):
            future.cancel()
            runs.end(store, run_id, "cancelled")  # a process that is about to begin finds it ended
            return
        time.sleep(_LOOK_S)
    cluster.result(future)
    if not _has_begun(store, run_id) and runs.get_run(store, run_id).is_open:
        runs.end(store, run_id, "failed", message="Its process on the worker ended before it began; see the log.")


# ---- on the worker


def do_run(order: Order) -> int:
    """Do a run on this worker, in a process of its own; returns its exit code. Raises WorkerRefused.

    Dask asks the next worker when this one is killed. The process, if it lives, has the lock of the device, and the
    second one finds the run ended.
    """
    here = f"A worker on {platform.node()}"
    if program_id(*_CODE) != order.program:
        raise WorkerRefused(f"{here} has Concentric {program_id(*_CODE)}, and {order.program} is needed.")
    if order.host not in ("", platform.node()):
        raise WorkerRefused(
            f"{here} cannot train for {order.host}: the database of its store is a file, which is safe on one computer "
            "alone. Workers on other computers need a store on PostgreSQL (docs/cluster.md)."
        )
    folder = order.data / "runs" / str(order.run_id)
    if not folder.is_dir() or not _is_there(order):
        raise WorkerRefused(f"{here} does not see the store in {order.data} (docs/cluster.md).")
    arguments = [__name__, "--data", str(order.data), "--run", str(order.run_id), "--here"]
    return background.start(arguments, folder / "log.txt", without=_SET_BY_DASK).wait()


def _is_there(order: Order) -> bool:
    store = open_configured(order.data)
    try:
        return runs.get_run(store, order.run_id).created_at == order.asked_at
    except RunGone:
        return False
    finally:
        store.close()


if __name__ == "__main__":
    from pages.shared.service import cluster_runs  # the worker finds `do_run` by the name of its module

    sys.exit(cluster_runs.main())
