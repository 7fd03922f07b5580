"""Waiting for what another process does."""

import time
from collections.abc import Callable

import pytest


def until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    pytest.fail("it did not become true")
