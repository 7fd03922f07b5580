"""A lock between processes, held on a file; it goes with its process, however that ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from db.disk import FILE_MODE


@contextmanager
def file_lock(path: Path) -> Iterator[Callable[[], bool]]:
    """Gives what tries to take the lock: whether this process has it now. The end of the block lets it go.

    Windows has no such lock, so there it is always free; one server is the rule there. The folder must be there.
    """
    with open(os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE), "rb+") as file:
        yield lambda: _take(file)


def _take(file: IO[bytes]) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
