"""The one process that works off the detection queue of a data folder.

    python -m pages.shared.service.detection_worker --data FOLDER

The app starts it when there is work (`start_worker`); it holds a lock of the folder, goes through the queue in order,
and ends when nothing is left. It does not depend on the server: killed at any moment, either loses nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import TypeVar

from db import detection_queue as queue
from db.detection_queue import Detection, Progress
from db.disk_space import check_disk_space
from db.engine import Store, open_configured
from db.errors import FieldGone, StoreBusy, StoreFull
from db.fields import StoredField, get_field, load_field
from db.heartbeat import keep_beating
from db.tissues import read_tissue, write_tissue
from db.versions import load_version
from mitosis_core.cluster import WorkersKilled, open_cluster
from mitosis_core.errors import ClusterUnusable, ConcentricError
from mitosis_core.image.appearance import Appearance, measure_appearance
from mitosis_core.image.tissue import find_tissue
from mitosis_core.logs import start_logging
from mitosis_core.model import Model
from mitosis_core.types import Field, Prediction
from pages.shared.operation.settings import dask_address
from pages.shared.service import background
from pages.shared.service.cluster_detections import ClusterDetections

log = logging.getLogger("concentric.detection")

UNEXPECTED = "An unexpected error occurred with this field; details are in the log of the detection queue."
IDLE_S = 10.0  # an empty queue is watched so long, for the next start takes seconds
_LOOK_S, _BEAT_S, _WAIT_S = 0.5, 2.0, 5.0
_LOCK_TRIES = 5  # whoever asks whether somebody works holds the lock for a moment
_NOT_AGAIN_S = 30.0  # after a worker that has failed
_MOST_LOG_BYTES = 1_000_000
_NICENESS = 5  # the server answers first

_starting = threading.Lock()
_started: dict[Path, tuple[Popen[bytes], float]] = {}
_T = TypeVar("_T")
_Answer = tuple[StoredField, Prediction, Appearance]


# ---- for the app


def detect_later(store: Store, field_ids: Iterable[int], version: str, *, by: str) -> int:
    """Ask a version to look at fields, and see to it that somebody works; returns how many wait that did not before."""
    added = queue.enqueue(store, field_ids, version, by=by)
    start_worker(store)
    return added


def watch(store: Store) -> dict[str, Progress]:
    """How far the queue is, by case; a worker that was killed is replaced."""
    start_worker(store)
    return queue.progress_by_case(store)


def start_worker(store: Store) -> None:
    """Start a worker when there is work and nobody at it. Asking often costs little."""
    with _starting:
        child, began = _started.get(store.folder, (None, 0.0))
        if child is not None and child.poll() is None:
            return
        if child is not None and child.returncode and time.monotonic() < began + _NOT_AGAIN_S:
            return
        if not queue.has_work(store) or _is_taken(store):
            return
        file = store.folder / "runs" / "detection.log"
        if file.exists() and file.stat().st_size > _MOST_LOG_BYTES:
            file.replace(file.with_suffix(".1.log"))
        arguments = [__name__, "--data", str(store.folder.resolve())]
        _started[store.folder] = (background.start(arguments, file), time.monotonic())


# ---- the process


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until the queue is empty. Returns 0, also when another one works; 1 when the store cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    given = parser.parse_args(arguments)
    start_logging()
    if hasattr(os, "nice"):  # Windows has none
        os.nice(_NICENESS)
    try:
        store = open_configured(given.data)
        while _work_if_free(store):
            # Asked for while the lock was still held: whoever was started for it has found it taken, and is gone.
            if not queue.has_work(store):
                break
    except ConcentricError:
        log.exception("the worker cannot use the store")
        return 1
    return 0


def work(store: Store, is_mine: Callable[[], bool] = lambda: True) -> None:
    """Go through the queue until it has been empty for a while. Call it with the lock only.

    is_mine: whether the lock still is; on PostgreSQL it is lost with the connection, and another worker may begin.
    """
    _patiently(lambda: queue.take_up(store))
    if address := dask_address():
        _work_on_cluster(store, address, is_mine)
        return
    empty_since = time.monotonic()
    while time.monotonic() < empty_since + IDLE_S and is_mine():
        if not _has_room(store):
            time.sleep(_WAIT_S)
            empty_since = time.monotonic()
        elif (one := _patiently(lambda: queue.take_next(store))) is not None:
            detect(store, one)
            empty_since = time.monotonic()
        else:
            time.sleep(_LOOK_S)


def _work_on_cluster(store: Store, address: str, is_mine: Callable[[], bool]) -> None:
    """The same on a Dask cluster, several at a time. While it cannot be used the queue says why it waits."""
    while is_mine():
        try:
            with open_cluster(address) as cluster:
                _give_out(store, ClusterDetections(store, cluster), is_mine)
                return
        except ClusterUnusable as error:
            log.warning("the cluster cannot be used", exc_info=True)
            _patiently(partial(queue.say_why_it_waits, store, str(error)))
            if not queue.has_work(store):
                return
            time.sleep(_WAIT_S)


def _give_out(store: Store, there: ClusterDetections, is_mine: Callable[[], bool]) -> None:
    empty_since = time.monotonic()
    try:
        with _beating(store, there.numbers):
            while is_mine() and (there.under_way or time.monotonic() < empty_since + IDLE_S):
                begun = there.has_room() and _has_room(store) and _begin_next(store, there)
                for each in there.done():
                    _settle(store, each.one, partial(there.answer, each), partial(there.end, each))
                if begun or there.under_way:
                    empty_since = time.monotonic()
                if not begun:
                    time.sleep(_LOOK_S / 5 if there.under_way else _LOOK_S)
    except ClusterUnusable as error:
        for number in there.numbers():
            _patiently(partial(queue.put_back, store, number, str(error), counts=False))
        raise


def _begin_next(store: Store, there: ClusterDetections) -> bool:
    one = _patiently(lambda: queue.take_next(store))
    if one is not None:
        there.begin(one)
    return one is not None


def detect(store: Store, one: Detection) -> None:
    """Do one of the queue; whatever goes wrong becomes a sentence in its row."""
    started = time.perf_counter()
    with _beating(store, lambda: [one.id]):
        _settle(store, one, lambda: _analyse(store, one), lambda: time.perf_counter() - started)


def _settle(store: Store, one: Detection, answer: Callable[[], _Answer], took_s: Callable[[], float]) -> None:
    """Write into its row what came of one. Raises ClusterUnusable alone, which says nothing of the field."""
    try:
        field, prediction, appearance = answer()
    except ClusterUnusable:
        raise
    except Exception as error:
        took_s()
        _patiently(partial(_write_failure, store, one, error))
    else:
        seconds = took_s()
        _patiently(lambda: queue.finish(store, one.id, field, prediction, appearance, seconds=seconds))
        log.info("field %d was detected in %.2f s", one.field_id, seconds)


def _write_failure(store: Store, one: Detection, error: Exception) -> None:
    if isinstance(error, FieldGone):  # and its row with it
        return
    if isinstance(error, StoreBusy | StoreFull):
        queue.put_back(store, one.id, str(error), counts=False)
    elif isinstance(error, WorkersKilled):
        queue.put_back(store, one.id, str(error), counts=True)
    elif isinstance(error, ConcentricError):
        queue.fail(store, one.id, str(error))
    else:
        log.error("detecting in field %d failed", one.field_id, exc_info=error)
        queue.put_back(store, one.id, UNEXPECTED, counts=True)


def predict(field: Field, model: Model) -> Prediction:
    """`mitosis_core.prediction.predict`, imported when there is something to detect."""
    from mitosis_core.prediction import predict as run

    return run(field, model)


def _analyse(store: Store, one: Detection) -> _Answer:
    stored = get_field(store, one.field_id)
    model = load_version(store, one.version)  # each time: it may have been deleted
    field = load_field(store, stored)
    if read_tissue(store, stored) is None:  # so that its count and density are there at once
        write_tissue(store, stored, find_tissue(field))
    return stored, predict(field, model), measure_appearance(field)


def _has_room(store: Store) -> bool:
    """Whether results may be written; if not, the queue says why it waits."""
    try:
        check_disk_space(store.folder)
    except StoreFull as error:
        said = str(error)
        _patiently(lambda: queue.say_why_it_waits(store, said))
        return False
    return True


def _patiently(write: Callable[[], _T]) -> _T:
    """What `write` gives, when the store is no longer busy or the disk no longer full: a result is not thrown away."""
    while True:
        try:
            return write()
        except (StoreBusy, StoreFull):
            log.warning("the store cannot be written now", exc_info=True)
            time.sleep(_WAIT_S)


@contextmanager
def _beating(store: Store, numbers: Callable[[], list[int]]) -> Iterator[None]:
    """A sign of life every two seconds."""

    def beat() -> None:
        try:
            queue.beat(store, *numbers())
        except ConcentricError:  # busy or full: the next one may pass
            log.warning("no sign of life could be given", exc_info=True)

    with keep_beating(beat, _BEAT_S, first_s=_BEAT_S):  # taking it up was the first one
        yield


# ---- the lock


_LOCK = "detection"


def _is_taken(store: Store) -> bool:
    with store.lock(_LOCK) as take:
        return not take()


def _work_if_free(store: Store) -> bool:
    """Work, unless another process does; whether it was this one."""
    for _ in range(_LOCK_TRIES):
        with store.lock(_LOCK) as take:
            if take():
                work(store, take)
                return True
        time.sleep(_LOOK_S / 2)
    return False


if __name__ == "__main__":
    sys.exit(main())
