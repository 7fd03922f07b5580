"""Signs of life of a process, whatever it is busy with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keep_beating(beat: Callable[[], object], every_s: float, *, first_s: float) -> Iterator[None]:
    """Call `beat`, which must not raise, after first_s seconds and then every so many, in a thread, until the block
    ends; a beat under way is waited for."""
    over = threading.Event()

    def live() -> None:
        pause_s = first_s
        while not over.wait(pause_s):
            beat()
            pause_s = every_s

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
