"""A Dask cluster: reached, looked over, and given a few tasks at a time.

Dask is imported where a cluster is asked for, and nowhere else: the program starts and works without it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from mitosis_core.errors import ClusterUnusable, ConcentricError
from mitosis_core.plurals import count_noun

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 10.0  # until a scheduler has answered
WORKERS_S = 30.0  # until a cluster without workers is given up; one that is killed is replaced in a few seconds
_LOOK_S = 1.0
_WORKER_BYTES = 1_500_000_000  # a worker with one large field
_FEW = 2  # tasks in flight for each thread of the cluster: one at work, one that waits
_MISSING = "A cluster needs Dask, which is not installed here: pip install -r requirements-scale.txt"
_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^/\s]+:\d+")
_T = TypeVar("_T")

log = logging.getLogger("concentric.cluster")


class WorkerRefused(ClusterUnusable):
    """A worker has another program, or other weights."""


class WorkersKilled(ConcentricError):
    """A task, or one beside it, has killed every worker that began with it."""


@contextmanager
def open_cluster(address: str, *, connect_s: float | None = None, workers_s: float | None = None) -> Iterator[Cluster]:
    """The cluster of a scheduler, as "tcp://host:8786"; the connection is given back at the end.

    Raises ClusterUnusable: no Dask here, nobody who answers at this address, no workers within workers_s seconds.
    """
    connect_s, workers_s = CONNECT_S if connect_s is None else connect_s, WORKERS_S if workers_s is None else workers_s
    _import_dask()
    with ThreadPoolExecutor(1) as thread:  # the caller's may run an event loop already, as a notebook's does
        answers = thread.submit(asyncio.run, _is_scheduler(address, connect_s)).result()
    if not answers:
        raise ClusterUnusable(
            f"No Dask scheduler answers at “{address}”; please give its address, such as tcp://computer:8786."
        )
    client = _client(address, connect_s)
    try:
        cluster = Cluster(client, f"The Dask cluster at {address}")
        cluster.wait_for_workers(workers_s)
        yield cluster
    finally:
        _close(client)


@contextmanager
def local_cluster(workers: int | None = None, cores: int | None = None) -> Iterator[Cluster]:
    """A cluster of processes on this computer, which end with the block.

    workers: by default one for each core, if the memory is enough for so many. cores: those they share, by default all.
    Raises ClusterUnusable without Dask.
    """
    _import_dask()
    import dask
    from distributed import LocalCluster

    cores = cores or os.cpu_count() or 1
    count = workers or _workers_here(cores)
    share = max(1, cores // count)
    settings = {
        "distributed.worker.profile.enabled": False,  # nobody looks at it, and it wakes a hundred times a second
        "distributed.nanny.pre-spawn-environ": {},  # would set this process's threads too, and make memory slow
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=count,
            threads_per_worker=min(2, share),  # where there is a second core the next field is read meanwhile
            memory_limit=None,  # few fields are in flight; what one needs, it needs
            dashboard_address="127.0.0.1:0",
            security=True,  # a scheduler runs what it is sent: no other user of this computer may send it anything
            silence_logs=logging.CRITICAL,
            env={"OMP_NUM_THREADS": str(share)},
            preload=__name__,
        ) as processes,
    ):
        client = _client(processes, CONNECT_S)
        try:
            yield Cluster(client, "The cluster of this computer")
        finally:
            _close(client)


def dask_setup(worker: object) -> None:
    """Called by Dask in each worker of this computer: Ctrl+C, which they get too, is for the command to deal with."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _workers_here(cores: int) -> int:
    from psutil import virtual_memory  # which comes along with Dask

    return max(1, min(cores, int(virtual_memory().available / _WORKER_BYTES)))


