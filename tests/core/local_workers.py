"""Workers of a Dask cluster in processes of this computer. For tests that have found Dask to be installed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import LocalCluster


@contextmanager
def local_workers(number: int, **more: Any) -> Iterator[LocalCluster]:
    """So many, each with one thread; more: what LocalCluster takes."""
    quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=number, threads_per_worker=1, memory_limit=None, **quiet, **more) as one:
        yield one
