"""The process that gives a retraining run to a worker of a Dask cluster, and waits beside it.

    python -m pages.shared.service.cluster_runs --data FOLDER --run NUMBER

The page starts it in the place of `python -m train run`. On the worker the run is that very process: it gives its own
signs of life to the store, looks there whether it is cancelled, and writes its checkpoint. Until it does, they are
given here, and a run that still waits for a worker is cancelled here.
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
from uuid import uuid4

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

    id: str
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
    given = parser.parse_args(arguments)
    start_logging()
    try:
        hand_over(open_configured(given.data), given.run)
    except ConcentricError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def hand_over(store: Store, run_id: int) -> None:
    """Have a worker do a run. When that cannot be, the run has failed, with a sentence."""
    order = _order(store, run_id)
    try:
        with open_cluster(dask_address()) as cluster:
            resource = training_resource() or ""
            cluster.wait_for_workers(WORKERS_S, resource)
            future = cluster.submit(do_run, order, resources={resource: 1} if resource else None)
            _wait(store, order, cluster, future)
    except ConcentricError as error:
        log.warning("run %d was not done by the cluster: %s", run_id, error)
        if not _has_begun(store, order):  # one that has goes on without this process, or falls silent
            runs.end(store, run_id, "failed", message=str(error))


def _order(store: Store, run_id: int) -> Order:
    run = runs.get_run(store, run_id)
    host = "" if store.url else platform.node()
    return Order(uuid4().hex, program_id(*_CODE), store.folder.resolve(), run_id, run.created_at, host)


def _has_begun(store: Store, order: Order) -> bool:
    """Whether a worker has taken the run: its process gives the signs of life, and looks whether it is cancelled."""
    run = runs.get_run(store, order.run_id)
    return run.started_at is not None or run.progress.get("order") == order.id


def _wait(store: Store, order: Order, cluster: Cluster, future: Future) -> None:
    while not future.done():
        cluster.look()
        # One that is on its way is not kept alive from here: when its process falls silent, that shall be seen.
        if runs.get_run(store, order.run_id).started_at is None:
            cancelled = runs.beat(store, order.run_id)
            if cancelled and not _has_begun(store, order):
                future.cancel()
        time.sleep(_LOOK_S)
    if future.cancelled():
        if not _has_begun(store, order):  # taken at the last moment: then its process sees that it is cancelled
            runs.end(store, order.run_id, "cancelled")
        return
    cluster.result(future)
    if runs.get_run(store, order.run_id).started_at is None:
        runs.end(store, order.run_id, "failed", message="Its process on the worker ended before it began; see the log.")


# ---- on the worker


def do_run(order: Order) -> int:
    """Do a run on this worker, in a process of its own; returns its exit code. Raises WorkerRefused."""
    here = f"A worker on {platform.node()}"
    if program_id(*_CODE) != order.program:
        raise WorkerRefused(f"{here} has Concentric {program_id(*_CODE)}, and {order.program} is needed.")
    if order.host not in ("", platform.node()):
        raise WorkerRefused(
            f"{here} cannot train for {order.host}: the database of its store is a file, which is safe on one computer "
            "alone. Workers on other computers need a store on PostgreSQL (docs/cluster.md)."
        )
    folder = order.data / "runs" / str(order.run_id)
    if not folder.is_dir() or not _take(order):
        raise WorkerRefused(f"{here} does not see the store in {order.data} (docs/cluster.md).")
    arguments = ["train", "run", "--data", str(order.data), "--run", str(order.run_id)]
    return background.start(arguments, folder / "log.txt", without=_SET_BY_DASK).wait()


def _take(order: Order) -> bool:
    """Say in the store that the run is taken; False where the store has no such run."""
    store = open_configured(order.data)
    try:
        run = runs.get_run(store, order.run_id)
        if run.created_at != order.asked_at:
            return False
        runs.beat(store, order.run_id, {**run.progress, "order": order.id})
        return True
    except RunGone:
        return False
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