class Cluster:
    """Connected, with workers. called: the beginning of sentences about it."""

    def __init__(self, client: Client, called: str) -> None:
        self._client, self.called = client, called
        self._threads, self._looked_at, self._seen_at = 0, float("-inf"), time.monotonic()

    def described(self) -> str:
        """The cluster in a line: how many workers, how many fields at a time."""
        threads = self.threads()
        fields = count_noun(sum(threads.values()), "field")
        return f"{self.called}: {count_noun(len(threads), 'worker')}, {fields} at a time"

    def threads(self) -> dict[str, int]:
        """Its workers by address, and how many tasks each does at a time. Raises ClusterUnusable when it is gone."""
        if self._client.status != "running":
            raise self._gone()
        try:
            return dict(self._client.nthreads())
        except OSError as error:
            raise self._gone() from error

    def wait_for_workers(self, seconds: float, resource: str = "") -> None:
        """Raises ClusterUnusable when there is none after so many seconds. resource: what a worker has to offer."""
        over = time.monotonic() + seconds
        while not self._offering(resource):
            if time.monotonic() > over:
                which = f"no worker that offers {resource}" if resource else "no workers"
                raise ClusterUnusable(f"{self.called} has {which}; please start one (docs/cluster.md).")
            time.sleep(0.2)

    def _offering(self, resource: str) -> bool:
        if not resource:
            return bool(self.threads())
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return any(one.get("resources", {}).get(resource, 0) >= 1 for one in workers)

    def ask(self, question: Callable[[], _T]) -> list[_T]:
        """The answer of every worker that is there now, at once. Raises what the first one raises."""
        try:
            answers = self._client.run(question, on_error="return")
        except Exception as error:  # what Dask itself says of a worker that cannot load the question has no type
            raise self._as_sentence(error) from error
        for address, answer in answers.items():
            if isinstance(answer, Exception):
                raise self._as_sentence(answer, address) from answer
        return list(answers.values())

    def submit(self, function: Callable[..., _T], *given: Any, **how: Any) -> Future:
        """A task; it is done again when the worker that has it is killed. how: what `distributed.Client.submit` takes.

        Raises ClusterUnusable when the cluster is gone.
        """
        if self._client.status != "running":
            raise self._gone()
        return self._client.submit(function, *given, pure=False, **how)

    def in_order(
        self, submit: Callable[[_T], Future | Exception], tasks: Iterable[_T]
    ) -> Iterator[tuple[_T, Future | Exception]]:
        """Submit tasks, each as there is room for it, and give them back in their order."""
        coming: deque[tuple[_T, Future | Exception]] = deque()
        for task in tasks:
            coming.append((task, submit(task)))
            if len(coming) >= self.room():
                yield coming.popleft()
        while coming:
            yield coming.popleft()

    def room(self) -> int:
        """How many tasks may be in flight: few, so that memory stays flat, and enough that no worker waits."""
        self.look()
        return _FEW * max(1, self._threads)

    def look(self) -> None:
        """Whether its workers are still there; asked often, it looks every second. Raises ClusterUnusable when it is
        gone, or has had no workers for WORKERS_S."""
        now = time.monotonic()
        if now < self._looked_at + _LOOK_S:
            return
        self._threads, self._looked_at = sum(self.threads().values()), now
        if self._threads:
            self._seen_at = now
        elif now > self._seen_at + WORKERS_S:
            raise ClusterUnusable(f"{self.called} has lost its workers.")

    def result(self, future: Future | Exception) -> Any:
        """What a task gave, once it has. Raises what it raised, or what kept it from being submitted; WorkersKilled;
        ClusterUnusable when the cluster is gone or has lost its workers for good."""
        if isinstance(future, Exception):
            raise future
        while not future.done():
            try:
                future.exception(timeout=_LOOK_S)
            except TimeoutError:
                self.look()
        if future.status == "error" and (error := future.exception()) is not None:
            raise self._as_sentence(error)
        if future.status != "finished":  # cancelled or lost, for nobody here cancels
            raise self._gone()
        return future.result()

    def _as_sentence(self, error: BaseException, address: str = "") -> BaseException:
        """The error of a task as the user reads it; one that is none of theirs as it is."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return WorkersKilled("Every worker that began with it was killed, perhaps because its memory was full.")
        if isinstance(error, ImportError) or "No module named" in str(error):
            who = f"The worker {address}" if address else "The scheduler, or a worker,"
            return WorkerRefused(f"{who} does not have this program; please start it as docs/cluster.md says.")
        return error

    def _gone(self) -> ClusterUnusable:
        return ClusterUnusable(f"{self.called} is gone: its scheduler does not answer any more.")


def _import_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ClusterUnusable(_MISSING) from error
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it has to say is said in sentences


async def _is_scheduler(address: str, timeout_s: float) -> bool:
    """Asked before a client is made, which would try for long whatever answers there, and end in a traceback."""
    from distributed.core import rpc
    from distributed.security import Security

    if not _ADDRESS.fullmatch(address):
        return False
    try:
        async with rpc(address, connection_args=Security().get_connection_args("client")) as there:
            known = await asyncio.wait_for(there.identity(n_workers=0), timeout_s)
    except Exception:  # whatever else listens there may answer anything
        log.debug("no scheduler at %s", address, exc_info=True)
        return False
    return bool(known.get("type") == "Scheduler")


def _client(where: Any, connect_s: float) -> Client:
    from distributed import Client

    try:
        return Client(where, timeout=connect_s, set_as_default=False)
    except OSError as error:
        raise ClusterUnusable("The Dask scheduler does not answer any more.") from error


def _close(client: Client) -> None:
    with suppress(OSError, TimeoutError):
        client.close(timeout=2)
